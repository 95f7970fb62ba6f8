"""Vendors on this machine: own files, the embedded sample, invented bars."""
