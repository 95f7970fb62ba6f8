"""Tests of what processes stand on."""
