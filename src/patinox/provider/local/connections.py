"""Connections of the HTTP client, guarded where the client itself is trusting.

It bounds single fields of a head, not the head; a trickle of bytes, interim replies and what stands
between the chunks of a body it takes for ever. Imported where a first request is sent: it is heavy.
"""

from __future__ import annotations

import asyncio
import functools
import select
import socket
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

from patinox._version import __version__
from patinox.provider.local.waiting import slept

# Servers close an idle connection after 5 s (LM Studio, llama.cpp): ours must be gone before.
KEEP_ALIVE = 4.0
MAX_HEAD = 64 * 1024
MAX_FIELDS = 128
MAX_INTERIM = 16
# Bytes of framing that each byte of a body may cost: a chunk of one byte has five or six.
FRAMING = 16
HEAD_SECONDS = 10.0
# So long a name is taken to lead where it led.
NAME_SECONDS = 10.0
SPEAKS_TLS = "it speaks TLS"
_TLS = (b"\x15\x03", b"\x16\x03")
_SWITCHING = 101


class HeadTooSlow(aiohttp.ClientError):
    """The head of a reply began, and was not whole in time."""


class GuardedHandler(ResponseHandler):
    """One connection, whose replies may have only so much that is no body, and only so late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, head_seconds: float) -> None:
        super().__init__(loop)
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._received = 0
        self._interim = 0
        self._headless = True
        self._slept = slept()

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - the base class's own
        """Get ready for one more reply."""
        self._begin()
        super().set_response_params(**params)

    def is_connected(self) -> bool:
        """Whether it can serve again: nothing has come since, not even an end yet unseen.

        What is at its other end after the machine has slept, nobody knows.
        """
        awake = slept() - self._slept < KEEP_ALIVE
        return awake and super().is_connected() and not _readable(self.transport)

    def resume_reading(self, *how: Any, **more: Any) -> None:  # noqa: ANN401 - the base class's own
        """Go on where reading was stopped: this is asked for with every chunk, and mostly idle."""
        if self._reading_paused:
            super().resume_reading(*how, **more)

    def data_received(self, data: bytes) -> None:
        """Count what comes, before and after the client has understood it."""
        if self._headless and not self._received and data:
            self._head_timer = self._loop.call_later(self._head_seconds, self._too_slow)
            if data.startswith(_TLS):
                self._refuse(SPEAKS_TLS)
                return
        self._received += len(data)
        super().data_received(data)
        body = self._payload.total_bytes if self._payload is not None else 0
        if (self._headless or self._payload) and self._received > MAX_HEAD + FRAMING * body:
            self._refuse("too much that is no body")

    def feed_data(self, data: Any, size: int = 0) -> None:  # noqa: ANN401 - a message and its body
        """Take a reply, or one that comes before it; nothing after what was refused."""
        if self.exception() is not None:
            return
        if 100 <= data[0].code < 200 and data[0].code != _SWITCHING:  # noqa: PLR2004 - interim
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._refuse("too many interim replies")
                return
        else:
            self._headless = False
            self._stop_head_timer()
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._end(HeadTooSlow())

    def _refuse(self, why: str) -> None:
        self._end(HttpProcessingError(message=why))

    def _end(self, error: Exception) -> None:
        payload = self._payload
        if payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError(str(error)))
        self.set_exception(error)
        if self.transport is not None:
            self.transport.close()


def _readable(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the loop, had it had the time, would have read something here."""
    socket_ = transport.get_extra_info("socket") if transport is not None else None
    if socket_ is None:
        return False
    if not hasattr(select, "poll"):  # Windows, where `select` takes any socket
        return bool(select.select([socket_], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket_, select.POLLIN)
    return bool(poll.poll(0))


class Names(AbstractResolver):
    """Where names lead: looked up in a thread, before a connection is opened, and kept a moment."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[ResolveResult]]] = {}

    async def look_up(self, host: str, port: int, *, fresh: bool) -> tuple[str, ...]:
        """Find the addresses of a name, `fresh` or as young as `NAME_SECONDS`; raises `OSError`."""
        loop = asyncio.get_running_loop()
        since, found = self._known.get(host, (0.0, []))
        if fresh or not found or loop.time() - since > NAME_SECONDS:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [
                ResolveResult(
                    hostname=host, host=str(at[0]), port=0, family=family, proto=0, flags=0
                )
                for family, _, _, _, at in infos
            ]
            self._known[host] = loop.time(), found
        return tuple(dict.fromkeys(result["host"] for result in found))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Tell what was found for the request that is under way."""
        del family  # both are tried
        _, found = self._known[host]
        return [ResolveResult({**result, "port": port}) for result in found]

    async def close(self) -> None:
        """Forget all."""
        self._known.clear()


@functools.cache
def trust() -> ssl.SSLContext:
    """Trust whom this machine trusts, whatever the environment says; it takes a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.platform == "win32":
        context.load_default_certs()
        return context
    usual = ssl.get_default_verify_paths()
    file, folder = Path(usual.openssl_cafile), Path(usual.openssl_capath)
    if file.is_file() or folder.is_dir():
        context.load_verify_locations(
            file if file.is_file() else None, folder if folder.is_dir() else None
        )
    return context


def open_session(
    names: Names, *, pool_size: int, keep: bool, head_seconds: float = HEAD_SECONDS
) -> aiohttp.ClientSession:
    """Open a pool of connections, of `pool_size` to each server at most.

    Without `keep` each request has a connection of its own. Nothing of the environment is used, and
    a name leads where `names` says.
    """
    pool = partial(
        aiohttp.TCPConnector,
        limit=0,
        limit_per_host=pool_size,
        resolver=names,
        use_dns_cache=False,
    )
    connector = pool(keepalive_timeout=KEEP_ALIVE) if keep else pool(force_close=True)
    # The client has no public place for a handler of one's own; the fault table shows it in use.
    connector._factory = partial(  # type: ignore[assignment] # noqa: SLF001
        GuardedHandler, asyncio.get_running_loop(), head_seconds=head_seconds
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept-Encoding": "identity", "User-Agent": f"patinox/{__version__}"},
        auto_decompress=False,
        trust_env=False,
        max_headers=MAX_FIELDS,
    )
    # The client would repeat a DELETE too; what may be repeated is decided in `transport`.
    session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return session
