"""Tests of kobe_resources."""
