"""Bars from files of any common shape, written as the vendor `files` reads them. Trusts nothing in a file."""
