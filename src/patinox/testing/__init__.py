"""Emulated model servers on real sockets, for your own tests.

They are emulators, built to a written contract with each server's HTTP API (which versions, its
module says); they are not the servers, and run no model:

    async with OllamaEmulator() as ollama:
        ...  # talk to ollama.url, then look at ollama.requests

Where nothing is async, `with OllamaEmulator().run_in_thread() as ollama:` does the same. With
pytest the fixtures `ollama_emulator` and `lmstudio_emulator` are there by themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patinox.testing.lmstudio import LMStudioEmulator
    from patinox.testing.lmstudio_models import (
        LMStudioAnswer,
        LMStudioModel,
        LMStudioPrompt,
        LMStudioToolCall,
    )
    from patinox.testing.ollama import OllamaEmulator
    from patinox.testing.ollama_json import OllamaError
    from patinox.testing.ollama_models import (
        OllamaAnswer,
        OllamaModel,
        OllamaPrompt,
        OllamaToolCall,
    )
    from patinox.testing.server import EmulatedServer, Exchange, Seen

__all__ = [
    "EmulatedServer",
    "Exchange",
    "LMStudioAnswer",
    "LMStudioEmulator",
    "LMStudioModel",
    "LMStudioPrompt",
    "LMStudioToolCall",
    "OllamaAnswer",
    "OllamaEmulator",
    "OllamaError",
    "OllamaModel",
    "OllamaPrompt",
    "OllamaToolCall",
    "Seen",
]

_HOMES = {
    "EmulatedServer": "server",
    "Exchange": "server",
    "LMStudioAnswer": "lmstudio_models",
    "LMStudioEmulator": "lmstudio",
    "LMStudioModel": "lmstudio_models",
    "LMStudioPrompt": "lmstudio_models",
    "LMStudioToolCall": "lmstudio_models",
    "OllamaAnswer": "ollama_models",
    "OllamaEmulator": "ollama",
    "OllamaError": "ollama_json",
    "OllamaModel": "ollama_models",
    "OllamaPrompt": "ollama_models",
    "OllamaToolCall": "ollama_models",
    "Seen": "server",
}


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: pytest loads this package in every run."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
