"""What OpenAI-compatible servers reply: server-sent events, or one document, into events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from patinox.provider.errors import ProviderError
from patinox.provider.local.dialects.base import (
    Logprob,
    arguments_text,
    embedding_response,
    logprobs_delta,
    seconds,
    speed,
)
from patinox.provider.local.dialects.faults import Rule, classify
from patinox.provider.local.dialects.thinking import ThinkSplitter
from patinox.provider.local.errors import ParseError, ResponseTooLarge, StreamInterrupted
from patinox.provider.local.wire.http import HTTPReply
from patinox.provider.local.wire.json import Count, decode_leniently, is_json
from patinox.provider.local.wire.sse import ServerSentEvent, SSEDecoder
from patinox.provider.types import (
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


class _Logprobs(msgspec.Struct):
    content: list[Logprob] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class UsageTold(msgspec.Struct):
    """Tokens as OpenAI's language counts them."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class TimingsTold(msgspec.Struct):
    """What llama.cpp measures, times in milliseconds."""

    prompt_ms: float | None = None
    predicted_n: Count | None = None
    predicted_ms: float | None = None


class Stats(msgspec.Struct):
    """What LM Studio measures, where it does."""

    tokens_per_second: float | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    created: Count | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: UsageTold | None = None
    timings: TimingsTold | None = None
    stats: Stats | None = None
    error: object | None = None


# What an answer consists of; the rest of a piece is beside it.
_ANSWER = ("model", "choices", "error")
_decode = msgspec.json.Decoder(_Chunk).decode
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class OpenAIDecoder:
    """Decodes one answer: a stream of events, or one document; told apart by the first byte."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        thinks: bool | None = None,
        plain: bool = False,
        top_logprobs: int | None = None,
    ) -> None:
        """Start before the first byte.

        Args:
            rules: what the server's errors mean.
            thinks: the model can reason.
            plain: the answer goes on with a text, in which no reasoning is looked for.
            top_logprobs: how many likely tokens are told beside each; `None` tells of no token
                how probable it is.

        """
        self.ended = False
        self._top_logprobs = top_logprobs
        self._rules = rules
        self._sse = SSEDecoder()
        self._text = ThinkSplitter(thinks=thinks)
        if plain:
            self._text.separated()
        self._only_text = False  # what comes as text is text, whatever stands in it
        self._document: bytearray | None = None
        self._opened = False
        self._chosen = False
        self._calls = _Calls()
        self._model: str | None = None
        self._finish_reason: str | None = None
        self._usage: UsageTold | None = None
        self._timings: TimingsTold | None = None
        self._stats: Stats | None = None

    def feed(self, data: bytes, events: list[StreamEvent]) -> None:
        """Take bytes, add the events they complete; raises what the server reports."""
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
        sent: list[ServerSentEvent] = []
        too_long = None
        try:
            self._sse.feed(data, sent)
        except ResponseTooLarge as error:
            too_long = error
        for event in sent:
            if self.ended:
                return
            self._event(event, events)
        if too_long is not None and not self.ended:
            raise too_long

    def close(self, events: list[StreamEvent]) -> None:
        """Take the end.

        Raises:
            ParseError: there is no answer at all, or not in this language.
            StreamInterrupted: it has no end.
        """
        if self._document is not None:
            self._piece(bytes(self._document), events)
        elif not self.ended:
            self._rest(events)
        if self.ended:
            return
        if self._finish_reason is None:
            self._text.close(events)
            if self._model is None and not self._chosen:
                msg = "The answer is empty."
                raise ParseError(msg)
            msg = "The answer ended without saying why."
            raise StreamInterrupted(msg, retryable=True)
        self._finish(events)

    def _rest(self, events: list[StreamEvent]) -> None:
        """Take a last event that lacks its blank line, unless it broke off."""
        sent: list[ServerSentEvent] = []
        self._sse.close(sent)
        for event in sent:
            if is_json(event.data):
                self._event(event, events)

    def _event(self, event: ServerSentEvent, events: list[StreamEvent]) -> None:
        if event.name == "error":
            raise self._reported(event.data)
        if event.data.startswith(_DONE):
            if self._finish_reason is not None:
                self._finish(events)
            return
        self._piece(event.data, events)

    def _reported(self, data: bytes) -> ProviderError:
        return classify(HTTPReply(status=200, headers={}, body=data), self._rules)

    def _piece(self, data: bytes, events: list[StreamEvent]) -> None:
        try:
            chunk = _decode(data)
        except _NOT_DECODED:
            chunk = decode_leniently(data, _Chunk, what="A piece of the answer", strict=_ANSWER)
        if self._only_text and chunk.model == self._model and (text := _only_text(chunk)):
            events.append(TextDelta(text))
            return
        if chunk.error is not None:
            raise self._reported(data)
        self._all_of(chunk, events)
        self._only_text = self._text.is_done and self._finish_reason is None

    def _all_of(self, chunk: _Chunk, events: list[StreamEvent]) -> None:
        if chunk.model != self._model and chunk.model:
            self._model = chunk.model
            events.append(ResponseStarted(model=chunk.model, id=chunk.id, created=chunk.created))
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._choice(choice, events)
        self._usage = chunk.usage or self._usage
        self._timings = chunk.timings or self._timings
        self._stats = chunk.stats or self._stats

    def _choice(self, choice: _Choice, events: list[StreamEvent]) -> None:
        self._chosen = True
        if self._finish_reason is not None and _says_more(choice):
            msg = "More came after the end of the answer: another answer, or the end was none."
            raise ParseError(msg)
        told = choice.logprobs.content if choice.logprobs else None
        if told and self._top_logprobs is not None:
            events.append(logprobs_delta(told, self._top_logprobs))
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                self._text.separated()
                events.append(ReasoningDelta(reasoning))
            if delta.content:
                self._text.feed(delta.content, events)
            if delta.tool_calls:
                events += map(self._calls.delta, delta.tool_calls, itertools.count())
        elif choice.text:
            self._text.feed(choice.text, events)
        self._finish_reason = self._finish_reason or choice.finish_reason

    def _finish(self, events: list[StreamEvent]) -> None:
        self.ended = True
        self._text.close(events)
        events.append(
            ResponseFinished(
                finish_reason=self._finish_reason,
                usage=usage_of(self._usage),
                timings=server_timings(self._timings, self._stats),
            )
        )


def _only_text(chunk: _Chunk) -> str | None:
    """Return the text of a piece that says nothing else, as nearly all do; else `None`."""
    if not chunk.choices or len(chunk.choices) > 1 or chunk.error is not None:
        return None
    if chunk.usage or chunk.timings or chunk.stats:
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    if delta is None or choice.index or choice.finish_reason or choice.logprobs:
        return None
    if delta.reasoning_content or delta.reasoning or delta.tool_calls:
        return None
    return delta.content


def _says_more(choice: _Choice) -> bool:
    delta = choice.delta or choice.message or _Delta()
    reasoning = delta.reasoning_content or delta.reasoning
    return bool(delta.content or reasoning or delta.tool_calls or choice.text)


class _Calls:
    """Tells the calls of one answer apart: by index, where there is none by id, else by place."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._next = 0
        self._base = 0  # the index of the call that stands first in a piece

    def delta(self, call: _ToolDelta, position: int) -> ToolCallDelta:
        """Make an event of a piece of a call that stands at `position` among others."""
        function = call.function or _Function()
        return ToolCallDelta(
            index=self._index(call, position),
            id=call.id,
            name=function.name,
            arguments=arguments_text(function.arguments),
        )

    def _index(self, call: _ToolDelta, position: int) -> int:
        index = call.index
        if index is None:
            if call.id and position == 0:
                self._base = self._ids.get(call.id, max(self._base, self._next))
            index = self._base + position
        if call.id:
            self._ids.setdefault(call.id, index)
            self._next = max(self._next, index + 1)
        return index


