"""The transport of Patinox alone: see `patinox_layers`."""

from clients.patinox_layers import TransportAlone as Client

__all__ = ["Client"]
