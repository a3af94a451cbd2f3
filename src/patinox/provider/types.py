"""The values every provider speaks in: frozen, validated when made, free of I/O.

They live in rooms by what they are about; this one hands them all out.
"""

from __future__ import annotations

from patinox.provider.answers import (
    CompletionChoice,
    CompletionResponse,
    EmbeddingResponse,
    Timings,
    TokenLogprob,
    Usage,
)
from patinox.provider.checks import checked
from patinox.provider.messages import CompletionMessage, ToolCall
from patinox.provider.models import (
    ModelCapabilities,
    ModelId,
    ModelInfo,
    QualityTier,
    Source,
    SpeedTier,
)
from patinox.provider.requests import (
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
    TextCompletionRequest,
)
from patinox.provider.service_options import (
    LlamaCppOptions,
    LMStudioOptions,
    OllamaOptions,
    ServiceOptions,
)
from patinox.provider.stream import (
    AnswerContinued,
    LoadProgress,
    LogprobsDelta,
    ReasoningDelta,
    ReasoningImplied,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

__all__ = [
    "AnswerContinued",
    "CompletionChoice",
    "CompletionMessage",
    "CompletionRequest",
    "CompletionResponse",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "GenerationRequest",
    "LMStudioOptions",
    "LlamaCppOptions",
    "LoadProgress",
    "LogprobsDelta",
    "ModelCapabilities",
    "ModelId",
    "ModelInfo",
    "OllamaOptions",
    "QualityTier",
    "ReasoningDelta",
    "ReasoningImplied",
    "ResponseFinished",
    "ResponseStarted",
    "ServiceOptions",
    "Source",
    "SpeedTier",
    "StreamEvent",
    "TextCompletionRequest",
    "TextDelta",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "checked",
]