def usage_of(usage: UsageTold | None) -> Usage:
    """Read what was counted; nothing where nothing was told."""
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


def server_timings(timings: TimingsTold | None, stats: Stats | None = None) -> Timings:
    """Read what the server measured."""
    timings = timings or TimingsTold()
    rate = speed(timings.predicted_n, seconds(timings.predicted_ms, _MILLI))
    if rate is None and stats:
        rate = stats.tokens_per_second
    return Timings(
        prompt_seconds=seconds(timings.prompt_ms, _MILLI),
        tokens_per_second=rate,
        measured_by="server" if rate is not None else None,
    )


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: UsageTold | None = None


def parse_vectors(reply: HTTPReply, *, count: int, counted: bool) -> EmbeddingResponse:
    """Read the reply of `/v1/embeddings`; without `counted` its usage means nothing.

    Raises:
        ParseError: it is not `count` vectors.
    """
    vectors = decode_leniently(reply.body, _Vectors, what="The reply to /v1/embeddings")
    places = {item.index for item in vectors.data}
    if places not in ({0}, set(range(len(vectors.data)))):
        msg = "The server sent vectors without telling which text each is of."
        raise ParseError(msg)
    rows = [item.embedding for item in sorted(vectors.data, key=lambda item: item.index)]
    usage = usage_of(vectors.usage) if counted else Usage()
    return embedding_response(rows, count=count, model=vectors.model, usage=usage)
