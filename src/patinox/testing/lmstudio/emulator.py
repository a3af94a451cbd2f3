"""An LM Studio for tests, on a real socket: its routes, its errors and its oddities, no model.

It answers as LM Studio 0.4 or 0.3 does, field for field and header for header; what a model says is
yours to choose and deterministic by default. https://lmstudio.ai/docs/developer
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal, TypedDict, Unpack

from patinox.testing.exchange import Exchange
from patinox.testing.lmstudio import errors
from patinox.testing.lmstudio.chat import NativeChat
from patinox.testing.lmstudio.express import (
    EXPRESS_HEADERS,
    as_object,
    reply_json,
    reply_syntax_error,
)
from patinox.testing.lmstudio.models import (
    DEFAULT_MODELS,
    LMStudioModel,
)
from patinox.testing.lmstudio.native import NativeModelRoutes
from patinox.testing.lmstudio.openai import OpenAIRoutes
from patinox.testing.lmstudio.responses import ResponsesRoute
from patinox.testing.lmstudio.shapes import Json
from patinox.testing.lmstudio.state import Studio, Switches
from patinox.testing.server import EmulatedServer

_NATIVE = "/api/v1/"
_JOB = "/api/v1/models/download/status/"
_MODEL_V0 = "/api/v0/models/"
_Get = Callable[[Exchange], Awaitable[None]]
_Post = Callable[[Exchange, Json], Awaitable[None]]


class LMStudioSwitches(TypedDict, total=False):
    """The keyword arguments of `LMStudioEmulator` that make it one LM Studio or another."""

    generation: Literal["0.4", "0.3"]
    version: str
    token: str | None
    greeting_needs_token: bool
    lms_status: bool
    unknown_route_status: int
    jit: bool
    auto_evict: bool
    load_seconds: float
    load_ignores_context: bool
    download_steps: int
    download_end: Literal["completed", "paused", "failed"]
    reasoning_key: Literal["reasoning_content", "reasoning", "inline"]
    overflow: Literal["A", "C"]
    done_marker: bool
    usage: bool
    stats: bool
    v0_stream_stats: bool
    native_text_item: Literal["text", "message"]
    clock: Callable[[], float]


class LMStudioEmulator(EmulatedServer):
    """LM Studio's HTTP server, with `models` downloaded and some of them loaded.

    The switches, each with its default:

    - `generation="0.4"`: `"0.3"` has no `/api/v1`, no `/lms-status` and no tokens, answers an
      unknown model with 404, and leaves empty fields out of a message.
    - `version="0.4.25"`: what `/lms-status` says.
    - `token=None`: the token every request must bear (0.4); `None` asks for none.
    - `greeting_needs_token=False`: whether `/lmstudio-greeting` asks for the token too.
    - `lms_status=True`: whether 0.4 has `/lms-status` on this port.
    - `unknown_route_status=200`: the status of an unexpected endpoint; 404 was seen too.
    - `jit=True`: whether a request loads a model that is not loaded.
    - `auto_evict=True`: whether such a load unloads the one before it.
    - `load_seconds=0.0`: how long a load takes, in seconds.
    - `load_ignores_context=False`: whether a load takes its default context whatever is asked.
    - `download_steps=2`: how many looks at a download find it complete.
    - `download_end="completed"`: what becomes of a download then; one that is `"paused"` or has
      `"failed"` is not complete.
    - `reasoning_key="reasoning_content"`: where OpenAI routes put reasoning: under this key, under
      `"reasoning"`, or `"inline"` as `<think>` in the content.
    - `overflow="A"`: what a too long prompt is answered: the classic engine's text, or `"C"`, the
      engine protocol's. OpenAI routes refuse with 400, or break a stream off with an error event;
      native ones answer 500.
    - `done_marker=True`: whether OpenAI streams end in `[DONE]`.
    - `usage=True`: whether completions tell their usage.
    - `stats=True`: whether REST v0 and native replies tell their statistics.
    - `v0_stream_stats=False`: whether REST v0 streams tell them as well, in the chunk that ends.
    - `native_text_item="text"`: what the native chat calls a text item; elsewhere `"message"`.
    - `clock=time.monotonic`: seconds, for the TTL of models that a request loaded.

    `LMStudioAnswer("Par", error=MODEL_CRASHED)` as a model's reply breaks off in the middle.
    A token is a word. Times that the statistics tell are made up and constant.
    """

    name = "lmstudio"
    default_headers: Mapping[str, str] = EXPRESS_HEADERS

    def __init__(
        self,
        models: Iterable[LMStudioModel] = DEFAULT_MODELS,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
        **switches: Unpack[LMStudioSwitches],
    ) -> None:
        super().__init__(host=host, port=port, latency=latency, chunk_delay=chunk_delay)
        self._switches = Switches(**switches)
        self._studio = Studio(models, self._switches)
        self._openai = OpenAIRoutes(self._studio)
        self._native = NativeModelRoutes(self._studio)
        self._gets = self._get_routes()
        self._posts = self._post_routes()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The identifiers of what is in memory."""
        return tuple(instance.id for instance in self._studio.instances)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request, or refuse it as LM Studio would."""
        try:
            self._authorize(exchange)
            await self._route(exchange)
        except errors.Refused as refused:
            indent = None if isinstance(refused.error, str) else _indent(exchange.path)
            error = {"error": refused.error}
            await reply_json(exchange, error, status=refused.status, indent=indent)

    def _authorize(self, exchange: Exchange) -> None:
        token = self._switches.token
        if token is None or self._switches.generation == "0.3":
            return
        if exchange.path == "/lmstudio-greeting" and not self._switches.greeting_needs_token:
            return
        scheme, _, offered = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not offered:
            raise errors.token_missing()
        if offered != token:
            raise errors.token_wrong(offered)

    async def _route(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method == "GET" and (get := self._get(path)) is not None:
            await get(exchange)
        elif exchange.method == "POST" and (post := self._posts.get(path)) is not None:
            await self._read_and(post, exchange)
        else:
            target = f"{path}?{exchange.query}" if exchange.query else path
            status = self._switches.unknown_route_status
            raise errors.unexpected_endpoint(exchange.method, target, status=status)

    def _get(self, path: str) -> _Get | None:
        if path.startswith(_MODEL_V0):
            name = path.removeprefix(_MODEL_V0)
            return lambda exchange: self._openai.model_v0(exchange, name)
        if path.startswith(_JOB) and self._switches.generation == "0.4":
            job = path.removeprefix(_JOB)
            return lambda exchange: self._native.download_status(exchange, job)
        return self._gets.get(path)

    async def _read_and(self, post: _Post, exchange: Exchange) -> None:
        try:
            body = json.loads(exchange.body or b"{}")
        except ValueError as error:
            if exchange.path.startswith(_NATIVE):
                raise errors.invalid_json(str(error)) from error
            await reply_syntax_error(exchange, str(error))
            return
        await post(exchange, as_object(body))

    def _get_routes(self) -> dict[str, _Get]:
        routes: dict[str, _Get] = {
            "/lmstudio-greeting": self._greet,
            "/v1/models": self._openai.models,
            "/api/v0/models": self._openai.models_v0,
        }
        if self._switches.generation == "0.3":
            return routes
        routes["/api/v1/models"] = self._native.models
        return routes | ({"/lms-status": self._status} if self._switches.lms_status else {})

    def _post_routes(self) -> dict[str, _Post]:
        openai, native = self._openai, self._native
        routes: dict[str, _Post] = {
            "/v1/chat/completions": lambda x, body: openai.chat(x, body, v0=False),
            "/v1/completions": lambda x, body: openai.complete(x, body, v0=False),
            "/v1/embeddings": openai.embeddings,
            "/v1/responses": ResponsesRoute(self._studio).respond,
            "/api/v0/chat/completions": lambda x, body: openai.chat(x, body, v0=True),
            "/api/v0/completions": lambda x, body: openai.complete(x, body, v0=True),
            "/api/v0/embeddings": openai.embeddings,
        }
        if self._switches.generation == "0.3":
            return routes
        return routes | {
            "/api/v1/chat": NativeChat(self._studio).chat,
            "/api/v1/models/load": native.load,
            "/api/v1/models/unload": native.unload,
            "/api/v1/models/download": native.download,
        }

    async def _greet(self, exchange: Exchange) -> None:
        await reply_json(exchange, {"lmstudio": True})

    async def _status(self, exchange: Exchange) -> None:
        version = self._switches.version
        await reply_json(exchange, {"package": "lmstudio", "version": version})


def _indent(path: str) -> int:
    return 2 if path.startswith((_NATIVE, "/v1/responses")) else 4
