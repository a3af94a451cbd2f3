"""Clients of the emulators, and comparisons with documented payloads."""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from patinox.testing import LMStudioEmulator, OllamaEmulator, OllamaModel

ASK = [{"role": "user", "content": "hello there"}]


class Reply:
    """A reply, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.kind = headers.get("Content-Type")
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever came
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The objects of NDJSON."""
        assert self.kind == "application/x-ndjson"
        assert self.body.endswith(b"\n")
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]

    @property
    def events(self) -> list[Any]:
        """The events of a stream that has data only, to its end mark."""
        assert self.kind == "text/event-stream"
        *texts, end = self.text.split("\n\n")
        assert end == ""
        payloads = [text.removeprefix("data: ") for text in texts]
        return [text if text == "[DONE]" else json.loads(text) for text in payloads]

    @property
    def chunks(self) -> list[Any]:
        """The data of a stream whose events may have names, without the end mark."""
        frames = re.findall(r"^data: (\{.*)$", self.text, re.MULTILINE)
        return [json.loads(frame) for frame in frames]

    @property
    def blank(self) -> str:
        """The text with identifiers and times made constant."""
        return _blank(self.text)

    @property
    def compact(self) -> str:
        """The JSON with its order of keys, and identifiers and times made constant."""
        return _blank(json.dumps(self.json, separators=(",", ":"), ensure_ascii=False))


def _blank(text: str) -> str:
    text = re.sub(r'"(chatcmpl-|cmpl-|resp_|job_)[a-f0-9]{10,}"', r'"\1"', text)
    text = re.sub(r'"\d{9}"', '"123456789"', text)
    text = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"NOW"', text)
    return re.sub(r'("created(?:_at)?"|"completed_at"):\d+', r"\1:0", text)


class Client:
    """A client of one emulated Ollama."""

    def __init__(self, server: OllamaEmulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method, self.server.url + path, data=data, headers=headers, allow_redirects=False
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def get(self, path: str) -> Reply:
        return await self.call("GET", path)

    async def post(self, path: str, /, **body: object) -> Reply:
        return await self.call("POST", path, body)

    async def chat(self, model: str, /, **body: object) -> Reply:
        return await self.post("/api/chat", **{"model": model, "messages": ASK, **body})


@pytest.fixture
def serving() -> Callable[..., AbstractAsyncContextManager[Client]]:
    """Serve some models as Ollama, or the default ones."""

    @asynccontextmanager
    async def serve(
        *models: OllamaModel,
        **settings: Any,  # noqa: ANN401 - see `OllamaEmulator`
    ) -> AsyncGenerator[Client]:
        if models:
            settings["models"] = models
        async with (
            OllamaEmulator(**settings) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            yield Client(server, session)

    return serve


@pytest.fixture
def ask() -> Callable[..., Awaitable[Reply]]:
    """Ask an emulated LM Studio."""

    async def send(
        server: LMStudioEmulator,
        target: str,
        body: object = None,
        *,
        method: str | None = None,
        token: str | None = None,
    ) -> Reply:
        method = method or ("GET" if body is None else "POST")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, server.url + target, data=data, headers=headers) as response,
        ):
            return Reply(response.status, response.headers, await response.read())

    return send


def _shape(value: object) -> object:
    match value:
        case dict():
            return [(name, _shape(item)) for name, item in value.items()]
        case list():
            return [_shape(item) for item in value]
        case _:
            return type(value).__name__


@pytest.fixture
def shape() -> Callable[[object], object]:
    """Tell the fields, their order and the kinds of values, without the values."""
    return _shape
