"""Tests of the research path: against the reference, laws, second opinions, planted faults."""
