"""Answers of chat and generate on Ollama's own routes: NDJSON, or one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from patinox.testing.exchange import Exchange
from patinox.testing.ollama.chat import Result
from patinox.testing.ollama.go_json import OllamaError, to_json, without_empty
from patinox.testing.ollama.shapes import utc_time
from patinox.testing.ollama.text import Piece, joined

_NDJSON = "application/x-ndjson"

Render = Callable[[Result, Piece], dict[str, object]]


def chat_object(result: Result, piece: Piece) -> dict[str, object]:
    """Return a message of `/api/chat`."""
    return {
        **_head(result),
        "message": {
            "role": "assistant",
            "content": piece.text,
            **without_empty(thinking=piece.thinking, tool_calls=piece.tool_calls),
        },
        "done": piece.done,
        **without_empty(done_reason=piece.done_reason, logprobs=piece.logprobs),
        **_metrics(piece),
    }


def generate_object(result: Result, piece: Piece) -> dict[str, object]:
    """Return a message of `/api/generate`."""
    return {
        **_head(result),
        "response": piece.text,
        **without_empty(thinking=piece.thinking),
        "done": piece.done,
        **without_empty(done_reason=piece.done_reason, context=piece.context),
        **_metrics(piece),
        **without_empty(tool_calls=piece.tool_calls, logprobs=piece.logprobs),
    }


async def reply(exchange: Exchange, result: Result, render: Render, *, stream: bool) -> None:
    """Send an answer; what only loads or unloads is never streamed."""
    with closing(result.parts):
        if stream and not result.alone:
            await reply_lines(exchange, (render(result, piece) for piece in result.parts))
        else:
            await exchange.reply(200, to_json(render(result, joined(result.parts))))


async def reply_lines(exchange: Exchange, objects: Iterator[dict[str, object]]) -> None:
    """Send one line for each object; an error before the first still has its status."""
    try:
        for line in map(to_json, objects):
            if not exchange.started:
                await exchange.start(200, content_type=_NDJSON)
            await exchange.send(line + b"\n")
        if not exchange.started:
            await exchange.start(200, content_type=_NDJSON)
    except OllamaError as error:
        line = to_json(error.body)
        if not exchange.started:
            await exchange.reply(error.status, line, content_type="application/json")
            return
        await exchange.send(line + b"\n")
    await exchange.finish()


def _head(result: Result) -> dict[str, object]:
    return {"model": result.model, **result.remote, "created_at": utc_time(result.clock())}


def _metrics(piece: Piece) -> dict[str, object]:
    return piece.usage.metrics if piece.usage else {}
