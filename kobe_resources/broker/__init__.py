"""The broker: `open.open_broker` gives the one of a stage, behind the protocol of `protocol`."""
