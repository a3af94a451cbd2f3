"""Faults as switches: which there are, when they strike, and that each can be taken out again."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from patinox.testing import LMStudioEmulator, OllamaEmulator
from patinox.testing.faults import CALLS, FAULTS, KINDS, call_of

CHAT = {"model": "llama3.2:3b", "messages": [{"role": "user", "content": "hello"}], "stream": False}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, allow_redirects=False) as reply:
        await reply.read()
        return reply.status


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    ways = (fault.on_request, fault.on_connection, fault.on_server)

    assert fault.name == name
    assert fault.section in "ABCDEF"
    assert fault.description.endswith(".")
    assert fault.rows
    assert set(fault.calls) <= set(CALLS)
    assert set(fault.kinds) <= set(KINDS)
    assert sum(way is not None for way in ways) == 1
    assert name in repr(fault)


@pytest.mark.parametrize(
    ("path", "body", "call"),
    [
        ("/", b"", "probe"),
        ("/lmstudio-greeting", b"", "probe"),
        ("/api/tags", b"", "list"),
        ("/v1/models", b"", "list"),
        ("/api/chat", b"{}", "stream"),
        ("/api/chat", b'{"stream":false}', "chat"),
        ("/v1/chat/completions", b"{}", "chat"),
        ("/v1/chat/completions", b'{"stream":true}', "stream"),
        ("/v1/chat/completions", b"no JSON", "chat"),
        ("/v1/chat/completions", b"[]", "chat"),
        ("/api/embed", b'{"input":["a"]}', "embed"),
        ("/v1/embeddings", b'{"input":""}', None),
        ("/api/pull", b"{}", None),
    ],
)
def test_what_a_request_is_for(path: str, body: bytes, call: str | None) -> None:
    exchange: Any = SimpleNamespace(path=path, body=body)
    assert call_of(exchange) == call


async def test_a_fault_strikes_so_often_and_in_these_calls(session: aiohttp.ClientSession) -> None:
    async with OllamaEmulator() as server:
        fault = FAULTS["status_429"].install(server, times=2, calls=["list"])
        seen = [await status_of(session, f"{server.url}/api/tags") for _ in range(3)]

        assert seen == [429, 429, 200]
        assert fault.hits == 2
        assert await status_of(session, f"{server.url}/api/version") == 200


async def test_a_fault_is_taken_out(session: aiohttp.ClientSession) -> None:
    async with LMStudioEmulator() as server:
        installed = [FAULTS[name].install(server) for name in ("html_502", "close_on_accept")]
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await status_of(session, f"{server.url}/v1/models")
        installed[1].remove()
        assert await status_of(session, f"{server.url}/v1/models") == 502
        installed[0].remove()
        assert await status_of(session, f"{server.url}/v1/models") == 200


async def test_a_connection_is_spoilt_so_often(session: aiohttp.ClientSession) -> None:
    async with OllamaEmulator() as server:
        FAULTS["reset_on_accept"].install(server, times=1)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await session.post(f"{server.url}/api/chat", json=CHAT)
        assert await status_of(session, f"{server.url}/api/tags") == 200


async def test_a_server_dies_and_is_started_again(session: aiohttp.ClientSession) -> None:
    async with OllamaEmulator() as server:
        FAULTS["refused"].install(server)
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(session, server.url)
        await server.start()
        assert await status_of(session, server.url) == 200


def test_a_server_in_a_thread_dies_from_another_thread() -> None:
    async def refused(url: str) -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                await status_of(session, url)
            except aiohttp.ClientConnectorError:
                return True
            return False

    with OllamaEmulator().run_in_thread() as server:
        assert not asyncio.run(refused(server.url))
        FAULTS["refused"].install(server)
        assert asyncio.run(refused(server.url))


def test_what_fails_in_the_servers_thread_is_told_to_the_caller() -> None:
    def broken() -> None:
        raise LookupError("broken")

    with OllamaEmulator().run_in_thread() as server, pytest.raises(LookupError, match="broken"):
        server.call(broken)


async def test_a_flapping_server_fails_every_second_time(session: aiohttp.ClientSession) -> None:
    async with OllamaEmulator() as server:
        FAULTS["flapping"].install(server)
        seen = list[int]()
        for _ in range(4):
            try:
                async with session.post(f"{server.url}/api/chat", json=CHAT) as reply:
                    seen.append(reply.status)
            except aiohttp.ClientError:
                seen.append(0)
        assert seen == [0, 200, 0, 200]
