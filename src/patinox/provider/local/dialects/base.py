"""What a dialect has to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.local.errors import ParseError
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.types import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    LogprobsDelta,
    StreamEvent,
    TextCompletionRequest,
    TokenLogprob,
    ToolCall,
    Usage,
)

# What a request says of how to choose tokens; nearly all servers call it so.
SAMPLING = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "stop",
    "seed",
)
# Beyond these a count is no count, and a duration is no duration.
_MOST = 2**63
_NANOSECOND = 1e-9


class ChatDecoder(Protocol):
    """Turns the bytes of one answer into events, however they are cut.

    Attributes:
        ended: the server has said that the answer is whole.
    """

    ended: bool

    def feed(self, data: bytes, events: list[StreamEvent]) -> None:
        """Take bytes, add the events they complete to `events`; raises what the server reports.

        What came before an error in the same bytes is in `events` by then.
        """
        ...

    def close(self, events: list[StreamEvent]) -> None:
        """Take the end of the bytes; raises `StreamInterrupted` if it is not the answer's end."""
        ...


class Dialect(Protocol):
    """The wire language of a family of servers, free of I/O.

    Attributes:
        image_types: media types of the pictures that the servers take.
    """

    image_types: frozenset[str]

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write the request for an answer by `model`; `words` are options in the server's words.

        What the service does not offer at all was refused before, see `local/features.py`.

        Raises:
            InvalidRequest: it cannot be written, or parts of it exclude each other.
        """
        ...

    def render_text(
        self, request: TextCompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write the request to go on with a text; as `render_chat`."""
        ...

    def decoder(self, request: GenerationRequest, *, thinks: bool | None = None) -> ChatDecoder:
        """Make a decoder for the answer to a request; `thinks`: the model can reason."""
        ...

    def render_embed(
        self, request: EmbeddingRequest, *, model: str, words: Mapping[str, Any], room: int | None
    ) -> HTTPRequest:
        """Write the request for vectors by `model`, whose context is `room` tokens if known."""
        ...

    def parse_embed(self, reply: HTTPReply, *, count: int) -> EmbeddingResponse:
        """Read `count` vectors; raises `ParseError`."""
        ...

    def classify(self, reply: HTTPReply) -> ProviderError:
        """Tell what a reply that is an error means."""
        ...


def arguments_text(raw: msgspec.Raw) -> str:
    """Return a tool call's arguments as JSON text, whether they came as text or as an object.

    Raises:
        ParseError: they are not UTF-8.
    """
    data = bytes(raw)
    if data == b"null":
        return ""
    try:
        return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()
    except UnicodeDecodeError as error:
        msg = f"The arguments of a tool call are not UTF-8: {error}."
        raise ParseError(msg) from error


def arguments_object(call: ToolCall) -> str:
    """Return the arguments of a call in the history as the JSON text of an object.

    Raises:
        InvalidRequest: they are none; servers refuse such a history.
    """
    try:
        msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        msg = f"The arguments of the call of tool {call.name!r} are not a JSON object: {error}."
        raise InvalidRequest(msg) from error
    return call.arguments or "{}"


class Logprob(msgspec.Struct):
    """A token's probability, in the shape that all servers share."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Logprob] = []


def most_logprobs(request: GenerationRequest) -> int | None:
    """Return how many likely tokens are told beside each, `None` where none were asked for."""
    return (request.top_logprobs or 0) if request.logprobs else None


def logprobs_delta(tokens: Iterable[Logprob], most: int) -> LogprobsDelta:
    """Make the event that tells how probable some tokens are, `most` others beside each."""
    return LogprobsDelta(tuple(_logprob(token, most) for token in tokens))


def _logprob(token: Logprob, most: int) -> TokenLogprob:
    known = token.bytes is not None and all(0 <= one < 256 for one in token.bytes)  # noqa: PLR2004
    return TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        data=bytes(token.bytes or ()) if known else None,
        top=tuple(_logprob(one, 0) for one in token.top_logprobs[:most]),
    )


def sampling(request: GenerationRequest, **names: str) -> dict[str, Any]:
    """Return what a request says of how to choose tokens, under a server's `names` for it."""
    said = {names.get(field, field): getattr(request, field) for field in SAMPLING}
    return {name: value for name, value in said.items() if value is not None and value != ()}


def seconds(duration: float | None, unit: float) -> float | None:
    """Return a server's duration, `unit` of which make a second; `None` if it cannot be."""
    return None if duration is None or not 0 <= duration <= _MOST else duration / unit


def speed(tokens: int | None, duration: float | None) -> float | None:
    """Return tokens per second; `None` if one is unknown or cannot be."""
    if tokens is None or duration is None or not 0 < tokens <= _MOST or duration < _NANOSECOND:
        return None
    return tokens / duration


def embedding_response(
    rows: Sequence[list[float] | str], *, count: int, model: str, usage: Usage
) -> EmbeddingResponse:
    """Make a response of vectors, which are numbers or base64 of 32-bit floats.

    They are checked to be as many as the texts, equally long and finite.

    Raises:
        ParseError: they are not.
    """
    if len(rows) != count:
        msg = f"The server sent {len(rows)} vectors for {count} texts."
        raise ParseError(msg)
    try:
        matrix = _matrix(rows)
    except (ValueError, OverflowError) as error:
        msg = f"The server sent vectors that make no matrix: {error}."
        raise ParseError(msg) from error
    if not matrix.dimensions:
        msg = "The server sent empty vectors."
        raise ParseError(msg)
    if not matrix.is_finite:
        msg = "The server sent vectors with numbers that are infinite or none at all."
        raise ParseError(msg)
    return EmbeddingResponse(model=model, embeddings=matrix, usage=usage)


def _matrix(rows: Sequence[list[float] | str]) -> EmbeddingMatrix:
    encoded = [row for row in rows if isinstance(row, str)]
    if len(encoded) == len(rows):
        return EmbeddingMatrix.from_base64(encoded)
    return EmbeddingMatrix.from_rows(
        EmbeddingMatrix.from_base64([row])[0] if isinstance(row, str) else row for row in rows
    )


def total(first: int | None, second: int | None) -> int | None:
    """Add two counts; `None` if one is not known."""
    return None if first is None or second is None else first + second
