"""Everything that goes wrong with a model server, each as a switch of an emulated one.

    async with OllamaEmulator() as ollama:
        FAULTS["eof_without_done"].install(ollama, times=1)

The catalogue has sections: A connection, B HTTP, C body, D stream, E identity, F life. A fault says
in which calls it can be seen (`probe`, `list`, `chat`, `stream`, `embed`) and strikes in these, or
in those that are asked for. What never ends ends when the client hangs up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from patinox.testing.faults.body import BODY
from patinox.testing.faults.connection import CONNECTION
from patinox.testing.faults.fault import CALLS, KINDS, Call, Fault, Installed, call_of
from patinox.testing.faults.http import HTTP
from patinox.testing.faults.identity import IDENTITY
from patinox.testing.faults.life import LIFE
from patinox.testing.faults.stream import STREAM

__all__ = ["CALLS", "FAULTS", "KINDS", "Call", "Fault", "Installed", "call_of"]

_SECTIONS = (CONNECTION, HTTP, BODY, STREAM, IDENTITY, LIFE)
FAULTS: Mapping[str, Fault] = MappingProxyType(
    {fault.name: fault for section in _SECTIONS for fault in section.faults}
)
