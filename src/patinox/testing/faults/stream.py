"""Faults of section D: how a stream comes, and how it does not end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from patinox.testing.exchange import Exchange
from patinox.testing.faults.fault import PAUSE, Call, Catalogue
from patinox.testing.faults.good import Good, begin, good, send
from patinox.testing.faults.http import error_body, spoken_by

STREAM = Catalogue("D")

_STREAM: tuple[Call, ...] = ("stream",)
_PIECE = 64 * 1024
_LONG = 2 * 2**20
# What some readers of lines take for the end of one, although JSON may hold them in a text.
SEPARATORS = "\u2028\u2029\x85"


async def _open(exchange: Exchange, *, without: int = 1) -> Good:
    """Begin to answer with all but the last units."""
    answer = await good(exchange)
    await begin(exchange, answer, *answer.units[: _ending(answer) if without else None])
    return answer


def _ending(answer: Good) -> int:
    """Return the number of units after which the answer has not yet been said to be whole."""
    for index, unit in enumerate(answer.units):
        if b'"done":true' in unit or (b'"finish_reason":' in unit and not _unfinished(unit)):
            return index
    return len(answer.units)


def _unfinished(unit: bytes) -> bool:
    return b'"finish_reason":null' in unit or b'"finish_reason": null' in unit


@STREAM.request(72, calls=_STREAM)
async def split_every_byte(exchange: Exchange) -> None:
    """Each byte of the stream in a chunk of its own."""
    answer = await good(exchange)
    await begin(exchange, answer, *(bytes([byte]) for byte in answer.body))
    await exchange.finish()


@STREAM.request(73, calls=_STREAM)
async def split_characters(exchange: Exchange) -> None:
    """A text with characters of several bytes, each cut in its middle."""
    answer = (await good(exchange)).changed_values(_greeting("Zürich → 東京 🙂"))
    body, cuts = answer.body, [0]
    cuts += [index for index, byte in enumerate(answer.body) if byte & 0xC0 == 0x80]  # noqa: PLR2004
    parts = (body[a:b] for a, b in zip(cuts, [*cuts[1:], len(body)], strict=True))
    await begin(exchange, answer, *parts)
    await exchange.finish()


def _greeting(text: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make a change that puts a text where a piece of the answer's content is."""

    def change(document: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = document.get("message") or {}
        if message.get("content"):
            return {**document, "message": {**message, "content": text}}
        choices: list[dict[str, Any]] = document.get("choices") or []
        delta: dict[str, Any] = (choices[0].get("delta") or {}) if choices else {}
        if delta.get("content"):
            said = {**choices[0], "delta": {**delta, "content": text}}
            return {**document, "choices": [said]}
        return document

    return change


@STREAM.request(74, calls=_STREAM)
async def coalesced(exchange: Exchange) -> None:
    """The whole stream at once."""
    answer = await good(exchange)
    await begin(exchange, answer, answer.body)
    await exchange.finish()


@STREAM.request(75, calls=_STREAM)
async def crlf_lines(exchange: Exchange) -> None:
    """Lines that end as on Windows."""
    answer = await good(exchange)
    await send(exchange, answer.with_units(*(u.replace(b"\n", b"\r\n") for u in answer.units)))


@STREAM.request(76, calls=_STREAM)
async def unicode_separators(exchange: Exchange) -> None:
    """Texts with characters that end a line for some readers."""
    await send(exchange, (await good(exchange)).changed_values(_greeting(f"a{SEPARATORS}b")))


@STREAM.request(77, 98, calls=_STREAM)
async def keepalive_comments(exchange: Exchange) -> None:
    """Comments and empty lines between the pieces."""
    answer = await good(exchange)
    between = b": ping\n\nid: 7\nretry: 1000\n\n" if answer.is_sse else b"\n \n"
    await begin(exchange, answer, *(part for unit in answer.units for part in (between, unit)))
    await exchange.finish()


@STREAM.request(77, 78, calls=_STREAM)
async def odd_deltas(exchange: Exchange) -> None:
    """Pieces that say nothing: a role alone, null, an empty text, no choice."""
    answer = await good(exchange)
    if answer.is_sse:
        deltas: tuple[object, ...] = ({"role": "assistant"}, {"content": None}, {"content": ""}, {})
        said: list[Any] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        said += [{"choices": []}, {"choices": None}, {}]
    else:
        messages = ({"role": "assistant"}, {"content": None}, {"content": ""}, None)
        said = [{"message": message} for message in messages]
    odd = tuple(answer.framed(one) for one in said)
    await send(exchange, answer.with_units(*odd, *answer.units))


@STREAM.request(79, calls=_STREAM)
async def error_mid_stream(exchange: Exchange) -> None:
    """An error in the middle of the answer."""
    answer = await _open(exchange)
    await exchange.send(answer.framed(error_body(spoken_by(exchange), "the model crashed")))
    await exchange.finish()


@STREAM.request(80, calls=_STREAM)
async def error_first(exchange: Exchange) -> None:
    """An error as the first thing in a stream whose status is 200."""
    answer = await good(exchange)
    error = answer.framed(error_body(spoken_by(exchange), "the model crashed"))
    await send(exchange, answer.with_units(error))


@STREAM.request(81, calls=_STREAM)
async def silent_stall(exchange: Exchange) -> None:
    """Silence after some of the answer."""
    await _open(exchange)
    await exchange.hold()


@STREAM.request(82, calls=_STREAM)
async def no_first_token(exchange: Exchange) -> None:
    """A head, and then silence."""
    await begin(exchange, await good(exchange))
    await exchange.hold()


@STREAM.request(83, calls=_STREAM)
async def eof_without_done(exchange: Exchange) -> None:
    """The end of the body without the end of the answer."""
    await _open(exchange)
    await exchange.finish()


@STREAM.request(84, calls=_STREAM)
async def eof_mid_line(exchange: Exchange) -> None:
    """The end of the body in the middle of a line."""
    answer = await _open(exchange)
    last = answer.units[_ending(answer) - 1]
    await exchange.send(last[: len(last) // 2])
    await exchange.finish()


@STREAM.request(85, calls=_STREAM)
async def reset_mid_stream(exchange: Exchange) -> None:
    """The connection is reset in the middle of the answer, once the client has some of it."""
    await _open(exchange)
    await asyncio.sleep(PAUSE)
    exchange.abort()


@STREAM.request(86, calls=_STREAM)
async def empty_stream(exchange: Exchange) -> None:
    """A stream of nothing."""
    await send(exchange, (await good(exchange)).with_units())


@STREAM.request(87, calls=_STREAM)
async def trickle(exchange: Exchange) -> None:
    """The answer piece by piece, slowly."""
    answer = await good(exchange)
    await begin(exchange, answer)
    for unit in answer.units:
        await asyncio.sleep(PAUSE)
        await exchange.send(unit)
    await exchange.finish()


@STREAM.request(88, calls=_STREAM)
async def data_after_done(exchange: Exchange) -> None:
    """More of an answer after its end."""
    answer = await good(exchange)
    first = next(unit for unit in answer.units if b"content" in unit)
    await send(exchange, answer.with_units(*answer.units, first))


@STREAM.request(89, calls=_STREAM)
async def duplicate_done(exchange: Exchange) -> None:
    """The end of the answer twice."""
    answer = await good(exchange)
    await send(exchange, answer.with_units(*answer.units, *answer.units[_ending(answer) :]))


@STREAM.request(90, calls=_STREAM)
async def malformed_line(exchange: Exchange) -> None:
    """A line in the middle that is no JSON."""
    answer = await good(exchange)
    end = _ending(answer)
    bad = answer.framed(b"{oops")
    await send(exchange, answer.with_units(*answer.units[:end], bad, *answer.units[end:]))


@STREAM.request(91, calls=_STREAM)
async def long_line(exchange: Exchange) -> None:
    """A line of two mebibytes that is good."""
    answer = await good(exchange)
    await send(exchange, answer.with_units(answer.framed({"extra": "x" * _LONG}), *answer.units))


@STREAM.request(92, calls=_STREAM)
async def endless_line(exchange: Exchange) -> None:
    """A line without an end."""
    answer = await _open(exchange)
    await exchange.send(answer.framed({"extra": ""}).rstrip()[:-2])
    while True:
        await exchange.send(b"x" * _PIECE)


@STREAM.request(93, 120, 124, calls=_STREAM)
async def endless_stream(exchange: Exchange) -> None:
    """A model that does not stop talking."""
    answer = await _open(exchange)
    again = [unit for unit in answer.units[: _ending(answer)] if b"content" in unit]
    while True:
        for unit in again:
            await exchange.send(unit)


@STREAM.request(94, calls=("chat", "stream"))
async def stream_mismatch(exchange: Exchange) -> None:
    """One document where a stream was asked for, and a stream where one document was."""
    body = json.loads(exchange.body)
    exchange.body = json.dumps({**body, "stream": not body.get("stream")}).encode()
    await send(exchange, await good(exchange))
