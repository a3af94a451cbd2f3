"""A TCP proxy that spoils what passes through it, between a client and any real server.

It knows nothing of HTTP. What it does to each direction is a `Toxics`; the words are those of
toxiproxy (https://github.com/Shopify/toxiproxy).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from patinox.testing.exchange import reset

_READ_SIZE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Toxics:
    """What happens to the bytes of one direction.

    Attributes:
        latency: seconds before each piece is passed on.
        jitter: seconds that the latency may be more or less, by a fixed sequence of random numbers.
        bandwidth: bytes a second, or `None` for as fast as it goes.
        slice_size: the most bytes in a piece, or `None` for pieces as they come.
        slice_delay: seconds between two such pieces.
        limit_data: bytes after which the connection ends as `then` says; `None`: no limit.
        then: how it ends: `fin` closes it, `rst` resets it, `swallow` says nothing more.
        slow_close: seconds before the end of one side is told to the other.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    slice_size: int | None = None
    slice_delay: float = 0.0
    limit_data: int | None = None
    then: Literal["fin", "rst", "swallow"] = "fin"
    slow_close: float = 0.0


class FaultProxy:
    """A proxy in front of `target`; use it with `async with`, and give clients its `url`.

    `to_client` and `to_server` may be changed at any time and hold for the connections that come
    then. `reset_peer` and `down` strike at those that are there. `passed` counts the bytes that
    went to clients.
    """

    def __init__(
        self, target: str, *, to_client: Toxics | None = None, to_server: Toxics | None = None
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.to_client = to_client or Toxics()
        self.to_server = to_server or Toxics()
        self.passed = 0
        self.connections = 0
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._random = Random(0)  # noqa: S311 - jitter, not secrets
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._open)

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.down()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def up(self) -> None:
        """Listen, at the same port as before."""
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Close the port and every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()

    def reset_peer(self) -> None:
        """Reset every connection of a client."""
        for writer in self._open.values():
            reset(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if task := asyncio.current_task():
            self._open[task] = writer
            task.add_done_callback(self._open.pop)
        with suppress(asyncio.CancelledError, ConnectionError):
            await self._pass_on(reader, writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await self._reach(writer)
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(self._pump(reader, requests, self.to_server))
                down = group.create_task(self._pump(answers, writer, self.to_client, counts=True))
                # When the server has ended, nothing more that the client sends can matter.
                down.add_done_callback(lambda _: up.cancel())
        finally:
            requests.transport.abort()
            writer.close()

    async def _reach(
        self, client: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection(*self._target)
        except OSError:
            reset(client)
            raise ConnectionResetError from None

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        toxics: Toxics,
        *,
        counts: bool = False,
    ) -> None:
        left = toxics.limit_data
        with suppress(ConnectionError):
            async for piece in self._pieces(source, toxics):
                sink.write(piece if left is None else piece[:left])
                await sink.drain()
                self.passed += len(piece) if counts else 0
                left = None if left is None else left - len(piece)
                if left is not None and left <= 0:
                    await self._end(sink, toxics)
                    return
        await asyncio.sleep(toxics.slow_close)
        if sink.can_write_eof():
            with suppress(OSError):
                sink.write_eof()

    async def _end(self, sink: asyncio.StreamWriter, toxics: Toxics) -> None:
        if toxics.then == "swallow":
            await asyncio.Event().wait()
        if toxics.then == "rst":
            reset(sink)
        else:
            sink.close()

    async def _pieces(self, source: asyncio.StreamReader, toxics: Toxics) -> AsyncIterator[bytes]:
        if toxics.limit_data == 0:
            yield b""
            return
        while data := await source.read(_READ_SIZE):
            for index, piece in enumerate(_sliced(data, toxics.slice_size)):
                await asyncio.sleep(self._pause(len(piece), toxics, first=index == 0))
                yield piece

    def _pause(self, size: int, toxics: Toxics, *, first: bool) -> float:
        pause = toxics.slice_delay
        if first:
            pause = toxics.latency + toxics.jitter * self._random.uniform(-1, 1)
        return max(pause, 0.0) + (size / toxics.bandwidth if toxics.bandwidth else 0.0)


def _sliced(data: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(data)
    return (data[at : at + step] for at in range(0, len(data), step))
