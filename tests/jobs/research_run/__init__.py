"""Tests of the sweep, on this machine and on a real Dask cluster."""
