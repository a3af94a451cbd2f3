"""What a dialect has to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

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


def embedding_response(
    rows: list[list[float]], *, count: int, model: str, usage: Usage
) -> EmbeddingResponse:
    """Make a response of vectors, checked to be as many as the texts and equally long.

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
    normalized = all(
        abs(sum(number * number for number in row) - 1) < _NORM_TOLERANCE for row in rows
    )
    return EmbeddingResponse(model=model, embeddings=matrix, usage=usage, normalized=normalized)
