"""Ollama's OpenAI routes: `/v1/chat/completions`, `/v1/completions`, embeddings and models."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Iterator
from contextlib import closing

from patinox.testing.ollama_chat import CloudError, Result, Runner
from patinox.testing.ollama_embed import Embedded, Embedder
from patinox.testing.ollama_json import OllamaError, decode, to_json, without_empty
from patinox.testing.ollama_names import parse_reference, stored_name
from patinox.testing.ollama_openai_requests import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbedRequest,
    StreamOptions,
    as_chat,
    as_generate,
)
from patinox.testing.ollama_requests import EmbedRequest as NativeEmbedRequest
from patinox.testing.ollama_state import Store
from patinox.testing.ollama_text import Call, Piece, joined
from patinox.testing.server import Exchange

_SECOND = 10**9
_KINDS = {400: "invalid_request_error", 404: "not_found_error"}
_DONE = b"data: [DONE]\n\n"
_IDS = 999

Event = dict[str, object]


class OpenAIRoutes:
    """The `/v1` routes."""

    def __init__(self, store: Store, runner: Runner, embedder: Embedder) -> None:
        self._store = store
        self._runner = runner
        self._embedder = embedder
        self._serial = itertools.count(1)

    async def chat_completions(self, exchange: Exchange) -> None:
        """Answer `POST /v1/chat/completions`."""
        request = decode(exchange.body, ChatCompletionRequest, when_empty="EOF")
        result = self._runner.chat(as_chat(request))
        render = ChatEvents(self._head("chatcmpl", "chat.completion", result), request)
        await _reply(exchange, result, render, stream=request.stream)

    async def completions(self, exchange: Exchange) -> None:
        """Answer `POST /v1/completions`."""
        request = decode(exchange.body, CompletionRequest, when_empty="EOF")
        result = self._runner.generate(as_generate(request))
        render = CompletionEvents(self._head("cmpl", "text_completion", result), request)
        await _reply(exchange, result, render, stream=request.stream)

    async def embeddings(self, exchange: Exchange) -> None:
        """Answer `POST /v1/embeddings`."""
        request = decode(exchange.body, EmbedRequest, when_empty="EOF")
        encoding = request.encoding_format.lower()
        if encoding not in {"", "float", "base64"}:
            known = "Supported values: ['float', 'base64']."
            given = f"Invalid value for 'encoding_format' = {request.encoding_format}."
            raise OllamaError(400, f"{given} {known}")
        if request.input is None or request.input == []:
            raise OllamaError(400, "invalid input")
        native = NativeEmbedRequest(
            model=request.model,
            input=[""] if request.input == "" else request.input,
            dimensions=request.dimensions,
        )
        got = self._embedder.embed(native)
        await _reply_json(exchange, 200, _embedding_list(got, encoded=encoding == "base64"))

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
            self._runner.check_cloud_enabled("remote model details are")
        if found is None:
            raise OllamaError(404, f"model '{reference.name.shortest}' not found")
        await _reply_json(exchange, 200, _model(asked, reference.name.namespace, found.modified))

    def _head(self, prefix: str, kind: str, result: Result) -> Event:
        return {
            "id": f"{prefix}-{next(self._serial) % _IDS}",
            "object": kind,
            "created": self._store.clock() // _SECOND,
            "model": result.model,
            "system_fingerprint": "fp_ollama",
        }


class ChatEvents:
    """Writes the events of a chat, or the whole reply."""

    def __init__(self, head: Event, request: ChatCompletionRequest) -> None:
        self._head = head
        self._options = request.stream_options
        self._begun = False
        self._called = False

    def events(self, piece: Piece) -> Iterator[Event]:
        """Yield the events for one piece."""
        bare = not (piece.text or piece.thinking or piece.tool_calls or piece.logprobs)
        if not (piece.done and self._begun and bare):
            yield self._delta(piece)
        if piece.done:
            reason = "tool_calls" if self._called and _stopped(piece) else piece.done_reason
            yield self._event([{"index": 0, "delta": {}, "finish_reason": reason}])
            if self._options.include_usage:
                yield self._event([], usage=_usage(piece))

    def broken(self) -> Event:
        """Return what comes in place of an error within a stream: an empty delta of no model."""
        delta = {**self._role(), "content": ""}
        event = self._event([{"index": 0, "delta": delta, "finish_reason": None}])
        return {**event, "model": ""}

    def whole(self, piece: Piece) -> Event:
        """Return the reply in one piece."""
        message = {
            "role": "assistant",
            "content": piece.text,
            **without_empty(reasoning=piece.thinking, tool_calls=_calls(piece)),
        }
        reason = "tool_calls" if piece.tool_calls and _stopped(piece) else piece.done_reason
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": reason or None,
            **_logprobs(piece),
        }
        return {**self._head, "choices": [choice], "usage": _usage(piece)}

    def _delta(self, piece: Piece) -> Event:
        delta: Event = {
            **self._role(),
            "content": piece.text,
            **without_empty(reasoning=piece.thinking, tool_calls=_calls(piece)),
        }
        self._called = self._called or bool(piece.tool_calls)
        choice = {"index": 0, "delta": delta, "finish_reason": None, **_logprobs(piece)}
        return self._event([choice])

    def _role(self) -> Event:
        role: Event = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return role

    def _event(self, choices: list[Event], **more: object) -> Event:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}


class CompletionEvents:
    """Writes the events of a completion, or the whole reply."""

    def __init__(self, head: Event, request: CompletionRequest) -> None:
        self._head = head
        self._options = request.stream_options

    def events(self, piece: Piece) -> Iterator[Event]:
        """Yield the events for one piece; asked for usage, each carries one, of zeros."""
        yield self._event(piece, self._options)
        if piece.done and self._options.include_usage:
            yield {**self._head, "choices": [], "usage": _usage(piece)}

    def broken(self) -> Event:
        """Return what comes in place of an error within a stream."""
        return {**self._event(Piece(), self._options), "model": ""}

    def whole(self, piece: Piece) -> Event:
        """Return the reply in one piece."""
        return {**self._event(piece, StreamOptions()), "usage": _usage(piece)}

    def _event(self, piece: Piece, options: StreamOptions) -> Event:
        choice = {"text": piece.text, "index": 0, "finish_reason": piece.done_reason or None}
        usage = {"usage": _usage(Piece())} if options.include_usage else {}
        return {**self._head, "choices": [choice], **usage}


async def reply_error(exchange: Exchange, error: OllamaError) -> None:
    """Send an error in OpenAI's shape, or as the cloud said it."""
    if isinstance(error, CloudError):
        await exchange.reply(error.status, to_json(error.body))
        return
    kind = _KINDS.get(error.status, "api_error")
    body = {"message": error.message, "type": kind, "param": None, "code": None}
    await _reply_json(exchange, error.status, {"error": body})


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


def _stopped(piece: Piece) -> bool:
    return piece.done_reason == "stop"


def _usage(piece: Piece) -> Event:
    prompt, generated = (piece.usage.prompt, piece.usage.generated) if piece.usage else (0, 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    }


def _logprobs(piece: Piece) -> Event:
    return {"logprobs": {"content": piece.logprobs}} if piece.logprobs else {}


def _calls(piece: Piece) -> list[Event]:
    return [_call(call) for call in piece.tool_calls]


def _call(call: Call) -> Event:
    function = call["function"]
    arguments = to_json(function["arguments"]).decode()
    return {
        "id": call["id"],
        "index": function["index"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


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
