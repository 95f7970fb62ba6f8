"""The commands of `kobe`, one module an area; each adds itself with `register`."""
