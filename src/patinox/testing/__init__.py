"""Emulated model servers on real sockets, for your own tests.

They are emulators, built to a written contract with each server's HTTP API (which versions, its
module says); they are not the servers, and run no model:

    async with OllamaEmulator() as ollama:
        ...  # talk to ollama.url, then look at ollama.requests

Where nothing is async, `with OllamaEmulator().run_in_thread() as ollama:` does the same. With
pytest the fixtures `ollama_emulator`, `lmstudio_emulator` and `llamacpp_emulator` are there by
themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patinox.testing.exchange import Exchange, Seen
    from patinox.testing.llamacpp import LlamaCppEmulator, LlamaCppModel, LlamaCppPrompt
    from patinox.testing.lmstudio import (
        LMStudioAnswer,
        LMStudioEmulator,
        LMStudioModel,
        LMStudioPrompt,
        LMStudioToolCall,
    )
    from patinox.testing.ollama import (
        OllamaAnswer,
        OllamaEmulator,
        OllamaError,
        OllamaModel,
        OllamaPrompt,
        OllamaPullFault,
        OllamaToolCall,
    )
    from patinox.testing.server import EmulatedServer

__all__ = [
    "EmulatedServer",
    "Exchange",
    "LMStudioAnswer",
    "LMStudioEmulator",
    "LMStudioModel",
    "LMStudioPrompt",
    "LMStudioToolCall",
    "LlamaCppEmulator",
    "LlamaCppModel",
    "LlamaCppPrompt",
    "OllamaAnswer",
    "OllamaEmulator",
    "OllamaError",
    "OllamaModel",
    "OllamaPrompt",
    "OllamaPullFault",
    "OllamaToolCall",
    "Seen",
]

_HOMES = {
    "EmulatedServer": "server",
    "Exchange": "exchange",
    "LMStudioAnswer": "lmstudio",
    "LMStudioEmulator": "lmstudio",
    "LMStudioModel": "lmstudio",
    "LMStudioPrompt": "lmstudio",
    "LMStudioToolCall": "lmstudio",
    "LlamaCppEmulator": "llamacpp",
    "LlamaCppModel": "llamacpp",
    "LlamaCppPrompt": "llamacpp",
    "OllamaAnswer": "ollama",
    "OllamaEmulator": "ollama",
    "OllamaError": "ollama",
    "OllamaModel": "ollama",
    "OllamaPrompt": "ollama",
    "OllamaPullFault": "ollama",
    "OllamaToolCall": "ollama",
    "Seen": "exchange",
}


def __getattr__(name: str) -> object:
    """Import a name when it is asked for: pytest loads this package in every run."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """List what is public here."""
    return sorted(__all__)
