"""An HTTP relay in front of a real server, so that every fault can be put before it.

The server answers, not we; the relay passes requests and replies on, whole or chunk by chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from patinox.testing.exchange import Exchange
from patinox.testing.server import EmulatedServer

# Of the connection, not of the answer: the relay has its own.
_OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}


class LlamaCppRelay(EmulatedServer):
    """A relay in front of a running llama.cpp server at `target`; it asks with `api_key`."""

    name: ClassVar[str] = "llamacpp"
    default_headers: Mapping[str, str] = {"Server": "llama.cpp"}

    def __init__(self, target: str, *, api_key: str | None = None) -> None:
        super().__init__()
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._api_key = api_key

    async def handle(self, exchange: Exchange) -> None:
        """Ask the server, and pass on what it says; a server that is gone resets the client."""
        try:
            reader, writer = await asyncio.open_connection(*self._target)
        except OSError:
            exchange.abort()
            return
        try:
            writer.write(self._request(exchange))
            await _pass_on(reader, exchange)
        except EOFError:
            exchange.abort()
        finally:
            writer.transport.abort()

    def _request(self, exchange: Exchange) -> bytes:
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        fields = {
            "Host": f"{self._target[0]}:{self._target[1]}",
            "Connection": "close",
            "Content-Length": str(len(exchange.body)),
        }
        if "content-type" in exchange.headers:
            fields["Content-Type"] = exchange.headers["content-type"]
        if self._api_key is not None:
            fields["Authorization"] = f"Bearer {self._api_key}"
        lines = [f"{exchange.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join([*lines, "", ""]).encode() + exchange.body


async def _pass_on(reader: asyncio.StreamReader, exchange: Exchange) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    known = {name.lower(): value for name, value in fields.items()}
    kind = known.get("content-type", "application/json")
    headers = {
        name: value
        for name, value in fields.items()
        if name.lower() not in {*_OF_THE_CONNECTION, "content-type"}
    }
    if known.get("transfer-encoding") != "chunked":
        body = await reader.readexactly(int(known.get("content-length", "0")))
        await exchange.reply(status, body, content_type=kind, headers=headers)
        return
    await exchange.start(status, content_type=kind, headers=headers)
    while size := int(await reader.readline(), 16):
        await exchange.send(await reader.readexactly(size))
        await reader.readexactly(2)
    await exchange.finish()
