"""An emulated LM Studio: `LMStudioEmulator` and what describes its models and their answers."""

from patinox.testing.lmstudio.emulator import LMStudioEmulator, LMStudioSwitches
from patinox.testing.lmstudio.errors import MODEL_CRASHED
from patinox.testing.lmstudio.models import (
    DEFAULT_MODELS,
    LMStudioAnswer,
    LMStudioModel,
    LMStudioPrompt,
    LMStudioToolCall,
    LMStudioTurn,
)

__all__ = [
    "DEFAULT_MODELS",
    "MODEL_CRASHED",
    "LMStudioAnswer",
    "LMStudioEmulator",
    "LMStudioModel",
    "LMStudioPrompt",
    "LMStudioSwitches",
    "LMStudioToolCall",
    "LMStudioTurn",
]
