r"""Lines out of bytes, cut at `\n` only: text may hold every other separator there is."""

from __future__ import annotations

from collections.abc import Iterator

from patinox.provider.local.errors import ResponseTooLarge

MAX_LINE = 8 * 2**20


class LineDecoder:
    """Collects bytes and hands out whole lines, without their end.

    Where the bytes are cut does not matter. A line longer than `limit` bytes raises
    `ResponseTooLarge`, so no more than that is ever held.
    """

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        """Start with nothing held."""
        self._limit = limit
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, hand out the lines they complete."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._hold(line)
            yield self.close()
        self._hold(rest)

    def close(self) -> bytes:
        """Return what came after the last line end."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _hold(self, data: bytes) -> None:
        if len(self._held) + len(data) > self._limit:
            msg = f"A line of the reply is longer than {self._limit:,} bytes."
            raise ResponseTooLarge(msg)
        self._held += data
