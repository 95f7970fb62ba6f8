"""Tests of the vendors on this machine."""
