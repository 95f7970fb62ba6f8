"""Tests of the universe and of membership."""
