"""Patinox without the network: see `patinox_layers`."""

from clients.patinox_layers import WithoutNetwork as Client

__all__ = ["Client"]
