"""What can be known to be wrong with a request before it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from patinox.provider.errors import CapabilityNotSupported
from patinox.provider.types import (
    CompletionRequest,
    EmbeddingRequest,
    ModelCapabilities,
    ModelInfo,
    TextCompletionRequest,
)

Request = CompletionRequest | TextCompletionRequest | EmbeddingRequest

# What a request may need: the ability, what is said of a model that lacks it, what to do instead.
_EMBED = ("supports_embeddings", "makes no embeddings", "Use it to chat")
_CHAT = ("supports_chat", "does not chat", "Use it to embed")
_CONTINUE = ("supports_completions", "does not go on with a text", "Use it to embed")
_INSERT = ("supports_insert", "does not fill in the middle of a text", "Leave the suffix out")
_THINK = ("supports_thinking", "does not reason before it answers", "Leave `think` out")


def refuse(request: Request, info: ModelInfo, *, label: str, service: str) -> None:
    """Refuse what the model is known not to be able to do.

    Raises:
        CapabilityNotSupported: it cannot; `label` is what people call its service.
    """
    for ability, lack, instead in _needs(request):
        if _known(info.capabilities, ability) is False:
            raise CapabilityNotSupported(
                f"{info.id!r} on {label} {lack}.",
                hint=f"{instead}; what each model can do: patinox models",
                service=service,
            )


def said_in(request: Request) -> list[str]:
    """Return the texts of a request, none of which belongs into an error."""
    if isinstance(request, CompletionRequest):
        return [message.content for message in request.messages]
    if isinstance(request, TextCompletionRequest):
        return [request.prompt, request.suffix or ""]
    return list(request.input)


def _needs(request: Request) -> Iterator[tuple[str, str, str]]:
    if isinstance(request, EmbeddingRequest):
        yield _EMBED
    elif isinstance(request, TextCompletionRequest):
        yield _CONTINUE
        if request.suffix is not None:
            yield _INSERT
    else:
        yield _CHAT
        if request.think:
            yield _THINK


def _known(capabilities: ModelCapabilities, ability: str) -> bool | None:
    known: bool | None = getattr(capabilities, ability)
    return known
