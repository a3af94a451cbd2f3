"""A fault is a value: what goes wrong, where, and how to make an emulated server do it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from patinox.testing.exchange import Exchange
from patinox.testing.server import EmulatedServer

Call: TypeAlias = Literal["probe", "list", "chat", "stream", "embed"]
CALLS: tuple[Call, ...] = ("probe", "list", "chat", "stream", "embed")
ANSWERS: tuple[Call, ...] = ("chat", "stream", "embed")
KINDS = ("ollama", "lmstudio", "llamacpp")
# Seconds between two of what comes slowly, and what a slow server takes before it begins.
PAUSE = 0.1

_PROBES = {"/", "/api/version", "/lmstudio-greeting", "/lms-status", "/health", "/props"}
_LISTS = {"/api/tags", "/api/ps", "/v1/models", "/api/v0/models", "/api/v1/models"}
_CHATS = {"/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions"}
_EMBEDS = {"/api/embed", "/v1/embeddings"}

OnRequest: TypeAlias = Callable[[Exchange], Awaitable[None]]
OnConnection: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
OnServer: TypeAlias = Callable[[EmulatedServer], None]


@dataclass(frozen=True)
class Fault:
    """One way in which a server fails.

    Exactly one of the three ways to strike is there: on a request, on a connection before anything
    is read from it, or on the server as a whole, at once.

    Attributes:
        name: how it is called everywhere.
        section: the part of the catalogue: A connection, B HTTP, C body, D stream, E identity,
            F life, G concurrency.
        rows: its numbers in the catalogue.
        description: what goes wrong, in a line.
        kinds: the services that can fail so.
        calls: what it can be seen in. A fault of a connection or a server is seen in all.
    """

    name: str
    section: str
    rows: tuple[int, ...]
    description: str
    kinds: tuple[str, ...] = KINDS
    calls: tuple[Call, ...] = CALLS
    on_request: OnRequest | None = field(default=None, repr=False)
    on_connection: OnConnection | None = field(default=None, repr=False)
    on_server: OnServer | None = field(default=None, repr=False)

    def install(
        self,
        server: EmulatedServer,
        *,
        times: int | None = None,
        calls: Iterable[Call] | None = None,
    ) -> Installed:
        """Make a server fail so.

        Args:
            server: any emulated server, from whatever thread.
            times: how often; `None`: until it is removed.
            calls: in which calls only, where the fault is one of requests.

        """
        installed = Installed(self, server, times, tuple(calls or self.calls))
        if self.on_request is not None:
            server.faults.append(installed.deal)
        elif self.on_connection is not None:
            server.greetings.append(installed.greet)
        elif self.on_server is not None:
            installed.strikes()
            on_server = self.on_server
            server.call(lambda: on_server(server))
        return installed


@dataclass(eq=False)
class Installed:
    """A fault in a server.

    Attributes:
        fault: what it is.
        server: where it is.
        left: how often it will strike yet; `None`: always.
        calls: in which calls it strikes, if it strikes on requests.
        hits: how often it has struck.
    """

    fault: Fault
    server: EmulatedServer
    left: int | None
    calls: tuple[Call, ...]
    hits: int = 0

    def remove(self) -> None:
        """Take it out; a server that is gone has to be started again."""
        if self.deal in self.server.faults:
            self.server.faults.remove(self.deal)
        if self.greet in self.server.greetings:
            self.server.greetings.remove(self.greet)

    def strikes(self) -> bool:
        """Count one more; false if it has struck often enough."""
        if self.left is not None:
            if self.left <= 0:
                return False
            self.left -= 1
        self.hits += 1
        return True

    async def deal(self, exchange: Exchange) -> bool:
        """Strike on a request: one of the server's `faults`."""
        on_request = self.fault.on_request
        if on_request is None or call_of(exchange) not in self.calls or not self.strikes():
            return False
        await on_request(exchange)
        return True

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Strike on a connection: one of the server's `greetings`."""
        on_connection = self.fault.on_connection
        if on_connection is None or not self.strikes():
            return False
        return await on_connection(reader, writer)


def call_of(exchange: Exchange) -> Call | None:
    """Tell what a request is for; `None`: for something else.

    A prompt that asks for a stream is a `stream`, any other a `chat`; Ollama streams unless told
    otherwise. Vectors of nothing are no `embed`: llama.cpp is asked so what it can do.
    """
    path = exchange.path
    if path in _EMBEDS:
        return "embed" if _body(exchange).get("input") else None
    if path in _CHATS:
        streams = _body(exchange).get("stream", path.startswith("/api"))
        return "stream" if streams else "chat"
    if path in _LISTS:
        return "list"
    return "probe" if path in _PROBES else None


def _body(exchange: Exchange) -> dict[str, Any]:
    try:
        value = json.loads(exchange.body or b"{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class Catalogue:
    """Makes faults out of the functions of one section: the name and the first line are theirs."""

    def __init__(self, section: str) -> None:
        self._section = section
        self.faults: list[Fault] = []

    def request(
        self, *rows: int, calls: tuple[Call, ...] = CALLS, kinds: tuple[str, ...] = KINDS
    ) -> Callable[[OnRequest], OnRequest]:
        """Take a fault of requests."""

        def take(function: OnRequest) -> OnRequest:
            self._add(function, rows, calls=calls, kinds=kinds, on_request=function)
            return function

        return take

    def connection(self, *rows: int) -> Callable[[OnConnection], OnConnection]:
        """Take a fault of connections."""

        def take(function: OnConnection) -> OnConnection:
            self._add(function, rows, on_connection=function)
            return function

        return take

    def server(self, *rows: int) -> Callable[[OnServer], OnServer]:
        """Take a fault of the whole server."""

        def take(function: OnServer) -> OnServer:
            self._add(function, rows, on_server=function)
            return function

        return take

    def _add(self, function: Callable[..., object], rows: tuple[int, ...], **facts: Any) -> None:  # noqa: ANN401 - the fields of `Fault`
        description = (function.__doc__ or "").partition("\n")[0]
        name = function.__name__
        self.faults.append(Fault(name, self._section, rows, description, **facts))
