"""What the report says: results, curves, folds, criteria and verdict; no HTML."""
