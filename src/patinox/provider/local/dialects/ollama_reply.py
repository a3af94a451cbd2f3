"""What Ollama replies: lines of JSON into events, and what its errors mean."""

from __future__ import annotations

from datetime import datetime

import msgspec

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    InvalidRequest,
    RateLimited,
)
from patinox.provider.local.dialects.base import (
    Logprob,
    arguments_text,
    logprobs_delta,
    seconds,
    speed,
    total,
)
from patinox.provider.local.dialects.faults import Rule, classify
from patinox.provider.local.dialects.thinking import ThinkSplitter
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ResponseTooLarge,
    ServiceError,
    StreamInterrupted,
)
from patinox.provider.local.wire.http import HTTPReply
from patinox.provider.local.wire.json import Count, breaks_off, decode_leniently
from patinox.provider.local.wire.lines import LineDecoder
from patinox.provider.types import (
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    Timings,
    ToolCallDelta,
    Usage,
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
    response: str | None = None
    thinking: str | None = None
    logprobs: list[Logprob] | None = None
    done: bool = False
    done_reason: str | None = None
    load_duration: Count | None = None
    prompt_eval_count: Count | None = None
    prompt_eval_duration: Count | None = None
    eval_count: Count | None = None
    eval_duration: Count | None = None
    error: object | None = None
    # Of any shape: whatever stands there, the answer comes from the cloud.
    remote_host: object = None
    remote_model: object = None


# What an answer consists of; the rest of a line is beside it.
_ANSWER = ("model", "message", "response", "done", "error")
_decode = msgspec.json.Decoder(_Chunk).decode
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Vectors(msgspec.Struct):
    """The reply to `/api/embed`."""

    embeddings: list[list[float]]
    model: str = ""
    prompt_eval_count: Count | None = None


class OllamaDecoder:
    """Decodes one answer of `/api/chat` or `/api/generate`, streamed or whole."""

    def __init__(
        self, *, plain: bool, thinks: bool | None = None, top_logprobs: int | None = None
    ) -> None:
        """Start before the first byte.

        Args:
            plain: the answer goes on with a text, in which no reasoning is looked for.
            thinks: the model can reason.
            top_logprobs: how many likely tokens are told beside each; `None` tells of no token
                how probable it is.

        """
        self.ended = False
        self._top_logprobs = top_logprobs
        self._lines = LineDecoder()
        self._text = ThinkSplitter(thinks=thinks)
        if plain:
            self._text.separated()
        self._only_text = False  # what comes as text is text, whatever stands in it
        self._model: str | None = None
        self._remote = False
        self._said = False
        self._calls = 0

    def feed(self, data: bytes, events: list[StreamEvent]) -> None:
        """Take bytes, add the events they complete; raises what the server reports."""
        lines: list[bytes] = []
        too_long = None
        try:
            self._lines.feed(data, lines)
        except ResponseTooLarge as error:
            too_long = error
        for line in lines:
            if self.ended:
                return
            if line:
                self._chunk(line, events)
        if too_long is not None and not self.ended:
            raise too_long

    def close(self, events: list[StreamEvent]) -> None:
        """Take the end.

        Raises:
            ParseError: there is no answer at all, or not in this language.
            StreamInterrupted: it has no end.
        """
        if self.ended:
            return
        rest = self._lines.close()
        cut = bool(rest.strip()) and breaks_off(rest)
        if rest and not cut:
            self._chunk(rest, events)
        if self.ended:
            return
        self._text.close(events)
        if not (self._model or self._said or cut):
            msg = "The answer is empty."
            raise ParseError(msg)
        what = (
            "broke off in the middle of a line" if cut else "ended without saying that it is done"
        )
        msg = f"The answer {what}."
        raise StreamInterrupted(msg, retryable=True)

    def _chunk(self, line: bytes, events: list[StreamEvent]) -> None:
        try:
            chunk = _decode(line)
        except _NOT_DECODED:
            if not line.strip():
                return
            chunk = decode_leniently(line, _Chunk, what="A line of the answer", strict=_ANSWER)
        if self._only_text and chunk.model == self._model and (text := _only_text(chunk)):
            events.append(TextDelta(text))
            return
        if chunk.error is not None:
            raise classify(HTTPReply(status=200, headers={}, body=line), RULES)
        self._all_of(chunk, events)
        self._only_text = self._text.is_done

    def _all_of(self, chunk: _Chunk, events: list[StreamEvent]) -> None:
        remote = self._remote or bool(chunk.remote_host or chunk.remote_model)
        if remote is not self._remote or (chunk.model != self._model and chunk.model):
            self._model, self._remote = chunk.model or self._model, remote
            created = unix_time(chunk.created_at)
            events.append(ResponseStarted(model=self._model or "", created=created, remote=remote))
        if chunk.logprobs and self._top_logprobs is not None:
            events.append(logprobs_delta(chunk.logprobs, self._top_logprobs))
        if chunk.message is not None:
            self._message(chunk.message, events)
        elif chunk.thinking or chunk.response:
            self._piece(chunk.thinking, chunk.response, events)
        if chunk.done:
            self._finish(chunk, events)

    def _message(self, message: _Message, events: list[StreamEvent]) -> None:
        self._piece(message.thinking, message.content, events)
        for call in message.tool_calls or ():
            events.append(
                ToolCallDelta(
                    index=self._calls,
                    id=call.id,
                    name=call.function.name,
                    arguments=arguments_text(call.function.arguments) or "{}",
                )
            )
            self._calls += 1

    def _piece(self, thinking: str | None, text: str | None, events: list[StreamEvent]) -> None:
        self._said = True
        if thinking:
            self._text.separated()
            events.append(ReasoningDelta(thinking))
        if text:
            self._text.feed(text, events)

    def _finish(self, chunk: _Chunk, events: list[StreamEvent]) -> None:
        if chunk.done_reason in {"load", "unload"}:
            msg = f"Ollama answered with a mere {chunk.done_reason} of the model, not with text."
            raise ModelNotLoaded(msg)
        self.ended = True
        self._text.close(events)
        reason = chunk.done_reason
        events.append(
            ResponseFinished(
                finish_reason="tool_calls" if reason == "stop" and self._calls else reason,
                usage=Usage(
                    prompt_tokens=chunk.prompt_eval_count,
                    completion_tokens=chunk.eval_count,
                    total_tokens=total(chunk.prompt_eval_count, chunk.eval_count),
                ),
                timings=_timings(chunk),
            )
        )


def _only_text(chunk: _Chunk) -> str | None:
    """Return the text of a line that says nothing else, as nearly all do; else `None`."""
    message = chunk.message
    if message is None or message.thinking or message.tool_calls:
        return None
    if chunk.done or chunk.logprobs or chunk.error is not None:
        return None
    if chunk.remote_host or chunk.remote_model:
        return None
    return message.content


def _timings(chunk: _Chunk) -> Timings:
    rate = speed(chunk.eval_count, seconds(chunk.eval_duration, _NANO))
    return Timings(
        load_seconds=seconds(chunk.load_duration, _NANO),
        prompt_seconds=seconds(chunk.prompt_eval_duration, _NANO),
        tokens_per_second=rate,
        measured_by="server" if rate is not None else None,
    )


def unix_time(text: str | None) -> int | None:
    """Read the seconds of Go's timestamp, whose fraction has up to nine digits."""
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None
