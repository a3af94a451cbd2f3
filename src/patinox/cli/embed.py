"""`patinox embed`: vectors for texts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from patinox.cli.output import DONE, Output
from patinox.cli.prompts import read_piped
from patinox.cli.render import INDENT, Canvas, count, join
from patinox.cli.screen import Waiting, waiting_for
from patinox.cli.session import (
    Setup,
    announce,
    choose_embedder,
    find_model,
    open_local,
    place_of,
)
from patinox.provider.errors import InvalidRequest
from patinox.provider.types import EmbeddingRequest, EmbeddingResponse

_NUMBER, _MORE = "{:7.3f} ", "..."


def read_texts(words: Sequence[str], out: Output) -> list[str]:
    """Take the texts from the command line, or one from each line of standard input.

    Raises:
        InvalidRequest: there is none, or a line between others is empty.
    """
    if words:
        return list(words)
    texts = (read_piped(sys.stdin, out, wait=True) or "").splitlines()
    while texts and not texts[-1].strip():
        texts.pop()
    for number, line in enumerate(texts, 1):
        if not line.strip():
            msg = f"Line {number} of standard input is empty, which has no vector."
            raise InvalidRequest(msg, hint="Take it out: each vector belongs to a line.")
    if not texts:
        raise InvalidRequest(
            "There is no text.", hint='Write one: patinox embed "Hello", or pipe lines in.'
        )
    return texts


async def embed(
    setup: Setup, out: Output, words: Sequence[str], *, model: str | None, within: float | None
) -> int:
    """Turn texts into vectors, `within` seconds."""
    texts = read_texts(words, out)
    async with open_local(setup, out) as local:
        if model is None:
            chosen = await choose_embedder(local, setup)
        else:
            chosen = await find_model(local, model, setup)
        announce(out, local, chosen)
        request = EmbeddingRequest(chosen.wanted, texts, timeout=within)
        with Waiting(out.err).during(waiting_for(chosen.info)):
            response = await local.embed(request)
        place = place_of(local, response.service)
    if out.as_json:
        out.document(embedding_document(response))
        return DONE
    out.lines(vector_lines(out.out.canvas, response))
    used = response.usage.prompt_tokens
    out.remark(
        join(
            f"{chosen.info.id} on {place}",
            count(len(texts), "text"),
            f"{response.embeddings.dimensions:,} dimensions",
            None if used is None else count(used, "token"),
        )
    )
    return DONE


def embedding_document(response: EmbeddingResponse) -> dict[str, Any]:
    """Describe vectors as a value of JSON."""
    return {
        "model": response.model,
        "service": response.service,
        "dimensions": response.embeddings.dimensions,
        "embeddings": response.embeddings.tolist(),
        "usage": msgspec.to_builtins(response.usage),
        "normalized": response.normalized,
    }


def vector_lines(canvas: Canvas, response: EmbeddingResponse) -> list[str]:
    """Write a line for each vector: all of it for a program, its beginning for a person."""
    if canvas.width is None:
        return [" ".join(f"{number:.7g}" for number in row) for row in response.embeddings]
    fitting = max(1, (canvas.width - len(INDENT) - len(_MORE)) // len(_NUMBER.format(0)))
    return [
        INDENT + "".join(_NUMBER.format(number) for number in row[:fitting]) + _MORE
        for row in response.embeddings
    ]
