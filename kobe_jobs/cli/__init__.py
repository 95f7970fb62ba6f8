"""The command line `kobe`."""
