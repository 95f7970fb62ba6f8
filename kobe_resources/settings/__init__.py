"""Typed settings, how they are loaded, their pins, and the secrets that stay apart."""
