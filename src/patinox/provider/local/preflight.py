"""What can be known to be wrong with a request before it is sent, and with its answer after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from patinox.provider.errors import CapabilityNotSupported, ContextLengthExceeded
from patinox.provider.local.features import Prompt, Request
from patinox.provider.schema import OutputSchema
from patinox.provider.types import (
    CompletionRequest,
    EmbeddingRequest,
    ModelInfo,
    TextCompletionRequest,
    Usage,
    checked,
)

# What a request may need: the ability, what is said of a model that lacks it, what to do instead.
_EMBED = ("supports_embeddings", "makes no embeddings", "Use it to chat")
_CHAT = ("supports_chat", "does not chat", "Use it to embed")
_CONTINUE = ("supports_completions", "does not go on with a text", "Use it to embed")
_INSERT = ("supports_insert", "does not fill in the middle of a text", "Leave the suffix out")
_THINK = ("supports_thinking", "does not reason before it answers", "Leave `think` out")
_TOOLS = ("supports_tools", "does not call tools", "Leave the tools out")
_SEE = ("supports_vision", "does not see pictures", "Leave the pictures out")

_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 768  # what Ollama reckons with
# So far may an estimate be off: code and blanks make long tokens.
_TOO_FEW = 3
_SMALL = 256


def refuse(request: Request, info: ModelInfo, *, label: str, service: str) -> None:
    """Refuse what the model is known not to be able to do.

    Raises:
        CapabilityNotSupported: it cannot; `label` is what people call its service.
    """
    for ability, lack, instead in _needs(request):
        if getattr(info.capabilities, ability) is False:
            raise CapabilityNotSupported(
                f"{info.id!r} on {label} {lack}.",
                hint=f"{instead}; what each model can do: patinox models",
                service=service,
            )


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
        if request.offered_tools:
            yield _TOOLS
        if any(message.parts for message in request.messages):
            yield _SEE


def said_in(request: Request) -> list[str]:
    """Return the texts of a request, none of which belongs into an error."""
    if isinstance(request, CompletionRequest):
        turns = request.messages
        said = [turn.content for turn in turns] + [turn.reasoning for turn in turns]
        said += [call.arguments for turn in turns for call in turn.tool_calls]
        return [text for text in said if text]
    if isinstance(request, TextCompletionRequest):
        return [request.prompt, request.suffix or ""]
    return list(request.input)


def schema_in(request: Prompt) -> OutputSchema[Any] | None:
    """Return what the answer to a request must look like; `None` for any text."""
    return request.schema if isinstance(request, CompletionRequest) else None


def estimate_tokens(request: Prompt) -> int:
    """Estimate how long the prompt of a request is, in tokens: a quarter of its bytes, roughly.

    Only the server knows it exactly, and only afterwards: `usage.prompt_tokens`.

    Raises:
        InvalidRequest: it is no request for an answer.
    """
    if not isinstance(request, TextCompletionRequest):
        checked(request, CompletionRequest)
    return _tokens_of_texts(request) + _TOKENS_PER_IMAGE * _count_images(request)


def _count_images(request: Prompt) -> int:
    if isinstance(request, TextCompletionRequest):
        return 0
    return sum(len(message.images) for message in request.messages)


def _tokens_of_texts(request: Prompt) -> int:
    texts = said_in(request)
    tokens = 0
    if isinstance(request, CompletionRequest):
        tools = request.offered_tools
        texts += [msgspec.json.encode(tool.definition).decode() for tool in tools]
        tokens = _TOKENS_PER_MESSAGE * len(request.messages)
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return tokens + math.ceil(size / _BYTES_PER_TOKEN)


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a prompt fits the context, as far as that can be known before it is sent.

    Attributes:
        tokens: estimated length of the prompt.
        texts: the same without its pictures, of which models make very different numbers.
        context: length of the context that the answer will be made in; `None`: not known.
        place: the model and its service, for messages.
        cuts: the server cuts in silence what is too long; else it refuses it itself, and knows
            its length better.
    """

    tokens: int
    texts: int
    context: int | None
    place: str
    cuts: bool = True

    @property
    def exceeds(self) -> bool:
        """Whether the prompt seems longer than the context."""
        return self.context is not None and self.tokens > self.context

    def before(self, request: Prompt) -> tuple[str, ...]:
        """Warn of a prompt that the server would cut in silence, as the request wants it.

        Raises:
            ContextLengthExceeded: the request says to refuse it.
        """
        if not self.cuts or not self.exceeds or request.on_overflow == "ignore":
            return ()
        said = f"The prompt has about {self.tokens:,} tokens, but {self.place} has a context of"
        said = f"{said} {self.context:,}"
        if request.on_overflow == "refuse":
            raise ContextLengthExceeded(
                f"{said}.",
                prompt_tokens=self.tokens,
                context_tokens=self.context,
                hint="Shorten the prompt or load the model with a longer context.",
            )
        return (f"{said}: the server may cut it.",)

    def after(self, usage: Usage) -> tuple[str, ...]:
        """Tell of a prompt that was cut, by what the server counted of it."""
        read = usage.prompt_tokens
        if not self.cuts or read is None:
            return ()
        missing = read * _TOO_FEW < self.texts or (self.exceeds and read <= (self.context or 0))
        if missing and self.texts >= _SMALL:
            said = f"The server read {read:,} tokens of a prompt of about {self.tokens:,}"
            return (f"{said}: it seems to have cut it.",)
        if read == self.context:
            return (f"The prompt fills the whole context of {read:,}: it may have been cut.",)
        return ()


def fit(
    request: Prompt, info: ModelInfo, words: Mapping[str, Any], *, label: str, cuts: bool
) -> Fit:
    """Compare a prompt with the context: what the request asks for, else what is loaded now."""
    context, asked = info.loaded_context_length, words.get("num_ctx")
    if isinstance(asked, int):
        context = min(asked, info.context_length or asked)
    texts = _tokens_of_texts(request)
    return Fit(
        tokens=texts + _TOKENS_PER_IMAGE * _count_images(request),
        texts=texts,
        context=context,
        place=f"{info.id!r} on {label}",
        cuts=cuts and words.get("truncate") is not False,
    )
