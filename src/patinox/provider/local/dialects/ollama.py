"""Ollama's own language: NDJSON over `/api/chat`, vectors over `/api/embed`.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    InvalidRequest,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.dialects.base import arguments_text, embedding_response, seconds, speed
from patinox.provider.local.dialects.faults import Rule, classify
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
    StreamInterrupted,
)
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, decode_leniently
from patinox.provider.local.wire.lines import LineDecoder
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
    ToolCall,
    ToolCallDelta,
    Usage,
)

# What stands beside `options` in a request, not in it.
_TOP_LEVEL = (
    "format",
    "keep_alive",
    "logprobs",
    "shift",
    "think",
    "tools",
    "top_logprobs",
    "truncate",
)
_NANO = 1e9

RULES: tuple[Rule, ...] = (
    (r"cloud is disabled|cannot run this remote model", CloudModelRefused),
    (r"unauthorized", AuthenticationError),
    (r"does not support embeddings", CapabilityNotSupported),
    (r"model .*not found|model is required|file does not exist", ModelNotFound),
    (
        r'option ".*" must be of type|invalid (format|think|model name)|illegal base64',
        InvalidRequest,
    ),
    (r"server busy", RateLimited),
    (
        r"unexpectedly stopped|has terminated|embedding request|while running the model",
        ServiceError,
    ),
)


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"null")


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Chunk(msgspec.Struct):
    model: str | None = None
    created_at: str | None = None
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    load_duration: Count | None = None
    prompt_eval_count: Count | None = None
    prompt_eval_duration: Count | None = None
    eval_count: Count | None = None
    eval_duration: Count | None = None
    error: object | None = None


# What an answer consists of; the rest of a line is beside it.
_ANSWER = ("model", "message", "done", "error")


class _Vectors(msgspec.Struct):
    embeddings: list[list[float]]
    model: str = ""
    prompt_eval_count: Count | None = None


class OllamaDialect:
    """Requests into Ollama's words, its words into events."""

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/api/chat`."""
        body: dict[str, object] = {
            "model": model,
            "messages": [_render_message(message) for message in request.messages],
            "stream": stream,
        }
        options = {**custom, **request.options, **_options(request)}
        body |= {field: options.pop(field) for field in _TOP_LEVEL if field in options}
        if options:
            body["options"] = options
        return json_request("POST", "/api/chat", body)

    def chat_decoder(self) -> OllamaChatDecoder:
        """Make a decoder for one answer."""
        return OllamaChatDecoder()

    def render_embed(
        self, request: EmbeddingRequest, *, model: str, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/api/embed`; a text that is too long is an error, never cut."""
        body: dict[str, object] = {
            "model": model,
            "input": list(request.input),
            "truncate": False,
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if custom:
            body["options"] = dict(custom)
        return json_request("POST", "/api/embed", body)

    def parse_embed(self, reply: HTTPReply, *, count: int) -> EmbeddingResponse:
        """Read the reply of `/api/embed`; raises `ParseError`."""
        vectors = decode_leniently(reply.body, _Vectors, what="The reply to /api/embed")
        tokens = vectors.prompt_eval_count
        usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
        return embedding_response(vectors.embeddings, count=count, model=vectors.model, usage=usage)

    def classify(self, reply: HTTPReply) -> ProviderError:
        """Tell what an error of Ollama means."""
        error = classify(reply, RULES)
        if isinstance(error, AuthenticationError) and b"signin_url" in reply.body:
            error.hint = "Sign in with: ollama signin"
        return error


class OllamaChatDecoder:
    """Decodes one answer of `/api/chat`, streamed or whole."""

    def __init__(self) -> None:
        """Start before the first byte."""
        self.ended = False
        self._lines = LineDecoder()
        self._model: str | None = None
        self._calls = 0

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        """Take bytes, hand out events; raises what the server reports."""
        lines = self._lines.feed(data)
        while not self.ended and (line := next(lines, None)) is not None:
            if line.strip():
                yield from self._chunk(line)

    def close(self) -> Iterator[StreamEvent]:
        """Take the end; raises `StreamInterrupted` if `done` was not said, or `ParseError`."""
        if self.ended:
            return
        rest = self._lines.close()
        if rest.strip():
            try:
                yield from self._chunk(rest)
            except ParseError as error:
                msg = "The answer broke off in the middle of a line."
                raise StreamInterrupted(msg, retryable=True) from error
        if not self.ended:
            what = "ended without saying that it is done" if self._model else "is empty"
            msg = f"The answer {what}."
            raise StreamInterrupted(msg, retryable=True)

    def _chunk(self, line: bytes) -> Iterator[StreamEvent]:
        chunk = decode_leniently(line, _Chunk, what="A line of the answer", strict=_ANSWER)
        if chunk.error is not None:
            raise classify(HTTPReply(status=200, headers={}, body=line), RULES)
        if chunk.model and chunk.model != self._model:
            self._model = chunk.model
            yield ResponseStarted(model=chunk.model, created=unix_time(chunk.created_at))
        if chunk.message is not None:
            yield from self._message(chunk.message)
        if chunk.done:
            yield self._finish(chunk)

    def _message(self, message: _Message) -> Iterator[StreamEvent]:
        if message.thinking:
            yield ReasoningDelta(message.thinking)
        if message.content:
            yield TextDelta(message.content)
        for call in message.tool_calls or ():
            yield ToolCallDelta(
                index=self._calls,
                id=call.id,
                name=call.function.name,
                arguments=arguments_text(call.function.arguments) or "{}",
            )
            self._calls += 1

    def _finish(self, chunk: _Chunk) -> ResponseFinished:
        if chunk.done_reason in {"load", "unload"}:
            msg = f"Ollama answered with a mere {chunk.done_reason} of the model, not with text."
            raise ModelNotLoaded(msg)
        self.ended = True
        reason = chunk.done_reason
        return ResponseFinished(
            finish_reason="tool_calls" if reason == "stop" and self._calls else reason,
            usage=Usage(
                prompt_tokens=chunk.prompt_eval_count,
                completion_tokens=chunk.eval_count,
                total_tokens=_sum(chunk.prompt_eval_count, chunk.eval_count),
            ),
            timings=_timings(chunk),
        )


def _render_message(message: CompletionMessage) -> dict[str, object]:
    rendered: dict[str, object] = {"role": message.role, "content": message.content}
    if message.reasoning:
        rendered["thinking"] = message.reasoning
    if message.tool_calls:
        rendered["tool_calls"] = [_render_call(call) for call in message.tool_calls]
    if message.name is not None:
        rendered["tool_name"] = message.name
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    return rendered


def _render_call(call: ToolCall) -> dict[str, object]:
    arguments = call.arguments or "{}"
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.DecodeError as error:
        msg = f"The arguments of the call of tool {call.name!r} are not a JSON object: {error}."
        raise InvalidRequest(msg) from error
    function = {"name": call.name, "arguments": msgspec.Raw(arguments.encode())}
    return {"id": call.id, "function": function}


def _options(request: CompletionRequest) -> dict[str, object]:
    named: dict[str, object] = {
        "temperature": request.temperature,
        "num_predict": request.max_tokens,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "seed": request.seed,
    }
    return {key: value for key, value in named.items() if value is not None}


def _timings(chunk: _Chunk) -> Timings:
    rate = speed(chunk.eval_count, seconds(chunk.eval_duration, _NANO))
    return Timings(
        load_seconds=seconds(chunk.load_duration, _NANO),
        prompt_seconds=seconds(chunk.prompt_eval_duration, _NANO),
        tokens_per_second=rate,
        measured_by="server" if rate is not None else None,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def unix_time(text: str | None) -> int | None:
    """Read the seconds of Go's timestamp, whose fraction has up to nine digits."""
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None
