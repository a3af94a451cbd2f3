"""A provider is closed while it is being asked: that is told, and no server is blamed for it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from patinox.provider.errors import ProviderClosed
from patinox.provider.local.config import LMStudioConfig, LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.local.events import AttemptFinished, Event
from patinox.provider.local.llamacpp import LlamaCppProvider
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.service import ServiceProvider
from patinox.provider.types import CompletionRequest, EmbeddingRequest
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LlamaCppEmulator,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
)

ConfigFor = Callable[..., LocalProviderConfig]
LINE = b'{"model":"%s","message":{"role":"assistant","content":"Once"},"done":false}\n'
EVENT = (
    b'data: {"id":"1","model":"%s","choices":[{"index":0,"delta":{"content":"Once"},'
    b'"finish_reason":null}]}\n\n'
)
CHAT = CompletionRequest("llama3.2:3b", "Tell")
EMBED = EmbeddingRequest("nomic-embed-text", ["a text"])
KINDS: dict[str, tuple[type[EmulatedServer], type[ServiceProvider]]] = {
    "ollama": (OllamaEmulator, OllamaProvider),
    "lmstudio": (LMStudioEmulator, LMStudioProvider),
    "llamacpp": (LlamaCppEmulator, LlamaCppProvider),
}


class Watching:
    """Keeps how attempts ended."""

    def __init__(self) -> None:
        self.attempts: list[AttemptFinished] = []

    def observe(self, event: Event) -> None:
        if isinstance(event, AttemptFinished):
            self.attempts.append(event)


class Silent:
    """Begins each answer if it is to, and says no more, until it is hung up on."""

    def __init__(self, *paths: str, beginning: bytes | None = None) -> None:
        self.asked = asyncio.Event()
        self._paths = paths
        self._beginning = beginning

    async def __call__(self, exchange: Exchange) -> bool:
        if not exchange.path.startswith(self._paths):
            return False
        if self._beginning is not None:
            await exchange.start(200, content_type="application/octet-stream")
            await exchange.send(self._beginning)
        self.asked.set()
        return await exchange.hold()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("alone", [True, False])
async def test_it_is_told_in_an_answer_with_the_text_so_far(
    config_for: ConfigFor,
    kind: str,
    alone: bool,  # noqa: FBT001
) -> None:
    make_server, make_provider = KINDS[kind]
    watching = Watching()
    async with make_server() as server:
        provider = (
            make_provider(server.url, observers=[watching])
            if alone
            else LocalProvider(config_for(server), observers=[watching])
        )
        await provider.__aenter__()
        models = await provider.list_models()
        model = next(
            info.id for info in models if info.capabilities.supports_chat and not info.remote
        )
        said = (LINE if kind == "ollama" else EVENT) % model.encode()
        server.faults.append(Silent("/api/chat", "/v1/chat", beginning=said))
        async with provider.stream_completion(CompletionRequest(model, "Tell")) as stream:
            while not (await anext(stream)).text:
                pass
            going_on = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            await provider.__aexit__(None, None, None)
            with pytest.raises(StreamInterrupted) as caught:
                await going_on
    assert str(caught.value) == (
        "This provider was closed in the middle of the answer, after 4 characters."
    )
    assert isinstance(caught.value.__cause__, ProviderClosed)
    assert (caught.value.text, caught.value.delivered) == ("Once", True)
    assert [attempt.at_fault for attempt in watching.attempts] == [False]


ASKED: dict[str, tuple[str, Callable[[LocalProvider | OllamaProvider], Awaitable[object]]]] = {
    "a whole answer": ("/api/chat", lambda asked: asked.complete(CHAT)),
    "vectors": ("/api/embed", lambda asked: asked.embed(EMBED)),
    "a list": ("/api/tags", lambda asked: asked.list_models()),
    "a list before an answer": ("/api/tags", lambda asked: asked.complete(CHAT)),
    "an ability": ("/api/tags", lambda asked: asked.supports_model("llama3.2:3b")),
    "what is in memory": ("/api/ps", lambda asked: asked.running()),
    "a load": ("/api/chat", lambda asked: asked.ensure_loaded("llama3.2:3b")),
}


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("alone", [True, False])
async def test_it_is_told_wherever_a_server_is_waited_for(
    config_for: ConfigFor,
    what: str,
    alone: bool,  # noqa: FBT001
) -> None:
    path, ask = ASKED[what]
    watching = Watching()
    async with OllamaEmulator() as server:
        provider = (
            OllamaProvider(server.url, observers=[watching])
            if alone
            else LocalProvider(config_for(server), observers=[watching])
        )
        await provider.__aenter__()
        silent = Silent(path)
        server.faults.append(silent)
        asking = asyncio.ensure_future(ask(provider))
        await silent.asked.wait()
        await provider.__aexit__(None, None, None)
        with pytest.raises(ProviderClosed, match=r"^This provider was closed while"):
            await asking
    assert not any(attempt.at_fault for attempt in watching.attempts)


# Waits of our own, for no server.

LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'
BUSY = b'{"error":"server busy, please try again."}'


async def _ends_closed(waiting: asyncio.Task[object], local: LocalProvider) -> None:
    """Close the provider, and have what waits told so at once."""
    await local.__aexit__(None, None, None)
    async with asyncio.timeout(5):
        with pytest.raises(ProviderClosed):
            await waiting


@pytest.mark.parametrize("where", ["gate", "cold start"])
async def test_who_waits_behind_another_is_told(config_for: ConfigFor, where: str) -> None:
    gate = {"lmstudio": LMStudioConfig(max_in_flight=1)} if where == "gate" else {}
    loaded = 8192 if where == "gate" else None
    async with LMStudioEmulator([LMStudioModel(key="m", loaded_context_length=loaded)]) as server:
        local = await LocalProvider(config_for(server, **gate)).__aenter__()
        question = CompletionRequest("m", ["One two three"])
        async with local.stream_completion(question) as stream:
            await anext(stream)  # and is not read on
            waiting = asyncio.create_task(local.complete(question))
            provider = local.discovery.provider("lmstudio")
            async with asyncio.timeout(20):
                # There is no event to wait for.
                while not (provider.occupancy.waiting or provider.occupancy.in_flight == 2):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            await _ends_closed(waiting, local)
            with pytest.raises(ProviderClosed):
                await provider.complete(question)
        assert provider.occupancy.in_flight == 0


@pytest.mark.parametrize("why", [LOADING, BUSY], ids=["loading", "busy"])
async def test_who_waits_to_ask_again_is_told(config_for: ConfigFor, why: bytes) -> None:
    asked = asyncio.Event()

    async def later(exchange: Exchange) -> bool:
        if exchange.path == "/api/chat":
            await exchange.reply(503, why, headers={"Retry-After": "9"})
            asked.set()
        return exchange.path == "/api/chat"

    async with OllamaEmulator() as server:
        server.faults.append(later)
        local = await LocalProvider(config_for(server)).__aenter__()
        waiting = asyncio.create_task(local.complete(CHAT))
        await asked.wait()
        async with asyncio.timeout(20):
            while local.discovery.provider("ollama").occupancy.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await _ends_closed(waiting, local)
