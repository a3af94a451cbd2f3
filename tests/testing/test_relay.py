"""A relay before a server that it knows nothing of: what passes through is the same."""

import aiohttp
import pytest

from patinox.testing import EmulatedServer, Exchange, OllamaEmulator
from patinox.testing.faults import FAULTS
from patinox.testing.relay import LlamaCppRelay


class Server(EmulatedServer):
    """Says what it was asked, in chunks if it was asked for these."""

    async def handle(self, exchange: Exchange) -> None:
        said = f"{exchange.method} {exchange.path}?{exchange.query} ".encode() + exchange.body
        if exchange.path == "/chunks":
            await exchange.start(201, content_type="text/event-stream")
            for byte in said:
                await exchange.send(bytes([byte]))
            await exchange.finish()
        else:
            key = exchange.headers.get("authorization", "none")
            await exchange.reply(202, said, content_type="text/plain", headers={"X-Key": key})


async def test_a_request_and_its_answer_pass_through() -> None:
    async with (
        Server() as server,
        LlamaCppRelay(server.url, api_key="k") as relay,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{relay.url}/a?b=c", json={}) as reply:
            assert (reply.status, await reply.read()) == (202, b"POST /a?b=c {}")
            assert reply.headers["X-Key"] == "Bearer k"
            assert reply.content_type == "text/plain"
        async with session.get(f"{relay.url}/chunks") as reply:
            assert (reply.status, await reply.read()) == (201, b"GET /chunks? ")
            assert reply.headers["Transfer-Encoding"] == "chunked"
        assert server.requests[0].headers["content-type"] == "application/json"


async def test_faults_strike_before_the_server() -> None:
    async with (
        OllamaEmulator() as server,
        LlamaCppRelay(server.url) as relay,
        aiohttp.ClientSession() as session,
    ):
        FAULTS["truncated_json"].install(relay)
        async with session.get(f"{relay.url}/api/version") as reply:
            body = await reply.read()
        assert body == b'{"version":"0.33.0"}'[:10]


async def test_a_server_that_is_gone_resets_the_client() -> None:
    async with Server() as server, LlamaCppRelay(server.url) as relay:
        server.die()
        async with aiohttp.ClientSession() as session:
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await session.get(relay.url)


async def test_a_server_that_dies_in_its_answer_resets_the_client() -> None:
    async with Server() as server, LlamaCppRelay(server.url) as relay:
        FAULTS["close_after_request"].install(server)
        async with aiohttp.ClientSession() as session:
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await session.get(f"{relay.url}/health")
