"""The HTTP/1 server under the emulators, on raw asyncio streams.

It is no framework on purpose: an emulator has to be able to answer wrongly as well (half a chunk, a
reset, silence), which a correct HTTP library will not do. `EmulatedServer` accepts, reads and
records requests, and hands each to `handle`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import Any, ClassVar, NoReturn, Self

from patinox.testing._http import Refused, RequestReader
from patinox.testing.exchange import Exchange, Seen

Fault = Callable[[Exchange], Awaitable[bool]]
Greeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


class EmulatedServer:
    """A server on a real socket that answers like another one; subclasses implement `handle`.

    Use it with `async with`, or with `run_in_thread` where nothing is async. `latency` is the time
    in seconds before each answer, `chunk_delay` the time in seconds between the chunks of a stream.
    Port 0 is any free port; it is kept over `stop` and `start`, so a server can come back at its
    address.

    `requests` lists what was received, `client_gone` counts the answers that a client did not wait
    for. `faults` are asked in turn before `handle`: the first that returns true has dealt with the
    exchange. A fault may also change the exchange (its `send`, say) and return false. `greetings`
    are asked in turn when a connection is accepted, before anything is read: the first that returns
    true has dealt with the connection. `connections` counts those that were accepted.
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
        self.connections = 0
        self.faults: list[Fault] = []
        self.greetings: list[Greeting] = []
        self._failures: list[Exception] = []
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leftovers = ExitStack()

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
        self._leftovers.close()
        self._loop = asyncio.get_running_loop()
        self._listener = await asyncio.start_server(self._connected, self.host, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection, and wait until they are gone.

        Raises:
            ExceptionGroup: a handler failed while the server was running, a `reply` of yours, say.
        """
        listener = self._listener
        for port in listener.sockets if listener else ():
            with suppress(NotImplementedError):  # on Windows
                asyncio.get_running_loop().remove_reader(port)
        for _ in range(5):  # turns of the loop until a connection accepted just now is in the set
            await asyncio.sleep(0)
        self.die()  # before those turns it would fail that connection (Python 3.11)
        await asyncio.gather(*self._connections, return_exceptions=True)
        if listener is not None:
            await listener.wait_closed()
        self._leftovers.close()
        failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup(f"the {self.name} emulator failed to answer", failures)

    def die(self) -> None:
        """Close the port and every connection at once, in the server's own loop.

        `start` opens the port again; `stop` is still to be called.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        own = asyncio.current_task()
        for task, writer in self._connections.items():
            writer.transport.abort()
            if task is not own:
                task.cancel()

    def swallow(self) -> None:
        """Take no connection any more and refuse none, as a firewall does, until `start` or `stop`.

        The port's queue is filled up: the system then drops who asks to be let in.
        """
        self.die()
        port = self._leftovers.enter_context(socket.socket())
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind((self.host, self.port))
        port.listen(0)
        for _ in range(4):
            filler = self._leftovers.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - there is no other way to write it
            filler.connect_ex((self.host, self.port))

    def call(self, function: Callable[[], None]) -> None:
        """Call a function in the server's own loop, from whichever thread, and wait for it."""
        loop = self._loop
        if loop is None or loop is asyncio._get_running_loop():  # noqa: SLF001 - it does not raise
            function()
            return
        done = Future[None]()

        def work() -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon_threadsafe(work)
        done.result()

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
        self.connections += 1
        if task := asyncio.current_task():
            self._connections[task] = writer
            task.add_done_callback(self._connections.pop)
        with suppress(asyncio.CancelledError):  # by `stop`; asyncio 3.11 reports a cancelled one
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = RequestReader(reader, writer)
        try:
            for greet in tuple(self.greetings):
                if await greet(reader, writer):
                    return
            while await self._answer(requests, await self._receive(requests, writer)):
                pass
        except Refused as refused:
            writer.write(refused.render())
        except (ConnectionError, EOFError):
            pass  # the client left between two requests, or within one
        finally:
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
