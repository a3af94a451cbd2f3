"""The only place that touches the network: sends, streams, and says plainly what went wrong.

Nothing of the environment is read (no proxy, no netrc), no redirect is followed, no compression is
accepted, no cookie kept; every wait has a limit and every body a budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import io
import weakref
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.errors import ParseError, ResponseTooLarge, ServiceUnavailable
from patinox.provider.local.explaining import explained
from patinox.provider.local.flight import Home
from patinox.provider.local.waiting import BodyTimer, Late, in_time, late
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.secret import Secret

if TYPE_CHECKING:
    import aiohttp

    from patinox.provider.local.connections import Names


MAX_REPLY = 8 * 2**20
_CLOSED_MEANWHILE = "This provider was closed while it was being asked."
_LONG = 2**20


class StreamReply:
    """A reply whose body is still coming; leaving it as a context manager hangs up."""

    def __init__(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        """Wrap what the HTTP client gave."""
        self.status = response.status
        self._response = response
        self._body = response.content
        self._limit = BodyTimer(response.content)
        self._endpoint = endpoint
        self._abandoned = False

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give a connection back that was read to its end and may be kept; close any other."""
        self._limit.close()
        self._response.release()

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of the head, their names in lower case."""
        return {name.lower(): value for name, value in self._response.headers.items()}

    async def read(self, *, within: float, phase: str) -> bytes:
        """Wait for the next bytes; empty at the end of the body.

        Raises:
            ServiceTimeout: nothing came `within` seconds.
            StreamInterrupted: the connection broke, and all that came before was read.
        """
        return await self._next(within, phase, streaming=True)

    async def whole(self, *, within: float, phase: str, budget: int = MAX_REPLY) -> HTTPReply:
        """Read the body to its end, `within` seconds and `budget` bytes.

        Raises:
            ServiceTimeout: it took longer.
            ResponseTooLarge: it is larger.
            ParseError: it broke off.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        pieces: list[bytes] = []
        size = 0
        while data := await self._next(end - loop.time(), phase, seconds=within):
            pieces.append(data)
            size += len(data)
            if size > budget:
                msg = f"{self._endpoint.authority} sent a reply of more than {budget:,} bytes."
                raise ResponseTooLarge(msg)
        return HTTPReply(status=self.status, headers=self.headers, body=b"".join(pieces))

    async def drain(self, *, within: float) -> None:
        """Read on to the end of a body that should be there, so that nobody is cut off in it.

        What comes is thrown away; a body that goes on is left.
        """
        with contextlib.suppress(ProviderError):
            await self.read(within=within, phase="idle")

    def abandon(self) -> None:
        """Have whoever reads it told that the provider is closed."""
        self._abandoned = True
        self._body.set_exception(ProviderClosed(_CLOSED_MEANWHILE))

    async def _next(
        self, within: float, phase: str, *, streaming: bool = False, seconds: float | None = None
    ) -> bytes:
        limit = within if seconds is None else seconds
        if within <= 0:  # however much is there: it may come for ever
            raise late(self._endpoint.authority, phase, limit)
        try:
            # What is there already is no reason to look at a clock.
            data = self._body.read_nowait()
            if data or self._body.at_eof():
                return data
            self._limit.start(within)
            return await self._body.readany()
        except Late:
            raise late(self._endpoint.authority, phase, limit) from None
        except Exception as error:
            if self._abandoned:  # whatever became of the connection since
                raise ProviderClosed(_CLOSED_MEANWHILE) from None
            if rest := self._rest(error):
                return rest
            with explained(self._endpoint, streaming=streaming):
                raise
        finally:
            self._limit.stop()

    def _rest(self, error: Exception) -> bytes:
        """Return what came before the connection broke."""
        if error is not self._body.exception():
            return b""
        # All that is public of the HTTP client raises the error first, and what came would be lost.
        return self._body._read_nowait(-1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


class Transport:
    """Pools of connections, opened by their first use and bound to that event loop."""

    def __init__(self, *, pool_size: int = 64) -> None:
        """Make it without opening anything; `pool_size` connections to each server at most."""
        self._pool_size = pool_size
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._resolver: Names | None = None
        self._home = Home()
        self._closed = False
        self._replies = weakref.WeakSet[StreamReply]()

    @staticmethod
    async def prepare() -> None:
        """Load the HTTP client, so that its time is not taken for a server's."""
        await asyncio.to_thread(importlib.import_module, _CONNECTIONS)

    def hang_up(self) -> None:
        """Refuse what comes from now on, and end what is under way with `ProviderClosed`.

        Raises:
            ProviderError: it belongs to another event loop.
        """
        if self._sessions:
            self._home.check()
        self._closed = True
        for reply in tuple(self._replies):
            reply.abandon()

    async def aclose(self) -> None:
        """Hang up and close every connection; it cannot be used again.

        Raises:
            ProviderError: they belong to another event loop.
        """
        self.hang_up()
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def send(
        self,
        endpoint: Endpoint,
        request: HTTPRequest,
        *,
        within: float,
        connect: float,
        phase: str = "listing",
        api_key: Secret | None = None,
        budget: int = MAX_REPLY,
    ) -> HTTPReply:
        """Send a request and read the whole reply, `within` seconds altogether.

        Raises:
            NetworkError: the server could not be reached, or was silent.
            ParseError: the reply broke off or is too large.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        with await self.stream(
            endpoint,
            request,
            within=within,
            connect=connect,
            phase=phase,
            api_key=api_key,
            keep=True,
        ) as reply:
            return await reply.whole(within=end - loop.time(), phase=phase, budget=budget)

    async def stream(
        self,
        endpoint: Endpoint,
        request: HTTPRequest,
        *,
        within: float,
        connect: float,
        phase: str = "first_token",
        api_key: Secret | None = None,
        keep: bool = False,
    ) -> StreamReply:
        """Send a request and return the reply once its head is there; hang up when it is left.

        With `keep`, the connection of a body that was read to its end serves the next request.
        Without, it is a new one, which cannot have died unseen: what may be asked but once would
        fail in it. llama.cpp closes each after a stream without saying so.

        Raises:
            NetworkError: the server could not be reached, or sent no head `within` seconds.
            ParseError: the reply is compressed.
        """
        session = self._open(keep=keep)
        try:
            asked = self._request(session, endpoint, request, connect, api_key)
            response = await in_time(within, phase, endpoint.authority, asked)
        except (Exception, asyncio.CancelledError) as error:
            # Whatever the HTTP client says of it: whom it has wait for a connection it cancels.
            if self._closed and not (isinstance(error, asyncio.CancelledError) and _cancelled()):
                raise ProviderClosed(_CLOSED_MEANWHILE) from None
            with explained(endpoint):
                raise
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            msg = f"{endpoint.authority} sent a compressed reply that was not asked for."
            raise ParseError(msg)
        reply = StreamReply(response, endpoint)
        self._replies.add(reply)
        if self._closed:
            reply.abandon()
        return reply

    async def look_up(
        self, endpoint: Endpoint, *, within: float, fresh: bool = True
    ) -> tuple[str, ...]:
        """Find the addresses to which the name in an endpoint leads now, `within` seconds.

        Raises:
            ServiceUnavailable: there is none, or it was not found in time.
        """
        try:
            async with asyncio.timeout(within):
                return await self._names().look_up(endpoint.host, endpoint.port, fresh=fresh)
        except TimeoutError:
            why = "its name was not resolved in time"
        except OSError as error:
            why = error.strerror or "its name cannot be resolved"
        except UnicodeError:
            why = "its name is none that could be looked up"
        raise ServiceUnavailable(f"{endpoint.authority} could not be reached: {why}.", sent=False)

    def _open(self, *, keep: bool) -> aiohttp.ClientSession:
        if self._closed:
            raise ProviderClosed("This provider is closed.", hint="Make another and enter it.")
        self._home.check()
        if keep not in self._sessions:
            self._sessions[keep] = _connections().open_session(
                self._names(), pool_size=self._pool_size, keep=keep
            )
        return self._sessions[keep]

    def _names(self) -> Names:
        if self._resolver is None:
            made: Names = _connections().Names()
            self._resolver = made
        return self._resolver

    async def _request(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        request: HTTPRequest,
        connect: float,
        api_key: Secret | None,
    ) -> aiohttp.ClientResponse:
        """Send a request; one that changes nothing once more if it ends without a byte."""
        import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key.reveal()}"
        url, name = f"{endpoint}{request.path}", None
        if endpoint.address:
            # Only there the server has proven itself; the name leads elsewhere, perhaps.
            url = f"{replace(endpoint, host=endpoint.address)}{request.path}"
            headers["Host"], name = _host_of(endpoint), endpoint.host
        elif endpoint.is_name:
            started = asyncio.get_running_loop().time()
            await self.look_up(endpoint, within=connect, fresh=False)
            connect -= asyncio.get_running_loop().time() - started
        secure = endpoint.scheme == "https"
        trusted = await asyncio.to_thread(_connections().trust) if secure else True
        for last in (not request.repeatable, True):
            try:
                return await session.request(
                    request.method,
                    url,
                    data=_data(request.body),
                    headers=headers,
                    allow_redirects=False,
                    timeout=_timeout(connect),
                    server_hostname=name,
                    ssl=trusted,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if last or not _wordless(error):
                    raise
                # Others that were kept may have ended with this one.
                session = self._open(keep=False)
        raise AssertionError  # the last attempt returns or raises


_CONNECTIONS = "patinox.provider.local.connections"


def _connections() -> ModuleType:
    # Imported when it is needed: the HTTP client is too heavy for `import patinox`.
    return importlib.import_module(_CONNECTIONS)


def _cancelled() -> bool:
    """Whether somebody cancelled the task that runs."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _host_of(endpoint: Endpoint) -> str:
    usual = endpoint.port == {"http": 80, "https": 443}[endpoint.scheme]
    return endpoint.host if usual else endpoint.authority


@functools.lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

    return aiohttp.ClientTimeout(total=None, sock_connect=connect)


def _data(body: bytes | None) -> bytes | io.BytesIO | None:
    """Give a long body in pieces, between which the loop goes on."""
    return body if body is None or len(body) < _LONG else io.BytesIO(body)


def _wordless(error: Exception) -> bool:
    """Whether a connection that was there ended before a byte of the reply."""
    import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the half of a head that came
    return not isinstance(error, aiohttp.ClientConnectorError)
