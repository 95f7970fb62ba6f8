"""Tests of kobe_assets."""
