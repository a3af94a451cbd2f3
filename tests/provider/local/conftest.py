"""Servers of every kind on real sockets, and settings that lead to them and to nothing else."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from patinox.provider.local.config import (
    DiscoveryConfig,
    EndpointConfig,
    HealthCheckConfig,
    LocalProviderConfig,
)
from patinox.testing import EmulatedServer, Exchange

Answer = Callable[[Exchange], Awaitable[None]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SERVERS = ("ollama", "lmstudio", "llamacpp")


class WebServer(EmulatedServer):
    """Any program that speaks HTTP: it answers as `answer` does, or with a status and a body."""

    name = "web"

    def __init__(
        self,
        answer: Answer | Mapping[str, tuple[int, bytes]] | bytes,
        *,
        headers: Mapping[str, str] | None = None,
        **where: Any,  # noqa: ANN401 - the arguments of `EmulatedServer`
    ) -> None:
        super().__init__(**where)
        self.default_headers = headers or {}
        self.answers = answer

    async def handle(self, exchange: Exchange) -> None:
        if isinstance(self.answers, bytes):
            await exchange.reply(200, self.answers)
        elif callable(self.answers):
            await self.answers(exchange)
        else:
            await exchange.reply(*self.answers.get(exchange.path, (404, b"not found")))


@pytest.fixture
def web_server() -> type[WebServer]:
    return WebServer


@pytest.fixture
def raw_server() -> Callable[[Talk], AbstractAsyncContextManager[str]]:
    """A server that talks as it likes, and its address."""

    @asynccontextmanager
    async def serve(talk: Talk) -> AsyncGenerator[str]:
        tasks = set[asyncio.Task[Any]]()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await talk(reader, writer)
            except (asyncio.CancelledError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return serve


@pytest.fixture
def swallower() -> Iterator[str]:
    """An address that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)  # noqa: FBT003 - there is no other way to write it
            client.connect_ex((host, port))
        yield f"http://{host}:{port}"
        for client in waiting:
            client.close()


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def config_for() -> Callable[..., LocalProviderConfig]:
    """Make settings that lead to these servers only; their kinds must be proven."""

    def make(
        *servers: EmulatedServer | EndpointConfig | str,
        discovery: Mapping[str, Any] | None = None,
        **fields: Any,  # noqa: ANN401 - those of `LocalProviderConfig`
    ) -> LocalProviderConfig:
        addresses = (one.url if isinstance(one, EmulatedServer) else one for one in servers)
        # A machine under load may take long to answer: only tests about time are impatient.
        looks: dict[str, Any] = {
            "enabled_services": SERVERS,
            "cache_enabled": False,
            "discovery_timeout": 20.0,
            "health_check": HealthCheckConfig(timeout=4.9),
        }
        settings: dict[str, Any] = {"auto_discover": False, "monitor": False, **fields}
        return LocalProviderConfig(
            discovery_config=DiscoveryConfig(**{**looks, **(discovery or {})}),
            endpoints=tuple(
                EndpointConfig.parse(one) if isinstance(one, str) else one for one in addresses
            ),
            **settings,
        )

    return make


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()
