"""A proxy that spoils what passes through, and a relay in front of a real server."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from patinox.testing.proxy import FaultProxy, Toxics

QUESTION, ANSWER = b"a question\n", b"0123456789" * 10


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """A server that answers each line, and ends with the client."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def ask(proxy: FaultProxy, *, size: int = len(ANSWER)) -> list[bytes]:
    """Ask once, and return the pieces of the answer as they came, of `size` bytes altogether."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(QUESTION)
        pieces = list[bytes]()
        while sum(map(len, pieces)) < size and (piece := await reader.read(1000)):
            pieces.append(piece)
        return pieces
    finally:
        writer.transport.abort()


async def test_what_nothing_is_done_to_passes(target: str) -> None:
    async with FaultProxy(target) as proxy:
        assert b"".join(await ask(proxy)) == ANSWER
        assert proxy.url == f"http://127.0.0.1:{proxy.port}"
        assert (proxy.passed, proxy.connections) == (len(ANSWER), 1)


@pytest.mark.parametrize("limit", [0, 1, 50, 99])
async def test_a_connection_ends_after_so_many_bytes(target: str, limit: int) -> None:
    async with FaultProxy(target, to_client=Toxics(limit_data=limit)) as proxy:
        assert b"".join(await ask(proxy)) == ANSWER[:limit]
        proxy.to_client = Toxics(limit_data=limit, then="rst")
        with pytest.raises(ConnectionResetError):
            await ask(proxy)


async def test_a_connection_is_swallowed_after_so_many_bytes(target: str) -> None:
    async with FaultProxy(target, to_client=Toxics(limit_data=4, then="swallow")) as proxy:
        assert b"".join(await ask(proxy, size=4)) == ANSWER[:4]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(proxy), 0.05)


async def test_what_passes_is_sliced_and_late(target: str) -> None:
    sliced = Toxics(slice_size=25, slice_delay=0.02, latency=0.05, jitter=0.01)
    async with FaultProxy(target, to_client=sliced) as proxy:
        started = time.monotonic()
        assert await ask(proxy) == [ANSWER[:25], ANSWER[25:50], ANSWER[50:75], ANSWER[75:]]
        assert time.monotonic() - started >= 0.1


async def test_what_passes_is_as_fast_as_the_line(target: str) -> None:
    async with FaultProxy(target, to_client=Toxics(bandwidth=1000.0)) as proxy:
        started = time.monotonic()
        assert b"".join(await ask(proxy)) == ANSWER
        assert time.monotonic() - started >= 0.1


async def test_requests_are_spoilt_likewise(target: str) -> None:
    async with FaultProxy(target, to_server=Toxics(limit_data=3)) as proxy:
        assert await ask(proxy) == []


async def test_the_end_is_told_late(target: str) -> None:
    async with FaultProxy(target, to_server=Toxics(slow_close=0.05)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        started = time.monotonic()
        writer.write_eof()
        assert await reader.read() == b""
        assert time.monotonic() - started >= 0.05
        writer.close()


async def test_every_client_is_reset(target: str) -> None:
    async with FaultProxy(target) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(QUESTION)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        proxy.reset_peer()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_it_goes_down_and_comes_up_where_it_was(target: str) -> None:
    async with FaultProxy(target) as proxy:
        port = proxy.port
        proxy.down()
        with pytest.raises(ConnectionRefusedError):
            await ask(proxy)
        await proxy.up()
        assert proxy.port == port
        assert b"".join(await ask(proxy)) == ANSWER


async def test_where_nobody_listens_a_client_is_reset(unused_port: int) -> None:
    async with FaultProxy(f"http://127.0.0.1:{unused_port}") as proxy:
        with pytest.raises(ConnectionResetError):
            await ask(proxy)
        assert proxy.open_connections == 0


@pytest.fixture
async def unused_port() -> int:
    async with await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
    return port
