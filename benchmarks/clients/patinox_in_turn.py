"""The two layers of Patinox, one after the other: see `patinox_layers`."""

from clients.patinox_layers import InTurn as Client

__all__ = ["Client"]
