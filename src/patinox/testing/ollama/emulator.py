"""An emulator of Ollama's HTTP API (https://docs.ollama.com/api), as 0.33 and as 0.24 answer.

It serves the native routes and the OpenAI routes for chat, completion, embedding and models, with
the statuses, texts and oddities of the real server; it runs no model. 0.33 is built to its sources,
0.24 was compared with a running one.

Not served: push, create, blobs, `/v1/responses`, `/v1/messages`, images, audio, the account's
routes, web search and the recommended models. Not reproduced: requests that queue (and the 503 of a
full queue), the time a load takes, a runner that dies by itself, `_debug_render_only`, bodies
compressed with zstd, templates beyond an action left open, and a few headers (long replies in
chunks, the type of a cloud's 401 to a stream). Models share a runner only if they are copies.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from html import escape
from itertools import chain
from urllib.parse import quote

import msgspec

from patinox.testing.exchange import Exchange
from patinox.testing.ollama import native
from patinox.testing.ollama.access import cors_headers, early_status
from patinox.testing.ollama.chat import Cloud, Runner
from patinox.testing.ollama.embed import Embedder
from patinox.testing.ollama.go_json import OllamaError, decode, quoted, to_json
from patinox.testing.ollama.models import DEFAULT_MODELS, OllamaModel
from patinox.testing.ollama.names import Name, parse_name, parse_reference, stored_name
from patinox.testing.ollama.openai import OpenAIRoutes, reply_error
from patinox.testing.ollama.pulls import OllamaPullFault, PullBroken, Pulls
from patinox.testing.ollama.requests import (
    FOREVER,
    ChatRequest,
    CopyRequest,
    DeleteRequest,
    EmbeddingRequest,
    EmbedRequest,
    GenerateRequest,
    PullRequest,
    ShowRequest,
)
from patinox.testing.ollama.shapes import ps_entry, show, tags_entry
from patinox.testing.ollama.state import Installed, Store
from patinox.testing.server import EmulatedServer

Handler = Callable[[Exchange], Awaitable[None]]

_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_MODEL_PATH = "/v1/models/:model"
_SIGNIN_URL = "https://ollama.com/connect?name=emulated&key=c3NoLWVkMjU1MTk"
_SECOND = 10**9
_MOVED = {301: "Moved Permanently", 307: "Temporary Redirect"}


class OllamaEmulator(EmulatedServer):
    """Ollama, emulated.

    `pull_faults` lists what goes wrong with the downloads to come: each takes the first that is
    left. What had come by then stays, and the next download goes on there. A slow download:
    `chunk_delay`.

    Args:
        models: what is installed.
        pullable: what can be pulled, beside these and the default models.
        version: what it says it is. Before 0.30 it answers as 0.24 does: `/api/tags` has no
            capabilities and no lengths, every model takes the rendered path, chat models embed,
            images that a model cannot see are ignored, and more.
        context_length: tokens of context where neither request nor model says (`num_ctx`).
        keep_alive: seconds a model stays in memory unused; negative: for ever.
        on_gpu: whether the models are in the memory of a GPU.
        cloud: whether somebody is signed in at ollama.com, or the cloud is switched off. Signed in,
            the stubs answer as if the cloud did; nothing leaves the machine.
        signin_url: where to sign in, as an unauthorized request is told; `None`: it is not told.
        thinking_levels: levels of `think` that `/api/show` lists, the default first; any level is
            accepted then. Later servers than 0.33.0 do so.
        clock: nanoseconds since 1970.
        host, port, latency, chunk_delay: see `EmulatedServer`.
    """

    name = "ollama"

    def __init__(  # noqa: PLR0913 - each is a switch of its own
        self,
        *,
        models: Iterable[OllamaModel] = DEFAULT_MODELS,
        pullable: Iterable[OllamaModel] = (),
        version: str = "0.33.0",
        context_length: int = 4096,
        keep_alive: float = 300.0,
        on_gpu: bool = False,
        cloud: Cloud = "signed-out",
        signin_url: str | None = _SIGNIN_URL,
        thinking_levels: tuple[str, ...] = (),
        clock: Callable[[], int] = time.time_ns,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        chunk_delay: float = 0.0,
    ) -> None:
        super().__init__(host=host, port=port, latency=latency, chunk_delay=chunk_delay)
        installed = tuple(models)
        self.version = version
        self._since_0_30 = since_0_30 = tuple(map(int, version.split(".")[:2])) >= (0, 30)
        self._on_gpu = on_gpu
        self._cloud = cloud
        self._thinking_levels = thinking_levels
        keep = int(keep_alive * _SECOND) if keep_alive >= 0 else FOREVER
        self._store = Store(installed, clock=clock, num_ctx=context_length, keep=keep)
        self.pull_faults: list[OllamaPullFault] = []
        pullable = chain(DEFAULT_MODELS, installed, pullable)
        self._pulls = Pulls(self._store, pullable, self.pull_faults)
        self._runner = Runner(
            self._store,
            since_0_30=since_0_30,
            cloud=cloud,
            signin_url=signin_url,
            any_level=bool(thinking_levels),
        )
        self._embedder = Embedder(self._store, self._runner, since_0_30=since_0_30)
        self._openai = OpenAIRoutes(
            self._store, self._runner, self._embedder, since_0_30=since_0_30
        )
        self._routes = self._table()

    def _table(self) -> dict[str, dict[str, Handler]]:
        """The routes; methods in the order that `Allow` has them."""
        return {
            "/": {"HEAD": self._root, "GET": self._root},
            "/api/version": {"HEAD": self._version, "GET": self._version},
            "/api/tags": {"HEAD": self._tags, "GET": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/status": {"GET": self._status},
            "/api/show": {"POST": self._show},
            "/api/chat": {"POST": self._chat},
            "/api/generate": {"POST": self._generate},
            "/api/embed": {"POST": self._embed},
            "/api/embeddings": {"POST": self._embeddings},
            "/api/pull": {"POST": self._pull},
            "/api/copy": {"POST": self._copy},
            "/api/delete": {"DELETE": self._delete},
            "/v1/chat/completions": {"POST": self._openai.chat_completions},
            "/v1/completions": {"POST": self._openai.completions},
            "/v1/embeddings": {"POST": self._openai.embeddings},
            "/v1/models": {"GET": self._openai.models},
            _MODEL_PATH: {"GET": self._openai.model},
        }

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.path
        methods = self._routes.get(_route(path), {})
        shorter = self._routes.get(_route(path[:-1]), {}) if path.endswith("/") else {}
        if (clean := _cleaned(path)) != path:
            await _redirect(exchange, 307, clean)
        elif not methods and exchange.method in shorter:
            await _redirect(exchange, 301 if exchange.method == "GET" else 307, path[:-1])
        else:
            if methods and exchange.method not in methods:
                exchange.extra_headers["Allow"] = ", ".join(methods)
            exchange.extra_headers.update(cors_headers(exchange.method, exchange.headers))
            if status := early_status(exchange.method, exchange.headers):
                await exchange.reply(status, content_type=None)
            else:
                await _dispatch(exchange, methods)

    async def _root(self, exchange: Exchange) -> None:
        await exchange.reply(200, b"Ollama is running", content_type=_TEXT)

    async def _version(self, exchange: Exchange) -> None:
        await exchange.reply(200, to_json({"version": self.version}))

    async def _status(self, exchange: Exchange) -> None:
        disabled = self._cloud == "disabled"
        status = {"disabled": disabled, "source": "env" if disabled else "none"}
        await exchange.reply(200, to_json({"cloud": status}))

    async def _tags(self, exchange: Exchange) -> None:
        entries = [tags_entry(e, scanned=self._since_0_30) for e in self._store.listed()]
        await exchange.reply(200, to_json({"models": entries}))

    async def _ps(self, exchange: Exchange) -> None:
        entries = [ps_entry(run, on_gpu=self._on_gpu) for run in self._store.running()]
        await exchange.reply(200, to_json({"models": entries}))

    async def _show(self, exchange: Exchange) -> None:
        request = decode(exchange.body, ShowRequest)
        asked = request.model or request.name
        entry = self._shown(asked)
        copilot = exchange.headers.get("user-agent", "").startswith("GitHubCopilotChat/")
        body = show(
            entry,
            request,
            basename=asked if copilot else None,
            thinking_levels=self._thinking_levels,
        )
        await exchange.reply(200, to_json(body))

    def _shown(self, asked: str) -> Installed:
        reference = parse_reference(asked, when_empty=OllamaError(400, "model is required"))
        entry = self._store.find(stored_name(reference))
        if reference.source == "cloud" or (entry and entry.model.remote_model):
            self._runner.check_cloud_enabled("remote model details are", reference)
        if entry is None or (entry.model.remote_model and reference.source == "local"):
            named = reference.name.shortest if self._since_0_30 else reference.base
            raise OllamaError(404, f"model '{named}' not found")
        return entry

    async def _chat(self, exchange: Exchange) -> None:
        request = decode(exchange.body, ChatRequest)
        result = self._runner.chat(request)
        await native.reply(exchange, result, native.chat_object, stream=request.stream)

    async def _generate(self, exchange: Exchange) -> None:
        request = decode(exchange.body, GenerateRequest)
        result = self._runner.generate(request)
        await native.reply(exchange, result, native.generate_object, stream=request.stream)

    async def _embed(self, exchange: Exchange) -> None:
        request = decode(exchange.body, EmbedRequest)
        await exchange.reply(200, to_json(self._embedder.embed(request)))

    async def _embeddings(self, exchange: Exchange) -> None:
        request = decode(exchange.body, EmbeddingRequest)
        await exchange.reply(200, to_json(self._embedder.embeddings(request)))

    async def _pull(self, exchange: Exchange) -> None:
        request = decode(exchange.body, PullRequest)
        invalid = OllamaError(400, "invalid model name")
        reference = parse_reference(request.model or request.name, when_empty=invalid)
        events = self._pulls.run(stored_name(reference))
        try:
            if request.stream:
                await native.reply_lines(exchange, events)
                return
            *_, last = events
            await exchange.reply(200, to_json(last), content_type="application/json")
        except OllamaError as error:
            body = to_json(error.body)
            await exchange.reply(error.status, body, content_type="application/json")
        except PullBroken:
            pass  # an answer that is not finished closes the connection

    async def _copy(self, exchange: Exchange) -> None:
        request = decode(exchange.body, CopyRequest)
        source = _valid_name(request.source, "source")
        destination = _valid_name(request.destination, "destination")
        entry = self._store.find(source)
        if entry is None:
            raise OllamaError(404, f"model {quoted(request.source)} not found")
        self._store.add(msgspec.structs.replace(entry.model, name=destination.full))
        await exchange.reply(200, content_type=None)

    async def _delete(self, exchange: Exchange) -> None:
        request = decode(exchange.body, DeleteRequest)
        asked = request.model or request.name
        if asked.strip() and parse_name(asked.strip()) is None:
            raise OllamaError(400, f"name {quoted(asked)} is invalid")
        required = OllamaError(400, "model is required")
        if not self._store.remove(stored_name(parse_reference(asked, when_empty=required))):
            raise OllamaError(404, f"model '{asked}' not found")
        await exchange.reply(200, content_type=None)


async def _dispatch(exchange: Exchange, methods: Mapping[str, Handler]) -> None:
    handler = methods.get(exchange.method)
    if not methods:
        await exchange.reply(404, b"404 page not found", content_type="text/plain")
    elif handler is None:
        await exchange.reply(405, b"405 method not allowed", content_type="text/plain")
    else:
        await _answered(exchange, handler)


async def _answered(exchange: Exchange, handler: Handler) -> None:
    try:
        await handler(exchange)
    except OllamaError as error:
        if exchange.path.startswith("/v1/"):
            await reply_error(exchange, error)
        else:
            await exchange.reply(error.status, to_json(error.body))


def _route(path: str) -> str:
    name = path.removeprefix("/v1/models/")
    return _MODEL_PATH if name and name != path and "/" not in name else path


def _cleaned(path: str) -> str:
    """Return a path without doubled slashes and dots, as Go's router redirects to it."""
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


async def _redirect(exchange: Exchange, status: int, path: str) -> None:
    location = quote(path) + (f"?{exchange.query}" if exchange.query else "")
    headers = {"Location": location}
    if exchange.method in {"GET", "HEAD"}:
        page = f'<a href="{escape(location)}">{_MOVED[status]}</a>.\n\n'
        await exchange.reply(status, page.encode(), content_type=_HTML, headers=headers)
    else:
        await exchange.reply(status, content_type=None, headers=headers)


def _valid_name(text: str, role: str) -> Name:
    name = parse_name(text)
    if name is None:
        raise OllamaError(400, f"{role} {quoted(text)} is invalid")
    return name
