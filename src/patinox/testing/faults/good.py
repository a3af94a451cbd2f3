"""The answer that a server would have given, held back so that it can be spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from patinox.testing.exchange import Exchange

JSON = "application/json"
_DONE = b"[DONE]"


@dataclass(frozen=True)
class Good:
    """An answer: its head, and its body in one piece or, of a stream, line by line or by event."""

    status: int
    content_type: str | None
    headers: Mapping[str, str]
    units: tuple[bytes, ...]
    streamed: bool

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.units)

    @property
    def kind(self) -> str:
        """The type of the content, or plain text."""
        return self.content_type or "text/plain"

    @property
    def is_sse(self) -> bool:
        """Whether it is a stream of server-sent events; else each unit is a JSON document."""
        return self.kind.startswith("text/event-stream")

    def with_units(self, *units: bytes) -> Good:
        """Return it with another body."""
        return replace(self, units=units)

    def changed(self, change: Callable[[bytes], bytes]) -> Good:
        """Return it with every JSON document in it changed."""
        return self.with_units(*(_changed(unit, change) for unit in self.units))

    def changed_values(self, change: Callable[[Any], Any]) -> Good:
        """Return it with the value of every JSON document in it changed."""
        return self.changed(lambda data: _document(change(json.loads(data))))

    def framed(self, value: object) -> bytes:
        """Write a value as one more unit of this answer."""
        data = value if isinstance(value, bytes) else _document(value)
        if self.is_sse:
            return b"data: " + data + b"\n\n"
        return data + b"\n" if self.streamed else data


async def good(exchange: Exchange) -> Good:
    """Let the server answer, and keep the answer."""
    recording = _Recording(exchange)
    await exchange.server.handle(recording)
    return recording.result()


async def send(exchange: Exchange, answer: Good) -> None:
    """Send an answer as the server would have."""
    if not answer.streamed:
        await exchange.reply(
            answer.status, answer.body, content_type=answer.content_type, headers=answer.headers
        )
        return
    await begin(exchange, answer, *answer.units)
    await exchange.finish()


async def begin(exchange: Exchange, answer: Good, *units: bytes) -> None:
    """Send the head of an answer in chunks and some units, and leave it open."""
    await exchange.start(answer.status, content_type=answer.kind, headers=answer.headers)
    for unit in units:
        await exchange.send(unit)


def head(status: str, *fields: str) -> bytes:
    """Write a head of one's own, wrong where it shall be: `200 OK` and fields."""
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode("latin-1")


class _Recording(Exchange):
    """An exchange whose answer goes nowhere."""

    def __init__(self, exchange: Exchange) -> None:
        # What was asked is the same; what is said is kept here.
        self.__dict__.update(vars(exchange))
        self.started = self.finished = False
        self._answer: Good | None = None
        self._parts: list[bytes] = []

    def result(self) -> Good:
        answer = self._answer
        assert answer is not None, "the server did not answer"  # noqa: S101
        if not answer.streamed:
            return answer
        return answer.with_units(*_units(b"".join(self._parts), sse=answer.is_sse))

    async def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: str | None = "application/json; charset=utf-8",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._answer = Good(status, content_type, headers or {}, (body,), streamed=False)
        self.started = self.finished = True

    async def start(
        self, status: int, *, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._answer = Good(status, content_type, headers or {}, (), streamed=True)
        self.started = True

    async def send(self, data: bytes) -> None:
        self._parts.append(data)

    async def finish(self) -> None:
        self.finished = True


def _units(body: bytes, *, sse: bool) -> list[bytes]:
    end = b"\n\n" if sse else b"\n"
    *whole, rest = body.split(end)
    return [unit + end for unit in whole] + ([rest] if rest else [])


def _changed(unit: bytes, change: Callable[[bytes], bytes]) -> bytes:
    before, mark, data = unit.partition(b"data: ")
    if not mark:
        before, data = b"", unit
    text = data.strip()
    if not text.startswith((b"{", b"[")) or text == _DONE:
        return unit
    return before + mark + change(text) + data[len(data.rstrip()) :]


def _document(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
