"""An emulator of llama.cpp's server, `llama-server`, with one model or as a router of several.

It runs no model. One model is served as a server of about build 11541 was measured to do it, router
mode as its sources say (https://github.com/ggml-org/llama.cpp/tree/master/tools/server).

Not served: keys, `/slots`, `/metrics`, `/completion`, vectors, probabilities, tools, images,
downloads, `/models/sse`, and what else is beside health, properties, models, loading, chat, texts
and middles of texts (whose native form was measured on `/completion`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import parse_qs

from patinox.testing.exchange import Exchange
from patinox.testing.llamacpp import shapes
from patinox.testing.llamacpp.chat import reply_chat
from patinox.testing.llamacpp.models import (
    DEFAULT_MODELS,
    LlamaCppModel,
    Resident,
    Residents,
)
from patinox.testing.llamacpp.shapes import LlamaCppError
from patinox.testing.llamacpp.texts import reply_infill, reply_text
from patinox.testing.server import EmulatedServer

Handler = Callable[[Exchange], Awaitable[None]]
Answer = Callable[[Exchange, LlamaCppModel, Mapping[str, object], str], Awaitable[None]]
_LOOK = 0.005  # seconds between two looks at a model that is waited for


class LlamaCppEmulator(EmulatedServer):
    """llama-server, emulated.

    Args:
        models: what it can load; without `router` the first is what it serves.
        router: whether it was started without a model: then it loads them when they are asked for.
        load_seconds: how long a load takes. Until then one model answers 503 to everything.
        autoload: whether a router loads what a request asks for.
        most: how many models a router has in memory at once; the one unused for longest goes.
        sleeping: whether the one model sleeps until a POST comes.
        build_info: what it says it is.
        clock: monotonic seconds.
        host, port, latency, chunk_delay: see `EmulatedServer`.
    """

    name = "llamacpp"
    default_headers: Mapping[str, str] = {"Server": "llama.cpp"}

    def __init__(  # noqa: PLR0913 - each is a switch of its own
        self,
        models: Iterable[LlamaCppModel] = DEFAULT_MODELS,
        *,
        router: bool = True,
        load_seconds: float = 0.0,
        autoload: bool = True,
        most: int = 4,
        sleeping: bool = False,
        build_info: str = "b11541-0123abc",
        clock: Callable[[], float] = time.monotonic,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
    ) -> None:
        super().__init__(host=host, port=port, latency=latency, chunk_delay=chunk_delay)
        self.build_info = build_info
        self._router = router
        self._autoload = autoload
        self._most = most
        self._sleeping = sleeping
        models = tuple(models)
        self._residents = Residents(
            models if router else models[:1], most=most, seconds=load_seconds, clock=clock
        )
        self._routes = self._table()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of what is in memory."""
        return tuple(one.model.id for one in self._residents if one.state == "loaded")

    async def start(self) -> None:
        """Listen; one model begins to load then."""
        await super().start()
        if not self._router and not self._sleeping:
            self._single.load()

    def _table(self) -> dict[tuple[str, str], Handler]:
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/health"): self._health,
            ("GET", "/props"): self._props,
            ("GET", "/models"): self._models,
            ("POST", "/chat/completions"): self._chat,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/embeddings"): self._embeddings,
        }
        for (method, path), handler in tuple(routes.items()):
            if path not in {"/props", "/tokenize"}:
                routes[method, f"/v1{path}"] = handler
        routes["POST", "/v1/completions"] = lambda exchange: self._generate(exchange, reply_text)
        routes["POST", "/infill"] = lambda exchange: self._generate(exchange, reply_infill)
        if self._router:
            routes["POST", "/models/load"] = self._load
            routes["POST", "/models/unload"] = self._unload
        return routes

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        exchange.extra_headers["Keep-Alive"] = "timeout=5, max=100"
        try:
            if exchange.method == "OPTIONS":
                await exchange.reply(200, content_type="text/html; charset=utf-8")
                return
            self._refuse_while_loading()
            await self._handler(exchange)(exchange)
        except LlamaCppError as error:
            exchange.extra_headers.pop("Keep-Alive")
            await shapes.reply(exchange, error.body, status=error.status, close=True)

    def _handler(self, exchange: Exchange) -> Handler:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        handler = self._routes.get((method, exchange.path))
        if handler is None:
            raise LlamaCppError(404, "File Not Found", "not_found_error")
        return handler

    @property
    def _single(self) -> Resident:
        return next(iter(self._residents))

    def _refuse_while_loading(self) -> None:
        if not self._router and not self._sleeping and self._single.state == "loading":
            raise LlamaCppError(503, "Loading model", "unavailable_error")

    async def _health(self, exchange: Exchange) -> None:
        await shapes.reply(exchange, {"status": "ok"})

    async def _props(self, exchange: Exchange) -> None:
        asked = parse_qs(exchange.query)
        if self._router and "model" not in asked:
            await shapes.reply(exchange, shapes.router_props(self.build_info, self._most))
            return
        resident = self._single
        if self._router:
            autoload = asked.get("autoload") != ["false"]
            resident = await self._ready(asked["model"][0], autoload=autoload)
        body = shapes.props(resident.model, self.build_info, sleeping=self._sleeping)
        await shapes.reply(exchange, body)

    async def _models(self, exchange: Exchange) -> None:
        body = shapes.routed(self._residents) if self._router else shapes.only(self._single.model)
        await shapes.reply(exchange, body)

    async def _load(self, exchange: Exchange) -> None:
        resident = self._residents.named(_model_of(exchange))
        if resident is None:
            raise LlamaCppError(404, "model is not found", "not_found_error")
        if resident.state != "unloaded":
            raise LlamaCppError(400, "model is already running", "invalid_request_error")
        self._residents.load(resident)
        await shapes.reply(exchange, {"success": True})

    async def _unload(self, exchange: Exchange) -> None:
        resident = self._residents.named(_model_of(exchange))
        if resident is None or resident.state == "unloaded":
            raise LlamaCppError(400, "model is not running", "invalid_request_error")
        resident.unload()
        await shapes.reply(exchange, {"success": True})

    async def _chat(self, exchange: Exchange) -> None:
        await self._generate(exchange, reply_chat)

    async def _generate(self, exchange: Exchange, answer: Answer) -> None:
        body = _object(exchange)
        resident = self._single
        if self._router:
            resident = await self._ready(_model_of(exchange), autoload=self._autoload)
        await self._awake()
        await answer(exchange, resident.model, body, self.build_info)

    async def _tokenize(self, exchange: Exchange) -> None:
        await self._awake()
        words = str(_object(exchange).get("content", "")).split()
        await shapes.reply(exchange, {"tokens": list(range(len(words)))})

    async def _embeddings(self, exchange: Exchange) -> None:
        del exchange
        message = "This server does not support embeddings. Start it with `--embeddings`"
        raise LlamaCppError(501, message, "not_supported_error")

    async def _ready(self, name: str, *, autoload: bool) -> Resident:
        """Return a model of the router once it is loaded."""
        resident = self._residents.named(name)
        if resident is None:
            raise LlamaCppError(400, f"model '{name}' not found", "invalid_request_error")
        if resident.state == "unloaded":
            if not autoload:
                raise LlamaCppError(400, "model is not loaded", "invalid_request_error")
            self._residents.load(resident)
        await self._loaded(resident)
        self._residents.touch(resident)
        return resident

    async def _awake(self) -> None:
        """Wake the one model, which any POST does, and wait until it is there."""
        if self._sleeping:
            self._single.load()
            await self._loaded(self._single)
            self._sleeping = False

    async def _loaded(self, resident: Resident) -> None:
        while resident.state == "loading":  # noqa: ASYNC110 - the clock decides, and tells nobody
            await asyncio.sleep(_LOOK)
        if resident.state == "unloaded":
            raise LlamaCppError(500, "model failed to load", "server_error")


def _object(exchange: Exchange) -> dict[str, object]:
    try:
        body = json.loads(exchange.body)
    except ValueError as error:
        said = f"[json.exception.parse_error.101] parse error: {error}"
        raise LlamaCppError(400, said, "invalid_request_error") from error
    return body if shapes.is_object(body) else {}


def _model_of(exchange: Exchange) -> str:
    name = _object(exchange).get("model")
    if not isinstance(name, str) or not name:
        message = "model name is missing from the request"
        raise LlamaCppError(400, message, "invalid_request_error")
    return name
