"""What a dialect has to know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import ProviderError
from patinox.provider.local.errors import ParseError
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.types import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    StreamEvent,
    Usage,
)

_NORM_TOLERANCE = 1e-3
# Beyond these a count is no count, and a duration is no duration.
_MOST = 2**63
_NANOSECOND = 1e-9


class ChatDecoder(Protocol):
    """Turns the bytes of one answer into events, however they are cut.

    Attributes:
        ended: the server has said that the answer is whole.
    """

    ended: bool

    def feed(self, data: bytes) -> Iterator[StreamEvent]:
        """Take bytes, hand out the events they complete; raises what the server reports."""
        ...

    def close(self) -> Iterator[StreamEvent]:
        """Take the end of the bytes; raises `StreamInterrupted` if it is not the answer's end."""
        ...


class Dialect(Protocol):
    """The wire language of a family of servers, free of I/O."""

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write the request for an answer by `model`."""
        ...

    def chat_decoder(self) -> ChatDecoder:
        """Make a decoder for one answer."""
        ...

    def render_embed(
        self, request: EmbeddingRequest, *, model: str, custom: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write the request for vectors by `model`."""
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


def seconds(duration: float | None, unit: float) -> float | None:
    """Return a server's duration, `unit` of which make a second; `None` if it cannot be."""
    return None if duration is None or not 0 <= duration <= _MOST else duration / unit


def speed(tokens: int | None, duration: float | None) -> float | None:
    """Return tokens per second; `None` if one is unknown or cannot be."""
    if tokens is None or duration is None or not 0 < tokens <= _MOST or duration < _NANOSECOND:
        return None
    return tokens / duration


def embedding_response(
    rows: list[list[float]], *, count: int, model: str, usage: Usage
) -> EmbeddingResponse:
    """Make a response of vectors, checked to be as many as the texts, equally long and finite.

    Raises:
        ParseError: they are not.
    """
    if len(rows) != count:
        msg = f"The server sent {len(rows)} vectors for {count} texts."
        raise ParseError(msg)
    try:
        matrix = EmbeddingMatrix.from_rows(rows)
    except ValueError as error:
        msg = f"The server sent vectors of different lengths: {error}."
        raise ParseError(msg) from error
    if not matrix.dimensions:
        msg = "The server sent empty vectors."
        raise ParseError(msg)
    squares = [sum(number * number for number in row) for row in matrix]
    if not all(map(math.isfinite, squares)):
        msg = "The server sent vectors with numbers that are infinite or none at all."
        raise ParseError(msg)
    normalized = all(abs(square - 1) < _NORM_TOLERANCE for square in squares)
    return EmbeddingResponse(model=model, embeddings=matrix, usage=usage, normalized=normalized)
