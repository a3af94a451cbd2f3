"""Every language model running on your machine, through one door.

    async with LocalProvider() as local:
        answer = await local.complete(CompletionRequest("llama3.2:3b", ["Hello"]))

The floors, from the ground up; each imports only those below it:

    provider.types, errors          values and what can go wrong
    provider.tools, schema, images  what requests carry beside text
    provider.base, assemble         what a provider offers; pieces into answers
    provider.local.wire, dialects   bytes and words of the servers, free of I/O
    provider.local.transport        the only place that touches the network
    provider.local.service          one service at one address; ollama, lmstudio, ... are its kinds
    provider.local.discovery        who runs here, and how they are
    provider.local.coordinator      whom to ask, and whom next
    cli, testing                    what people and tests see

Names are imported when they are first used, so that `import patinox` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from patinox._version import __version__

if TYPE_CHECKING:
    from patinox.provider.answers import (
        CompletionChoice,
        CompletionResponse,
        EmbeddingResponse,
        Timings,
        TokenLogprob,
        Usage,
    )
    from patinox.provider.base import (
        CompletionStream,
        ModelProvider,
    )
    from patinox.provider.config import (
        Anthropic,
        LMStudio,
        Local,
        ModelDefaults,
        Ollama,
        OpenAI,
        OpenRouter,
        Provider,
    )
    from patinox.provider.embeddings import EmbeddingMatrix
    from patinox.provider.errors import (
        AuthenticationError,
        CapabilityNotSupported,
        CloudModelRefused,
        ConfigurationError,
        ContextLengthExceeded,
        InvalidRequest,
        ModelMismatch,
        ModelNotAvailable,
        ProviderClosed,
        ProviderError,
        RateLimited,
        StructuredOutputError,
        ToolCallInvalid,
    )
    from patinox.provider.factory import create_default_provider
    from patinox.provider.images import Image
    from patinox.provider.lifecycle import (
        LoadedModel,
        Operation,
        PullProgress,
        PullStream,
        RunningModel,
    )
    from patinox.provider.local.config import (
        Deadlines,
        DiscoveryConfig,
        EmbeddedConfig,
        EndpointConfig,
        HealthCheckConfig,
        LMStudioConfig,
        LocalProviderConfig,
        OllamaConfig,
        ServiceConfig,
    )
    from patinox.provider.local.coordinator import LocalProvider
    from patinox.provider.local.discovery import ServiceDiscovery
    from patinox.provider.local.embedded import EmbeddedProvider
    from patinox.provider.local.environment import load_config
    from patinox.provider.local.errors import (
        AllServicesFailed,
        FailedAttempt,
        InvalidConfiguration,
        LocalProviderError,
        LocalResourcesExhausted,
        ModelNotFound,
        ModelNotLoaded,
        NetworkError,
        ParseError,
        ResponseTooLarge,
        ServiceError,
        ServiceNotFound,
        ServiceTimeout,
        ServiceUnavailable,
        StreamInterrupted,
    )
    from patinox.provider.local.features import Feature
    from patinox.provider.local.llamacpp import LlamaCppProvider
    from patinox.provider.local.lmstudio import LMStudioProvider
    from patinox.provider.local.ollama import OllamaProvider
    from patinox.provider.local.preflight import estimate_tokens
    from patinox.provider.local.service import ServiceProvider
    from patinox.provider.local.spec import ServiceSpec
    from patinox.provider.local.sync import (
        SyncCompletionStream,
        SyncLocalProvider,
        SyncPullStream,
    )
    from patinox.provider.local.types import (
        Breaker,
        LocalService,
        Occupancy,
        ServiceInfo,
        ServiceMetrics,
        ServiceStatus,
        ServiceType,
    )
    from patinox.provider.messages import (
        CompletionMessage,
        ToolCall,
    )
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
    from patinox.provider.schema import OutputSchema
    from patinox.provider.secret import Secret
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
    from patinox.provider.toolloop import (
        ToolLoopLimit,
        ToolLoopResult,
        ToolResult,
        ToolStep,
        run_tools,
    )
    from patinox.provider.tools import Tool

__all__ = [
    "AllServicesFailed",
    "AnswerContinued",
    "Anthropic",
    "AuthenticationError",
    "Breaker",
    "CapabilityNotSupported",
    "CloudModelRefused",
    "CompletionChoice",
    "CompletionMessage",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStream",
    "ConfigurationError",
    "ContextLengthExceeded",
    "Deadlines",
    "DiscoveryConfig",
    "EmbeddedConfig",
    "EmbeddedProvider",
    "EmbeddingMatrix",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EndpointConfig",
    "FailedAttempt",
    "Feature",
    "GenerationRequest",
    "HealthCheckConfig",
    "Image",
    "InvalidConfiguration",
    "InvalidRequest",
    "LMStudio",
    "LMStudioConfig",
    "LMStudioOptions",
    "LMStudioProvider",
    "LlamaCppOptions",
    "LlamaCppProvider",
    "LoadProgress",
    "LoadedModel",
    "Local",
    "LocalProvider",
    "LocalProviderConfig",
    "LocalProviderError",
    "LocalResourcesExhausted",
    "LocalService",
    "LogprobsDelta",
    "ModelCapabilities",
    "ModelDefaults",
    "ModelId",
    "ModelInfo",
    "ModelMismatch",
    "ModelNotAvailable",
    "ModelNotFound",
    "ModelNotLoaded",
    "ModelProvider",
    "NetworkError",
    "Occupancy",
    "Ollama",
    "OllamaConfig",
    "OllamaOptions",
    "OllamaProvider",
    "OpenAI",
    "OpenRouter",
    "Operation",
    "OutputSchema",
    "ParseError",
    "Provider",
    "ProviderClosed",
    "ProviderError",
    "PullProgress",
    "PullStream",
    "QualityTier",
    "RateLimited",
    "ReasoningDelta",
    "ReasoningImplied",
    "ResponseFinished",
    "ResponseStarted",
    "ResponseTooLarge",
    "RunningModel",
    "Secret",
    "ServiceConfig",
    "ServiceDiscovery",
    "ServiceError",
    "ServiceInfo",
    "ServiceMetrics",
    "ServiceNotFound",
    "ServiceOptions",
    "ServiceProvider",
    "ServiceSpec",
    "ServiceStatus",
    "ServiceTimeout",
    "ServiceType",
    "ServiceUnavailable",
    "Source",
    "SpeedTier",
    "StreamEvent",
    "StreamInterrupted",
    "StructuredOutputError",
    "SyncCompletionStream",
    "SyncLocalProvider",
    "SyncPullStream",
    "TextCompletionRequest",
    "TextDelta",
    "Timings",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallInvalid",
    "ToolLoopLimit",
    "ToolLoopResult",
    "ToolResult",
    "ToolStep",
    "Usage",
    "__version__",
    "create_default_provider",
    "estimate_tokens",
    "load_config",
    "run_tools",
]

_HOMES = {
    "patinox.provider.answers": (
        "CompletionChoice CompletionResponse EmbeddingResponse Timings TokenLogprob Usage"
    ),
    "patinox.provider.base": "CompletionStream ModelProvider",
    "patinox.provider.config": (
        "Anthropic LMStudio Local ModelDefaults Ollama OpenAI OpenRouter Provider"
    ),
    "patinox.provider.embeddings": "EmbeddingMatrix",
    "patinox.provider.errors": (
        "AuthenticationError CapabilityNotSupported CloudModelRefused ConfigurationError "
        "ContextLengthExceeded InvalidRequest ModelMismatch ModelNotAvailable ProviderClosed "
        "ProviderError RateLimited StructuredOutputError ToolCallInvalid"
    ),
    "patinox.provider.factory": "create_default_provider",
    "patinox.provider.images": "Image",
    "patinox.provider.lifecycle": "LoadedModel Operation PullProgress PullStream RunningModel",
    "patinox.provider.local.config": (
        "Deadlines DiscoveryConfig EmbeddedConfig EndpointConfig HealthCheckConfig "
        "LMStudioConfig LocalProviderConfig OllamaConfig ServiceConfig"
    ),
    "patinox.provider.local.coordinator": "LocalProvider",
    "patinox.provider.local.discovery": "ServiceDiscovery",
    "patinox.provider.local.embedded": "EmbeddedProvider",
    "patinox.provider.local.environment": "load_config",
    "patinox.provider.local.errors": (
        "AllServicesFailed FailedAttempt InvalidConfiguration LocalProviderError "
        "LocalResourcesExhausted ModelNotFound ModelNotLoaded NetworkError ParseError "
        "ResponseTooLarge ServiceError ServiceNotFound ServiceTimeout ServiceUnavailable "
        "StreamInterrupted"
    ),
    "patinox.provider.local.features": "Feature",
    "patinox.provider.local.llamacpp": "LlamaCppProvider",
    "patinox.provider.local.lmstudio": "LMStudioProvider",
    "patinox.provider.local.ollama": "OllamaProvider",
    "patinox.provider.local.preflight": "estimate_tokens",
    "patinox.provider.local.service": "ServiceProvider",
    "patinox.provider.local.spec": "ServiceSpec",
    "patinox.provider.local.sync": "SyncCompletionStream SyncLocalProvider SyncPullStream",
    "patinox.provider.local.types": (
        "Breaker LocalService Occupancy ServiceInfo ServiceMetrics ServiceStatus ServiceType"
    ),
    "patinox.provider.messages": "CompletionMessage ToolCall",
    "patinox.provider.models": "ModelCapabilities ModelId ModelInfo QualityTier Source SpeedTier",
    "patinox.provider.requests": (
        "CompletionRequest EmbeddingRequest GenerationRequest TextCompletionRequest"
    ),
    "patinox.provider.schema": "OutputSchema",
    "patinox.provider.secret": "Secret",
    "patinox.provider.service_options": (
        "LMStudioOptions LlamaCppOptions OllamaOptions ServiceOptions"
    ),
    "patinox.provider.stream": (
        "AnswerContinued LoadProgress LogprobsDelta ReasoningDelta ReasoningImplied "
        "ResponseFinished ResponseStarted StreamEvent TextDelta ToolCallDelta"
    ),
    "patinox.provider.toolloop": "ToolLoopLimit ToolLoopResult ToolResult ToolStep run_tools",
    "patinox.provider.tools": "Tool",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name from where it lives, once."""
    if name not in _HOME:
        msg = f"module 'patinox' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
