"""Tests of kobe_jobs."""
