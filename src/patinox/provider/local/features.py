"""What a request may need of a service, whichever model it has.

A service says in `lacks` which of these it does not offer, and what to do instead: that is refused
before anything is sent. `docs/services.md` is written from the same words.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

from patinox.provider.errors import CapabilityNotSupported
from patinox.provider.types import CompletionRequest, EmbeddingRequest, TextCompletionRequest

Prompt = CompletionRequest | TextCompletionRequest
Request = Prompt | EmbeddingRequest


class Feature(enum.StrEnum):
    """Something that not every service offers; the value is its name for people."""

    CHAT = "chat"
    TEXT = "go on with a text"
    INFILL = "fill in the middle of a text"
    TOOLS = "tools"
    FORCED_TOOL = "a tool that must be called"
    SCHEMA = "answers by a schema"
    PICTURES = "pictures"
    THINK = "thinking on or off"
    THINK_LEVEL = "a level of thinking"
    LOGPROBS = "probabilities of tokens"
    EMBEDDINGS = "embeddings"
    DIMENSIONS = "shorter embeddings"


# Of each feature that a service does not offer: what is said of it, and what to do instead.
Lacks = Mapping[Feature, tuple[str, str]]
NO_SHORTER_VECTORS: Lacks = {
    Feature.DIMENSIONS: (
        "makes vectors of one length, whatever it is asked for",
        "Leave `dimensions` out, or use a model on Ollama.",
    )
}


def needs(request: Request) -> Iterator[Feature]:
    """Tell what a request needs."""
    match request:
        case EmbeddingRequest():
            yield Feature.EMBEDDINGS
            if request.dimensions is not None:
                yield Feature.DIMENSIONS
        case TextCompletionRequest():
            yield Feature.TEXT
            if request.suffix is not None:
                yield Feature.INFILL
        case _:
            yield Feature.CHAT
            yield from _needs_of_chat(request)
    if not isinstance(request, EmbeddingRequest) and request.logprobs:
        yield Feature.LOGPROBS


def _needs_of_chat(request: CompletionRequest) -> Iterator[Feature]:
    if request.offered_tools:
        yield Feature.TOOLS
        if request.tool_choice not in {None, "auto"}:
            yield Feature.FORCED_TOOL
    if request.schema is not None:
        yield Feature.SCHEMA
    if any(message.parts for message in request.messages):
        yield Feature.PICTURES
    if isinstance(request.think, bool):
        yield Feature.THINK
    elif request.think is not None:
        yield Feature.THINK_LEVEL


def refuse_lacking(request: Request, lacks: Lacks, *, label: str, service: str) -> None:
    """Refuse what the service does not offer.

    Raises:
        CapabilityNotSupported: it does not; `label` is what people call it.
    """
    for feature in needs(request):
        if feature in lacks:
            said, instead = lacks[feature]
            raise CapabilityNotSupported(f"{label} {said}.", hint=instead, service=service)
