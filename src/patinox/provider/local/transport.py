"""The only place that touches the network: sends, streams, and says plainly what went wrong.

Nothing of the environment is read (no proxy, no netrc), no redirect is followed, no compression is
accepted, no cookie kept; every wait has a limit and every body a budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping
from typing import TYPE_CHECKING, TypeVar

from patinox._version import __version__
from patinox.provider.errors import ProviderError
from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.errors import (
    ParseError,
    ResponseTooLarge,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.secret import Secret

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

MAX_REPLY = 8 * 2**20
# Servers close an idle connection after 5 s (LM Studio, llama.cpp): ours must be gone before.
KEEP_ALIVE = 4.0


class StreamReply:
    """A reply whose body is still coming."""

    def __init__(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        """Wrap what the HTTP client gave."""
        self.status = response.status
        self.headers = _headers(response)
        self._response = response
        self._endpoint = endpoint

    async def read(self, *, within: float, phase: str) -> bytes:
        """Wait for the next bytes; empty at the end of the body.

        Raises:
            ServiceTimeout: nothing came `within` seconds.
            StreamInterrupted: the connection broke.
        """
        with _explained(self._endpoint, streaming=True):
            return await in_time(
                self._response.content.readany(), within, phase, self._endpoint.authority
            )

    async def whole(self, *, within: float, phase: str, budget: int = MAX_REPLY) -> HTTPReply:
        """Read the body to its end, `within` seconds and `budget` bytes.

        Raises:
            ServiceTimeout: it took longer.
            ResponseTooLarge: it is larger.
            ParseError: it broke off.
        """
        body = bytearray()

        async def collect() -> None:
            async for data in self._response.content.iter_any():
                body.extend(data)
                if len(body) > budget:
                    msg = f"{self._endpoint.authority} sent a reply of more than {budget:,} bytes."
                    raise ResponseTooLarge(msg)

        with _explained(self._endpoint):
            await in_time(collect(), within, phase, self._endpoint.authority)
        return HTTPReply(status=self.status, headers=self.headers, body=bytes(body))

    async def drain(self, *, within: float) -> None:
        """Read on to the end of a body that should be there, so that nobody is cut off in it.

        What comes is thrown away; a body that goes on is left.
        """
        with contextlib.suppress(ProviderError):
            await self.whole(within=within, phase="idle", budget=0)


class Transport:
    """A pool of connections, opened by its first use and bound to that event loop."""

    def __init__(self, *, pool_size: int = 64) -> None:
        """Make it without opening anything; `pool_size` connections to each server at most."""
        self._pool_size = pool_size
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @staticmethod
    async def prepare() -> None:
        """Load the HTTP client, so that its time is not taken for a server's."""
        await asyncio.to_thread(importlib.import_module, "aiohttp")

    async def aclose(self) -> None:
        """Close every connection; it cannot be used again."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
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
        async with self.stream(
            endpoint,
            request,
            within=within,
            connect=connect,
            phase=phase,
            api_key=api_key,
            keep=True,
        ) as reply:
            return await reply.whole(within=end - loop.time(), phase=phase, budget=budget)

    @contextlib.asynccontextmanager
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
    ) -> AsyncGenerator[StreamReply]:
        """Send a request, hand out the reply once its head is there, hang up when left.

        With `keep`, the connection of a body that was read to its end serves the next request.
        llama.cpp closes each after a stream without saying so, which would fail that request.

        Raises:
            NetworkError: the server could not be reached, or sent no head `within` seconds.
        """
        session = self._open()
        with _explained(endpoint):
            asked = _request(session, endpoint, request, connect, api_key, keep=keep)
            response = await in_time(asked, within, phase, endpoint.authority)
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                msg = f"{endpoint.authority} sent a compressed reply that was not asked for."
                raise ParseError(msg)
            yield StreamReply(response, endpoint)
        finally:
            # Gives a connection back that was read to its end and may be kept; closes any other.
            response.release()

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

        if self._closed:
            raise ProviderError("This provider is closed.", hint="Make another and enter it.")
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            msg = "A provider belongs to the event loop it was first used in; make one per loop."
            raise ProviderError(msg)
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=self._pool_size, keepalive_timeout=KEEP_ALIVE
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"Accept-Encoding": "identity", "User-Agent": f"patinox/{__version__}"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _request(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    request: HTTPRequest,
    connect: float,
    api_key: Secret | None,
    *,
    keep: bool,
) -> aiohttp.ClientResponse:
    import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

    headers = {"Content-Type": "application/json"} if request.body is not None else {}
    if not keep:
        headers["Connection"] = "close"
    if api_key:
        headers["Authorization"] = f"Bearer {api_key.reveal()}"
    return await session.request(
        request.method,
        f"{endpoint}{request.path}",
        data=request.body,
        headers=headers,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
    )


async def in_time(work: Awaitable[T], seconds: float, phase: str, place: str) -> T:
    """Wait `seconds` for `work` at a `place`, which is what messages call it.

    Raises:
        ServiceTimeout: it took longer; its `phase` names the limit.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        msg = f"{place} {_LATE[phase]} ({phase})."
        # The caller's own limit holds for every service.
        retryable = phase != "total"
        raise ServiceTimeout(msg, phase=phase, seconds=seconds, retryable=retryable) from None


_LATE = {
    "first_token": "sent no output in time",
    "idle": "fell silent in the middle of the answer",
    "listing": "did not answer in time",
    "embed": "did not send its vectors in time",
    "total": "was still at work when the caller's time was over",
}


@contextlib.contextmanager
def _explained(endpoint: Endpoint, *, streaming: bool = False) -> Generator[None]:
    """Turn the HTTP client's exceptions into ours, each with what it means for this address."""
    import aiohttp  # noqa: PLC0415  too heavy for `import patinox`

    place = endpoint.authority
    try:
        yield
    except aiohttp.ServerTimeoutError as error:
        msg = f"{place} did not accept a connection in time."
        raise ServiceTimeout(msg, phase="connect", seconds=0.0) from error
    except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError) as error:
        msg = f"{place} could not be trusted or does not speak TLS: {error}."
        raise ServiceUnavailable(msg, hint="Check the scheme, http or https.") from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionResetError) as error:
        if streaming:
            msg = f"The connection to {place} broke in the middle of the answer."
            raise StreamInterrupted(msg, retryable=True) from error
        msg = f"The connection to {place} broke before the reply was whole."
        raise ParseError(msg) from error
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, ConnectionRefusedError)
        why = "nothing listens there" if refused else error.os_error.strerror or "no connection"
        msg = f"{place} could not be reached: {why}."
        raise ServiceUnavailable(msg, refused=refused) from error
    except aiohttp.ClientResponseError as error:
        msg = f"{place} does not speak HTTP as it should: {error.message.splitlines()[0]:.64}."
        raise ServiceUnavailable(msg) from error
    except (aiohttp.ClientError, OSError) as error:
        msg = f"{place} closed the connection without an answer."
        raise ServiceUnavailable(msg) from error


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
