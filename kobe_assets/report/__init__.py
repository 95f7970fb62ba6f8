"""The report: gates and verdict, the numbers behind every chart, and one HTML page that opens offline."""
