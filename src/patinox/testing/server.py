"""The HTTP/1 server under the emulators, on raw asyncio streams.

It is no framework on purpose: an emulator has to be able to answer wrongly as well (half a chunk, a
reset, silence), which a correct HTTP library will not do. `Exchange` is one request and the way to
answer it; `EmulatedServer` accepts, reads and records requests, and hands each to `handle`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from threading import Thread
from typing import Any, ClassVar, NoReturn, Self

from patinox.testing._http import Refused, Request, RequestReader, render_head

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

    def abort(self) -> None:
        """Reset the connection (RST): what is still buffered is lost."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if sock is not None and not self._writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

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


Fault = Callable[[Exchange], Awaitable[bool]]


class EmulatedServer:
    """A server on a real socket that answers like another one; subclasses implement `handle`.

    Use it with `async with`, or with `run_in_thread` where nothing is async. `latency` is the time
    in seconds before each answer, `chunk_delay` the time in seconds between the chunks of a stream.
    Port 0 is any free port; it is kept over `stop` and `start`, so a server can come back at its
    address.

    `requests` lists what was received, `client_gone` counts the answers that a client did not wait
    for. `faults` are asked in turn before `handle`: the first that returns true has dealt with the
    exchange. A fault may also change the exchange (its `send`, say) and return false.
    """

    name: ClassVar[str] = "emulated"
    default_headers: Mapping[str, str] = {}

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
    ) -> None:
        self.host = host
        self.port = port
        self.latency = latency
        self.chunk_delay = chunk_delay
        self.requests: list[Seen] = []
        self.client_gone = 0
        self.faults: list[Fault] = []
        self._failures: list[Exception] = []
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._listener: asyncio.Server | None = None

    def __repr__(self) -> str:
        state = "running" if self._listener else "stopped"
        return f"<{type(self).__name__} {self.url} {state}, {len(self.requests)} requests>"

    @property
    def url(self) -> str:
        """The base address, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        raise NotImplementedError

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is in use.
            RuntimeError: the server is already running.
        """
        if self._listener is not None:
            raise RuntimeError(f"{self.url} is already running")
        self._listener = await asyncio.start_server(self._connected, self.host, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection, and wait until they are gone.

        Raises:
            ExceptionGroup: a handler failed while the server was running, a `reply` of yours, say.
        """
        listener, self._listener = self._listener, None
        if listener is None:
            return
        for port in listener.sockets:
            with suppress(NotImplementedError):  # on Windows
                asyncio.get_running_loop().remove_reader(port)
        for _ in range(5):  # turns of the loop until a connection accepted just now is in the set
            await asyncio.sleep(0)
        listener.close()  # before those turns it would fail that connection (Python 3.11)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await listener.wait_closed()
        failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup(f"the {self.name} emulator failed to answer", failures)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def __enter__(self) -> NoReturn:
        name = type(self).__name__
        msg = f"Write `async with {name}()`, or `with {name}().run_in_thread()` without async."
        raise TypeError(msg)

    def __exit__(self, *exc_info: object) -> None:
        """Python looks for it before `__enter__` can speak."""

    @contextmanager
    def run_in_thread(self) -> Generator[Self]:
        """Run in a thread with a loop of its own, for callers that block."""
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever, name=f"patinox-{self.name}", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result()
            try:
                yield self
            finally:
                asyncio.run_coroutine_threadsafe(self.stop(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._connections[task] = writer
            task.add_done_callback(self._connections.pop)
        with suppress(asyncio.CancelledError):  # by `stop`; asyncio 3.11 reports a cancelled one
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = RequestReader(reader, writer)
        try:
            while await self._answer(requests, await self._receive(requests, writer)):
                pass
        except Refused as refused:
            writer.write(refused.render())
        except (ConnectionError, EOFError):
            pass  # the client left between two requests, or within one
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _receive(self, requests: RequestReader, writer: asyncio.StreamWriter) -> Exchange:
        request = await requests.read()
        self.requests.append(Seen(request.method, request.path, request.headers, request.body))
        return Exchange(self, writer, request)

    async def _answer(self, requests: RequestReader, exchange: Exchange) -> bool:
        """Answer while watching the client; true if another request may follow."""
        async with asyncio.TaskGroup() as group:
            handler = group.create_task(self._dispatch(exchange))
            watcher = group.create_task(self._watch(requests, exchange, handler))
            handler.add_done_callback(lambda _: watcher.cancel())
        return exchange.finished and exchange.keep_alive

    async def _watch(
        self, requests: RequestReader, exchange: Exchange, handler: asyncio.Task[None]
    ) -> None:
        await requests.hung_up()
        if not exchange.finished and not handler.done():
            self.client_gone += 1
            handler.cancel()

    async def _dispatch(self, exchange: Exchange) -> None:
        try:
            for fault in tuple(self.faults):
                if await fault(exchange):
                    return
            await asyncio.sleep(self.latency)
            await self.handle(exchange)
        except ConnectionError:
            self.client_gone += 1
        except Exception as error:  # noqa: BLE001 - raised again by `stop`
            await self._fail(exchange, error)

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        self._failures.append(error)
        if exchange.started:
            exchange.abort()
        else:
            body = f"the emulator failed: {error!r}".encode()
            await exchange.reply(500, body, content_type="text/plain; charset=utf-8")
