r"""Server-sent events out of bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Lines end at `\n`, `\r\n` or `\r`; comments, `id` and `retry` are passed over. A field called
`error` is handed out as an event of that name: llama.cpp wrote errors so until autumn 2025.
"""

from __future__ import annotations

import msgspec

from patinox.provider.local.errors import ResponseTooLarge
from patinox.provider.local.wire.lines import MAX_LINE

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its name, empty if it has none, and its data."""

    name: str
    data: bytes


class SSEDecoder:
    """Collects bytes and hands out events; where the bytes are cut does not matter."""

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        """Start with nothing held; an event longer than `limit` bytes is refused."""
        self._limit = limit
        self._held = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data = bytearray()  # each line of it with its end, which joins it to the next

    def feed(self, data: bytes, events: list[ServerSentEvent]) -> None:
        """Take bytes, add the events they complete to `events`.

        Raises:
            ResponseTooLarge: an event is longer than the limit; those before it are in `events`.
        """
        if b"\r" in data or self._after_cr:
            self._feed_lines(data, events)
            return
        # Servers send whole events of one line of data, mostly: those need no state.
        *blocks, rest = data.split(b"\n\n")
        simple = self._between_events and len(data) <= self._limit
        for block in blocks:
            if simple and block.startswith(b"data: ") and b"\n" not in block:
                events.append(ServerSentEvent("", block[6:]))
            else:
                self._feed_lines(block + b"\n\n", events)
                simple = self._between_events and len(data) <= self._limit
        if rest:
            self._feed_lines(rest, events)

    def close(self, events: list[ServerSentEvent]) -> None:
        """Add a last event that was whole but for its blank line."""
        self._end_line(events)
        self._dispatch(events)

    @property
    def _between_events(self) -> bool:
        return not (self._held or self._data or self._name or self._first)

    def _feed_lines(self, data: bytes, events: list[ServerSentEvent]) -> None:
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._after_cr = True
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._hold(line)
            self._end_line(events)
        self._hold(rest)

    def _hold(self, data: bytes) -> None:
        self._check(len(self._held) + len(data) + len(self._data))
        self._held += data

    def _check(self, length: int) -> None:
        if length > self._limit:
            msg = f"An event of the reply is longer than {self._limit:,} bytes."
            raise ResponseTooLarge(msg)

    def _end_line(self, events: list[ServerSentEvent]) -> None:
        line = bytes(self._held)
        self._held.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field in {b"data", b"error"}:
            self._name = "error" if field == b"error" else self._name
            self._data += value + b"\n"

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            events.append(ServerSentEvent(self._name, bytes(self._data[:-1])))
            self._data.clear()
        self._name = ""
