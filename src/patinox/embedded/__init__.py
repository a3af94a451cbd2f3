"""The engine inside: GGUF files found on this machine, served by a child process of our own.

`find_models` lists them, `Engine.start` loads one, `EnginePool` keeps a few loaded. It imports no
other room of Patinox. The engine itself comes with the extra `patinox[embedded]`.
"""

from patinox.embedded.engine import Engine, EngineError, EngineFailure, engine_available
from patinox.embedded.finder import LocalModelFile, ModelSource, demo_model, find_models
from patinox.embedded.gguf import BadGGUF, GGUFInfo, read_gguf
from patinox.embedded.pool import EnginePool

__all__ = [
    "BadGGUF",
    "Engine",
    "EngineError",
    "EngineFailure",
    "EnginePool",
    "GGUFInfo",
    "LocalModelFile",
    "ModelSource",
    "demo_model",
    "engine_available",
    "find_models",
    "read_gguf",
]
