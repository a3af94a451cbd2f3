r"""Lines out of bytes, cut at `\n` only: text may hold every other separator there is."""

from __future__ import annotations

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

    def feed(self, data: bytes, lines: list[bytes]) -> None:
        """Take bytes, add the lines they complete to `lines`.

        Raises:
            ResponseTooLarge: a line is longer than the limit; those before it are in `lines`.
        """
        *whole, rest = data.split(b"\n")
        if whole and self._held:
            self._hold(whole[0])
            whole[0] = self.close()
        if len(data) <= self._limit:  # so no line is longer; the first was looked at
            lines += whole
        else:
            for line in whole:
                self._check(len(line))
                lines.append(line)
        self._hold(rest)

    def close(self) -> bytes:
        """Return what came after the last line end."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _hold(self, data: bytes) -> None:
        self._check(len(self._held) + len(data))
        self._held += data

    def _check(self, length: int) -> None:
        if length > self._limit:
            msg = f"A line of the reply is longer than {self._limit:,} bytes."
            raise ResponseTooLarge(msg)
