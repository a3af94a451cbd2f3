"""The floor: a socket, requests written beforehand, the bytes of the answer counted, not read.

No client that works on asyncio can be faster; what one costs beyond this is what it does.
"""

import asyncio
import json
from collections.abc import Callable

END = b"\r\n0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] | None = None
        self.see: Callable[[bytes], object] | None = None
        self.left = -1  # bytes still to come where a length was given
        self.got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes, see: Callable[[bytes], object] | None) -> "asyncio.Future[int]":
        self.done = asyncio.get_running_loop().create_future()
        self.see, self.left, self.got = see, -1, 0
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.done

    def data_received(self, data: bytes) -> None:
        if not self.got:
            head, _, body = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2]
            self.left = int(length.split(b"\r\n")[0]) - len(body) if length else -1
        elif self.left > 0:
            self.left -= len(data)
        self.got += len(data)
        if self.see is not None:
            self.see(data)
        if self.left == 0 or (self.left < 0 and data.endswith((END, END[2:]))):
            assert self.done is not None
            self.done.set_result(self.got)


class Client:
    """Talks as little as it can."""

    decodes = False

    def __init__(self, style: str, port: int) -> None:
        self.port = port
        self.paths = {
            "ollama": ("/api/chat", "/api/embed"),
            "openai": ("/v1/chat/completions", "/v1/embeddings"),
        }[style]
        self.idle: list[Connection] = []
        self.requests: dict[tuple[str, str], bytes] = {}

    async def start(self) -> None:
        """Open nothing yet."""

    def request(self, path: str, model: str, **fields: object) -> bytes:
        """Write a request once."""
        known = self.requests.get((path, model))
        if known is None:
            body = json.dumps({"model": model, **fields}).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            known = self.requests[path, model] = head.encode() + body
        return known

    async def exchange(
        self, request: bytes, see: Callable[[bytes], object] | None = None
    ) -> Connection:
        """Ask over an idle connection, or over a new one."""
        if self.idle:
            connection = self.idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        await connection.ask(request, see)
        self.idle.append(connection)
        return connection

    async def chat(self, model: str) -> None:
        """Take in a stream."""
        await self.stream(model, None)

    async def stream(self, model: str, see: Callable[[bytes], object] | None) -> None:
        """Take in a stream and show each read."""
        messages = [{"role": "user", "content": "Why are there tides?"}]
        await self.exchange(self.request(self.paths[0], model, messages=messages, stream=True), see)

    async def embed(self, model: str, texts: list[str], form: str) -> None:
        """Take in vectors."""
        await self.exchange(self.request(self.paths[1], model, input=texts, encoding_format=form))
