"""Faults of section A: between two sockets, before HTTP begins."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from patinox.testing.exchange import Exchange, reset
from patinox.testing.faults.fault import PAUSE, Catalogue
from patinox.testing.faults.good import good, send
from patinox.testing.server import EmulatedServer

CONNECTION = Catalogue("A")

# What a TLS server answers to plain text: an alert, "unexpected message".
_TLS_ALERT = bytes.fromhex("1503030002020a")
_READ_SIZE = 65536


@CONNECTION.server(1, 115)
def refused(server: EmulatedServer) -> None:
    """Nothing listens at the port any more."""
    server.die()


@CONNECTION.server(2, 118)
def syn_blackhole(server: EmulatedServer) -> None:
    """Connections are neither taken nor refused."""
    server.swallow()


@CONNECTION.connection(3)
async def accept_silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bool:
    """The connection is taken, and nothing is ever said."""
    return await _read_on(reader)


@CONNECTION.request(3, 119, 129)
async def never_answer(exchange: Exchange) -> None:
    """The request is read, and nothing is ever said."""
    await exchange.hold()


@CONNECTION.connection(4)
async def reset_on_accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The connection is reset as soon as it is there."""
    reset(writer)
    return True


@CONNECTION.connection(5)
async def close_on_accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The connection is closed as soon as it is there."""
    writer.close()
    return True


@CONNECTION.request(6, 19)
async def reset_after_request(exchange: Exchange) -> None:
    """The request is read, and the connection reset without a byte."""
    exchange.abort()


@CONNECTION.request(6, 19)
async def close_after_request(_exchange: Exchange) -> None:
    """The request is read, and the connection closed without a byte."""


@CONNECTION.connection(7)
async def slow_accept(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bool:
    """The server is busy for a moment before it reads."""
    await asyncio.sleep(PAUSE)
    return False


@CONNECTION.connection(8)
async def tls_on_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """The port speaks TLS and answers plain text with an alert."""
    return await _say(reader, writer, _TLS_ALERT)


@CONNECTION.connection(18)
async def ssh_banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """An SSH server greets before it is asked."""
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    return await _read_on(reader)


@CONNECTION.connection(18, 50)
async def binary_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """What answers are bytes of some other protocol, control characters among them."""
    return await _say(reader, writer, bytes(range(256)) * 2)


@CONNECTION.request(16)
async def stale_keepalive(exchange: Exchange) -> None:
    """The answer is right, and the kept connection is closed a moment later without a word."""
    answer = await good(exchange)
    await send(exchange, answer)
    exchange.close()


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bool:
    with suppress(ConnectionError):
        await reader.read(_READ_SIZE)
        writer.write(data)
        await writer.drain()
    return True


async def _read_on(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        while await reader.read(_READ_SIZE):
            pass
    return True
