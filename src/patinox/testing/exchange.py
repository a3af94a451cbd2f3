"""One request to an emulated server, and the way to answer it, rightly or wrongly."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from patinox.testing._http import Request, render_head

if TYPE_CHECKING:
    from patinox.testing.server import EmulatedServer

_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # struct linger


class Exchange:
    """One request and the way to answer it: `reply` once, or `start`, `send` ..., `finish`.

    `path` is percent-decoded and without the query, header names are lower-cased, repeated headers
    are joined by a comma. `extra_headers` go with the answer, whatever it is. When the client hangs
    up before the answer is complete, the task that handles the exchange is cancelled.
    """

    def __init__(
        self, server: EmulatedServer, writer: asyncio.StreamWriter, request: Request
    ) -> None:
        self.method = request.method
        self.path = request.path
        self.query = request.query
        self.headers = request.headers
        self.body = request.body
        self.extra_headers: dict[str, str] = {}
        self.started = False
        self.finished = False
        self._server = server
        self._writer = writer
        self._version = request.version
        self._chunks_sent = 0

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request on this connection."""
        return self._chunked and self.headers.get("connection", "").lower() != "close"

    @property
    def _chunked(self) -> bool:
        """Whether the client knows chunks; HTTP/1.0 reads until the connection is closed."""
        return self._version != "HTTP/1.0"

    @property
    def server(self) -> EmulatedServer:
        """The server that was asked."""
        return self._server

    async def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: str | None = "application/json; charset=utf-8",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer in one piece, framed by `Content-Length`; a `HEAD` request gets the head only."""
        framing = {} if status in _BODILESS else {"Content-Length": str(len(body))}
        head = self._head(status, content_type, {**(headers or {}), **framing})
        self.started = self.finished = True
        await self._write(head if self.method == "HEAD" or not framing else head + body)

    async def start(
        self, status: int, *, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head of a chunked answer at once."""
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {}
        head = self._head(status, content_type, {**(headers or {}), **framing})
        self.started = True
        await self._write(head)

    async def send(self, data: bytes) -> None:
        """Send one chunk, `chunk_delay` seconds after the one before.

        Raises:
            ConnectionError: the client is gone.
        """
        await asyncio.sleep(self._server.chunk_delay if self._chunks_sent else 0)
        self._chunks_sent += 1
        if data and self.method != "HEAD":
            await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def finish(self) -> None:
        """Send the last chunk; the connection may then carry the next request."""
        self.finished = True
        if self.method != "HEAD" and self._chunked:
            await self._write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        """Send bytes as they are, as if they were an answer; the connection ends after them.

        Raises:
            ConnectionError: the client is gone.
        """
        self.started = True
        await self._write(data)

    async def hold(self) -> NoReturn:
        """Say nothing more and wait until the client hangs up."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connection after what was sent (FIN), although another request might follow."""
        self._writer.close()

    def abort(self) -> None:
        """Reset the connection (RST): what is still buffered is lost."""
        reset(self._writer)

    def _head(self, status: int, content_type: str | None, headers: Mapping[str, str]) -> bytes:
        fields = {**self._server.default_headers, "Date": formatdate(usegmt=True)}
        if content_type is not None:
            fields["Content-Type"] = content_type
        fields.update(self.extra_headers)
        fields.update(headers)
        if not self.keep_alive:
            fields["Connection"] = "close"
        return render_head(status, fields, self._version)

    async def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the client is gone")
        self._writer.write(data)
        await self._writer.drain()


@dataclass(frozen=True)
class Seen:
    """One request as it was received, kept for assertions; its `repr` shows no headers, no body."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the client sent
        """The body, decoded; `None` if there is none.

        Raises:
            json.JSONDecodeError: the body is not JSON.
        """
        return json.loads(self.body) if self.body else None


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection (RST): what is still buffered is lost."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
