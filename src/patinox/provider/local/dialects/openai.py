"""The language that OpenAI made common: server-sent events over `/v1/chat/completions`.

What servers do differently are arguments of `OpenAIDialect`, not classes of their own.
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from patinox.provider.errors import ProviderError
from patinox.provider.local.dialects.base import arguments_text, embedding_response, seconds, speed
from patinox.provider.local.dialects.faults import Rule, classify
from patinox.provider.local.errors import ParseError, ResponseTooLarge, StreamInterrupted
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, decode_leniently, is_json
from patinox.provider.local.wire.sse import ServerSentEvent, SSEDecoder
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    Timings,
    ToolCallDelta,
    Usage,
)

_MILLI = 1e3
_DONE = b"[DONE]"
MAX_DOCUMENT = 16 * 2**20


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"null")


class _ToolDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Timings(msgspec.Struct):
    """What llama.cpp measures, times in milliseconds."""

    prompt_ms: float | None = None
    predicted_n: Count | None = None
    predicted_ms: float | None = None


class _Stats(msgspec.Struct):
    """What LM Studio measures, where it does."""

    tokens_per_second: float | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    created: Count | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    stats: _Stats | None = None
    error: object | None = None


# What an answer consists of; the rest of a piece is beside it.
_ANSWER = ("model", "choices", "error")


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: _Usage | None = None


class OpenAIDialect:
    """Requests into OpenAI's words, such servers' words into events.

    Args:
        rules: what the server's errors mean, asked before the common rules.
        base64_embeddings: whether vectors are asked for in base64, which is smaller and faster.
        counts_embedding_tokens: whether the usage of vectors is counted, or always 0.

    """

    def __init__(
        self,
        *,
        rules: Sequence[Rule] = (),
        base64_embeddings: bool = False,
        counts_embedding_tokens: bool = True,
    ) -> None:
        """Keep what is different about this server."""
        self._rules = tuple(rules)
        self._base64 = base64_embeddings
        self._counts = counts_embedding_tokens

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/chat/completions`."""
        typed: dict[str, object] = {
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "top_p": request.top_p,
            "stop": list(request.stop) or None,
            "seed": request.seed,
        }
        body: dict[str, object] = {
            **custom,
            **request.options,
            **{key: value for key, value in typed.items() if value is not None},
            "model": model,
            "messages": [_render_message(message) for message in request.messages],
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        return json_request("POST", "/v1/chat/completions", body)

    def chat_decoder(self) -> OpenAIChatDecoder:
        """Make a decoder for one answer."""
        return OpenAIChatDecoder(self._rules)

    def render_embed(
        self, request: EmbeddingRequest, *, model: str, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/embeddings`."""
        body: dict[str, object] = {**custom, "model": model, "input": list(request.input)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if self._base64:
            body["encoding_format"] = "base64"
        return json_request("POST", "/v1/embeddings", body)

    def parse_embed(self, reply: HTTPReply, *, count: int) -> EmbeddingResponse:
        """Read the reply of `/v1/embeddings`; raises `ParseError`."""
        vectors = decode_leniently(reply.body, _Vectors, what="The reply to /v1/embeddings")
        rows = [_floats(item) for item in sorted(vectors.data, key=lambda item: item.index)]
        usage = _usage(vectors.usage) if self._counts else Usage()
        return embedding_response(rows, count=count, model=vectors.model, usage=usage)

    def classify(self, reply: HTTPReply) -> ProviderError:
        """Tell what an error of the server means."""
        return classify(reply, self._rules)


class OpenAIChatDecoder:
    """Decodes one answer: a stream of events, or one document; told apart by the first byte."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        """Start before the first byte."""
        self.ended = False
        self._rules = rules
        self._sse = SSEDecoder()
        self._document: bytearray | None = None
        self._opened = False
        self._model: str | None = None
        self._finish_reason: str | None = None
        self._usage: _Usage | None = None
        self._timings: _Timings | None = None
        self._stats: _Stats | None = None

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        """Take bytes, hand out events; raises what the server reports."""
        if not self._opened:
            data = data.lstrip()
            self._opened = bool(data)
            self._document = bytearray() if data.startswith(b"{") else None
        if self._document is not None:
            self._document += data
            if len(self._document) > MAX_DOCUMENT:
                msg = f"The answer is longer than {MAX_DOCUMENT:,} bytes."
                raise ResponseTooLarge(msg)
            return
        events = self._sse.feed(data)
        while not self.ended and (event := next(events, None)) is not None:
            yield from self._event(event)

    def close(self) -> Iterator[StreamEvent]:
        """Take the end; raises `StreamInterrupted` if no reason to finish was given."""
        if self._document is not None:
            yield from self._chunk(bytes(self._document))
        elif not self.ended:
            for event in self._sse.close():
                if is_json(event.data):  # else it broke off there
                    yield from self._event(event)
        if self.ended:
            return
        if self._finish_reason is None:
            what = "ended without saying why" if self._model else "is empty"
            msg = f"The answer {what}."
            raise StreamInterrupted(msg, retryable=True)
        yield self._finish()

    def _event(self, event: ServerSentEvent) -> Iterator[StreamEvent]:
        if event.data.strip() == _DONE:
            if self._finish_reason is not None:
                yield self._finish()
            return
        if event.name == "error":
            raise classify(HTTPReply(status=200, headers={}, body=event.data), self._rules)
        yield from self._chunk(event.data)

    def _chunk(self, data: bytes) -> Iterator[StreamEvent]:
        chunk = decode_leniently(data, _Chunk, what="A piece of the answer", strict=_ANSWER)
        if chunk.error is not None:
            raise classify(HTTPReply(status=200, headers={}, body=data), self._rules)
        if chunk.model and chunk.model != self._model:
            self._model = chunk.model
            yield ResponseStarted(model=chunk.model, id=chunk.id, created=chunk.created)
        for choice in chunk.choices or ():
            if choice.index == 0:
                yield from self._choice(choice)
        self._usage = chunk.usage or self._usage
        self._timings = chunk.timings or self._timings
        self._stats = chunk.stats or self._stats

    def _choice(self, choice: _Choice) -> Iterator[StreamEvent]:
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                yield ReasoningDelta(reasoning)
            if delta.content:
                yield TextDelta(delta.content)
            for position, call in enumerate(delta.tool_calls or ()):
                yield _tool_delta(call, position)
        self._finish_reason = choice.finish_reason or self._finish_reason

    def _finish(self) -> ResponseFinished:
        self.ended = True
        return ResponseFinished(
            finish_reason=self._finish_reason,
            usage=_usage(self._usage),
            timings=_server_timings(self._timings, self._stats),
        )


def _render_message(message: CompletionMessage) -> dict[str, object]:
    rendered: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        rendered["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        rendered["name"] = message.name
    return rendered


def _tool_delta(call: _ToolDelta, position: int) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(
        index=position if call.index is None else call.index,
        id=call.id,
        name=function.name,
        arguments=arguments_text(function.arguments),
    )


def _floats(item: _Vector) -> list[float]:
    if not isinstance(item.embedding, str):
        return item.embedding
    try:
        data = base64.b64decode(item.embedding, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (ValueError, struct.error) as error:
        msg = f"A vector of the reply is not base64 of 32-bit floats: {error}."
        raise ParseError(msg) from error


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage()
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        cached_tokens=prompt.cached_tokens if prompt else None,
        reasoning_tokens=completion.reasoning_tokens if completion else None,
    )


def _server_timings(timings: _Timings | None, stats: _Stats | None) -> Timings:
    timings = timings or _Timings()
    rate = speed(timings.predicted_n, seconds(timings.predicted_ms, _MILLI))
    if rate is None and stats:
        rate = stats.tokens_per_second
    return Timings(
        prompt_seconds=seconds(timings.prompt_ms, _MILLI),
        tokens_per_second=rate,
        measured_by="server" if rate is not None else None,
    )
