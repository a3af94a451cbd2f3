"""Ollama's OpenAI routes: `/v1/chat/completions`, `/v1/completions`, embeddings and models."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Generator
from contextlib import closing, contextmanager

from patinox.testing.exchange import Exchange
from patinox.testing.ollama.chat import CloudError, Result, Runner
from patinox.testing.ollama.embed import Embedded, Embedder
from patinox.testing.ollama.go_json import OllamaError, decode, to_json
from patinox.testing.ollama.names import parse_reference, stored_name
from patinox.testing.ollama.openai_events import (
    ChatEvents,
    CompletionEvents,
    EarlierChatEvents,
    Event,
    Head,
)
from patinox.testing.ollama.openai_requests import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbedRequest,
    as_chat,
    as_generate,
)
from patinox.testing.ollama.requests import EmbedRequest as NativeEmbedRequest
from patinox.testing.ollama.state import Store
from patinox.testing.ollama.text import joined

_SECOND = 10**9
_KINDS = {400: "invalid_request_error", 404: "not_found_error"}
_DONE = b"data: [DONE]\n\n"
_IDS = 999


class MiddlewareError(OllamaError):
    """An error in what translates a request for Ollama: it is sent in Ollama's own way."""


class OpenAIRoutes:
    """The `/v1` routes."""

    def __init__(
        self, store: Store, runner: Runner, embedder: Embedder, *, since_0_30: bool
    ) -> None:
        self._store = store
        self._runner = runner
        self._embedder = embedder
        self._since_0_30 = since_0_30
        self._serial = itertools.count(1)

    async def chat_completions(self, exchange: Exchange) -> None:
        """Answer `POST /v1/chat/completions`."""
        with _in_middleware():
            request = decode(exchange.body, ChatCompletionRequest, package="openai")
            native = as_chat(request, since_0_30=self._since_0_30)
        result = self._runner.chat(native)
        events = ChatEvents if self._since_0_30 else EarlierChatEvents
        render = events(self._head("chatcmpl", result), request.stream_options)
        await _reply(exchange, result, render, stream=request.stream)

    async def completions(self, exchange: Exchange) -> None:
        """Answer `POST /v1/completions`."""
        with _in_middleware():
            request = decode(exchange.body, CompletionRequest, package="openai")
            native = as_generate(request)
        result = self._runner.generate(native)
        render = CompletionEvents(self._head("cmpl", result), request.stream_options)
        await _reply(exchange, result, render, stream=request.stream)

    async def embeddings(self, exchange: Exchange) -> None:
        """Answer `POST /v1/embeddings`."""
        with _in_middleware():
            request = decode(exchange.body, EmbedRequest, package="openai")
            encoded = _is_encoded(request)
        native = NativeEmbedRequest(
            model=request.model,
            input=[""] if request.input == "" else request.input,
            dimensions=request.dimensions,
        )
        got = self._embedder.embed(native)
        await _reply_json(exchange, 200, _embedding_list(got, encoded=encoded))

    async def models(self, exchange: Exchange) -> None:
        """Answer `GET /v1/models`; `data` is null when there are none."""
        data = [
            _model(entry.model.parsed.shortest, entry.model.parsed.namespace, entry.modified)
            for entry in self._store.listed()
        ]
        await _reply_json(exchange, 200, {"object": "list", "data": data or None})

    async def model(self, exchange: Exchange) -> None:
        """Answer `GET /v1/models/:model`."""
        asked = exchange.path.removeprefix("/v1/models/")
        reference = parse_reference(asked, when_empty=OllamaError(400, "model is required"))
        found = self._store.find(stored_name(reference))
        if reference.source == "cloud" or (found and found.model.remote_model):
            self._runner.check_cloud_enabled("remote model details are", reference)
        if found is None:
            named = reference.name.shortest if self._since_0_30 else reference.base
            raise OllamaError(404, f"model '{named}' not found")
        await _reply_json(exchange, 200, _model(asked, reference.name.namespace, found.modified))

    def _head(self, prefix: str, result: Result) -> Head:
        return Head(f"{prefix}-{next(self._serial) % _IDS}", result.model, self._store.clock)


async def reply_error(exchange: Exchange, error: OllamaError) -> None:
    """Send an error in OpenAI's shape, or as the cloud said it to a client that named it."""
    if isinstance(error, CloudError):
        await exchange.reply(error.status, to_json(error.body))
        return
    kind = _KINDS.get(error.status, "api_error")
    said = {"message": error.message, "type": kind, "param": None, "code": None}
    if isinstance(error, MiddlewareError):
        await exchange.reply(error.status, to_json({"error": said}))
    else:
        await _reply_json(exchange, error.status, {"error": said})


async def _reply(
    exchange: Exchange, result: Result, render: ChatEvents | CompletionEvents, *, stream: bool
) -> None:
    with closing(result.parts):
        if stream:
            await _stream(exchange, result, render)
        else:
            await _reply_json(exchange, 200, render.whole(joined(result.parts)))


async def _stream(
    exchange: Exchange, result: Result, render: ChatEvents | CompletionEvents
) -> None:
    """Send the events; an error within is swallowed: an odd event, and no end mark."""
    try:
        for piece in result.parts:
            if not exchange.started:
                await exchange.start(200, content_type="text/event-stream")
            for event in render.events(piece):
                await exchange.send(b"data: " + to_json(event) + b"\n\n")
            if piece.done:
                await exchange.send(_DONE)
        if not exchange.started:
            await exchange.start(200, content_type="text/event-stream")
    except OllamaError:
        if not exchange.started:
            raise
        await exchange.send(b"data: " + to_json(render.broken()) + b"\n\n")
    await exchange.finish()


async def _reply_json(exchange: Exchange, status: int, body: Event) -> None:
    await exchange.reply(status, to_json(body) + b"\n", content_type="application/json")


@contextmanager
def _in_middleware() -> Generator[None]:
    try:
        yield
    except OllamaError as error:
        raise MiddlewareError(error.status, error.message) from None


def _is_encoded(request: EmbedRequest) -> bool:
    """Tell whether vectors are wanted in base64."""
    encoding = request.encoding_format.lower()
    if encoding not in {"", "float", "base64"}:
        known = "Supported values: ['float', 'base64']."
        given = f"Invalid value for 'encoding_format' = {request.encoding_format}."
        raise OllamaError(400, f"{given} {known}")
    if request.input is None or request.input == []:
        raise OllamaError(400, "invalid input")
    return encoding == "base64"


def _embedding_list(got: Embedded, *, encoded: bool) -> Event:
    vectors = got["embeddings"]
    data = [
        {"object": "embedding", "embedding": _base64(v) if encoded else v, "index": index}
        for index, v in enumerate(vectors)
    ]
    tokens = got.get("prompt_eval_count", 0)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": got["model"], "usage": usage}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _model(name: str, namespace: str, modified: int) -> Event:
    return {
        "id": name,
        "object": "model",
        "created": modified // _SECOND,
        "owned_by": namespace,
    }
