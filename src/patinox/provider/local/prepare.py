"""From a request to what is sent, and to what is expected of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import CloudModelRefused, ModelMismatch
from patinox.provider.images import Image
from patinox.provider.local.dialects.base import ChatDecoder
from patinox.provider.local.features import Prompt, refuse_lacking
from patinox.provider.local.preflight import Fit, fit, refuse
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    ModelInfo,
    ResponseFinished,
    ResponseStarted,
    TextCompletionRequest,
)

if TYPE_CHECKING:
    from patinox.provider.local.service import ServiceProvider

# Characters of another model's name that are shown.
_LONGEST_NAME = 100


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the server's words, and how to read the answer.

    Attributes:
        http: what is sent.
        model: the model that is asked.
        decoder: turns the bytes of the answer into events.
        warnings: what is known not to be as the request wants it.
        accept: takes the beginning of the answer, and returns a warning if another model answers
            than was asked; raises `ModelMismatch` where that is not allowed, and
            `CloudModelRefused` where the answer must not come from the cloud and does.
        review: takes the end of the answer and returns what turned out not to be as wanted.
    """

    http: HTTPRequest
    model: str
    decoder: ChatDecoder
    warnings: tuple[str, ...]
    accept: Callable[[ResponseStarted], str | None]
    review: Callable[[ResponseFinished], tuple[str, ...]]


async def prepare(
    service: ServiceProvider, request: Prompt, info: ModelInfo, *, streaming: bool
) -> Prepared:
    """Write the request for a model, after a look at whether the model can do what it asks.

    Raises:
        CapabilityNotSupported: it is known that it cannot, or the service does not offer it.
        ContextLengthExceeded: the prompt seems too long, and the request says to refuse that.
    """
    refuse_lacking(request, service.lacks, label=service.label, service=service.id)
    refuse(request, info, label=service.label, service=service.id)
    if isinstance(request, CompletionRequest):
        request = service.adapt(await _with_pictures(request, service), info)
    words = {**service.config.custom_params, **request.words_for(service.options_type)}
    seems = fit(request, info, words, label=service.label, cuts=service.cuts_prompts)
    http = _render(service, request, info, words, streaming=streaming)
    return Prepared(
        http=http,
        model=info.id,
        decoder=service.dialect.decoder(request, thinks=info.capabilities.supports_thinking),
        warnings=seems.before(request),
        accept=lambda head: _accept(service, request, info, head),
        review=lambda end: _review(request, seems, end),
    )


def _render(
    service: ServiceProvider,
    request: Prompt,
    info: ModelInfo,
    words: dict[str, object],
    *,
    streaming: bool,
) -> HTTPRequest:
    model = service.call_name(info)
    if isinstance(request, TextCompletionRequest):
        return service.dialect.render_text(request, model=model, stream=streaming, words=words)
    return service.dialect.render_chat(request, model=model, stream=streaming, words=words)


async def _with_pictures(request: CompletionRequest, service: ServiceProvider) -> CompletionRequest:
    """Turn pictures of a kind that the server does not take into one that it does."""
    kinds = service.dialect.image_types
    pictures = (image for message in request.messages for image in message.images)
    if all(image.media_type in kinds for image in pictures):
        return request

    def taken(message: CompletionMessage) -> CompletionMessage:
        parts = (
            part.as_one_of(kinds) if isinstance(part, Image) else part for part in message.parts
        )
        return replace(message, parts=tuple(parts))

    messages = await asyncio.to_thread(lambda: [taken(message) for message in request.messages])
    return replace(request, messages=messages)


def _accept(
    service: ServiceProvider, request: Prompt, info: ModelInfo, head: ResponseStarted
) -> str | None:
    if head.remote and not service.config.allow_cloud:
        raise CloudModelRefused(
            f"{service.label} passed this request on to the cloud: {info.id!r} runs there now.",
            hint="To let prompts leave this machine: PATINOX_ALLOW_CLOUD=true.",
        )
    answered = head.model
    if answered in {"", info.id} or service.answers_as(info, answered):
        return None
    mismatch = mismatched(service, info, answered)
    if request.on_mismatch == "label":
        return mismatch.message
    raise mismatch


def mismatched(service: ServiceProvider, info: ModelInfo, answered: str) -> ModelMismatch:
    """Make the error for an answer of another model than was asked."""
    name = answered if len(answered) <= _LONGEST_NAME else f"{answered[:_LONGEST_NAME]}…"
    said = f"{service.label} answered with {name!r} instead of {info.id!r}."
    return ModelMismatch(said, hint="See: patinox models")


def _review(request: Prompt, seems: Fit, end: ResponseFinished) -> tuple[str, ...]:
    warnings = seems.after(end.usage)
    choice = request.tool_choice if isinstance(request, CompletionRequest) else None
    if choice in {None, "auto", "none"} or end.finish_reason in {"tool_calls", "length"}:
        return warnings
    return (*warnings, "The server was told to have a tool called, but did not.")
