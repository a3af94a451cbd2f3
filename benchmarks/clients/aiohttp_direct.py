"""The same work done directly: `aiohttp`, lines cut by hand, typed decoding with `msgspec`.

This is what somebody writes who knows one server and wants speed; the targets are measured
against it. The chat is streamed and joined, as Patinox does it.
"""

import base64
from array import array
from collections.abc import AsyncIterator, Callable

import aiohttp
import msgspec

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Message(msgspec.Struct, frozen=True):
    """What is needed of a message."""

    content: str = ""


class Line(msgspec.Struct):
    """What is needed of a line of Ollama's."""

    message: Message
    done: bool = False


class Choice(msgspec.Struct):
    """What is needed of a choice."""

    delta: Message = Message()
    message: Message = Message()


class Chunk(msgspec.Struct):
    """What is needed of an event, or of an answer in one document."""

    choices: list[Choice]


class Floats(msgspec.Struct):
    """Vectors as Ollama sends them."""

    embeddings: list[list[float]]


class Entry(msgspec.Struct):
    """One vector as OpenAI's language has it."""

    embedding: list[float] | str


class Entries(msgspec.Struct):
    """Vectors as OpenAI's language has them."""

    data: list[Entry]


LINE, CHUNK = msgspec.json.Decoder(Line), msgspec.json.Decoder(Chunk)
FLOATS, ENTRIES = msgspec.json.Decoder(Floats), msgspec.json.Decoder(Entries)


class Client:
    """One session, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        self.style = style
        self.base = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Make the session."""
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def pieces(self, model: str) -> AsyncIterator[list[str]]:
        """Give the pieces of each read."""
        ollama = self.style == "ollama"
        path = "/api/chat" if ollama else "/v1/chat/completions"
        body = msgspec.json.encode({"model": model, "messages": SAID, "stream": True})
        read = self.ollama if ollama else self.openai
        async with self.session.post(self.base + path, data=body) as reply:
            held = b""
            async for data in reply.content.iter_any():
                *lines, held = (held + data).split(b"\n")
                yield [text for line in lines if (text := read(line))]

    @staticmethod
    def ollama(line: bytes) -> str:
        return LINE.decode(line).message.content

    @staticmethod
    def openai(line: bytes) -> str:
        if not line.startswith(b"data: {"):
            return ""
        choices = CHUNK.decode(line[6:]).choices
        return choices[0].delta.content if choices else ""

    async def chat(self, model: str) -> str:
        """Stream and join."""
        whole: list[str] = []
        async for pieces in self.pieces(model):
            whole += pieces
        return "".join(whole)

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Show each piece as it comes."""
        async for pieces in self.pieces(model):
            for piece in pieces:
                see(piece)

    async def embed(self, model: str, texts: list[str], form: str) -> "array[float]":
        """Ask for vectors, as one array."""
        numbers = array("f")
        body = {"model": model, "input": texts}
        if self.style == "ollama":
            data = await self.post("/api/embed", body)
            for row in FLOATS.decode(data).embeddings:
                numbers.extend(row)
            return numbers
        data = await self.post("/v1/embeddings", {**body, "encoding_format": form})
        for entry in ENTRIES.decode(data).data:
            if isinstance(entry.embedding, str):
                numbers.frombytes(base64.b64decode(entry.embedding))
            else:
                numbers.extend(entry.embedding)
        return numbers

    async def post(self, path: str, body: dict[str, object]) -> bytes:
        """Send and read a whole reply."""
        async with self.session.post(self.base + path, data=msgspec.json.encode(body)) as reply:
            return await reply.read()
