"""The emulated Ollama, row by row against what is known of the real one (0.33)."""

import base64
import json
import math
import re
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import ollama
import pytest

from patinox.testing import (
    LMStudioEmulator,
    OllamaAnswer,
    OllamaEmulator,
    OllamaError,
    OllamaModel,
    OllamaPrompt,
    OllamaToolCall,
)

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
SECOND = 10**9
NOW = 1_787_392_800 * SECOND

TINY = OllamaModel(name="tiny", reply="Hi")
THINKER = OllamaModel(
    name="qwen3:4b",
    capabilities=("completion", "tools", "thinking"),
    family="qwen3",
    reply=OllamaAnswer(text="Fine.", thinking="How am I?"),
)
EMBEDDER = OllamaModel(
    name="nomic-embed-text", capabilities=("embedding",), family="nomic-bert", embedding_length=768
)
WEATHER = OllamaAnswer(
    text="Checking.",
    thinking=("Need the ", "weather."),
    tool_calls=(
        OllamaToolCall("get_weather", {"city": "Paris", "days": 2}),
        OllamaToolCall("get_time"),
    ),
)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
ASK = [{"role": "user", "content": "hello there"}]


class Reply:
    """A reply that was read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.kind = headers.get("Content-Type")
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        assert self.body.endswith(b"\n")
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]

    @property
    def events(self) -> list[Any]:
        texts = self.body.decode().split("\n\n")
        assert texts.pop() == ""
        payloads = [text.removeprefix("data: ") for text in texts]
        return [p if p == "[DONE]" else json.loads(p) for p in payloads]


class Client:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        async with self._session.request(
            method, path, data=data, headers=headers, allow_redirects=False
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def post(self, path: str, **body: object) -> Reply:
        return await self("POST", path, body)


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> OllamaEmulator:
    """An emulator; its arguments come from `emulated`."""
    marker = request.node.get_closest_marker("emulated")
    return OllamaEmulator(**(marker.kwargs if marker else {}))


@pytest.fixture
async def call() -> AsyncIterator[Client]:
    async with OllamaEmulator() as server, aiohttp.ClientSession(server.url) as session:
        yield Client(session)
