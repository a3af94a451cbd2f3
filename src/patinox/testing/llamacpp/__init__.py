"""An emulated llama.cpp server: `LlamaCppEmulator` and what describes its models."""

from patinox.testing.llamacpp.emulator import LlamaCppEmulator
from patinox.testing.llamacpp.models import LlamaCppModel, LlamaCppPrompt

__all__ = ["LlamaCppEmulator", "LlamaCppModel", "LlamaCppPrompt"]
