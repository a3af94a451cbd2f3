"""An emulated Ollama: `OllamaEmulator` and what describes its models and their answers."""

from patinox.testing.ollama.emulator import OllamaEmulator
from patinox.testing.ollama.go_json import OllamaError
from patinox.testing.ollama.models import (
    DEFAULT_MODELS,
    OllamaAnswer,
    OllamaModel,
    OllamaPrompt,
    OllamaToolCall,
)
from patinox.testing.ollama.pulls import OllamaPullFault

__all__ = [
    "DEFAULT_MODELS",
    "OllamaAnswer",
    "OllamaEmulator",
    "OllamaError",
    "OllamaModel",
    "OllamaPrompt",
    "OllamaPullFault",
    "OllamaToolCall",
]
