"""The services that every behaviour is shown of: emulators, and the real engine of llama.cpp."""

import importlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from patinox.embedded import Engine, demo_model
from patinox.provider.local.config import (
    DiscoveryConfig,
    EndpointConfig,
    LocalProviderConfig,
    ServiceConfig,
)
from patinox.provider.secret import Secret
from patinox.testing import EmulatedServer, LlamaCppEmulator, LMStudioEmulator, OllamaEmulator
from patinox.testing.llamacpp.models import DEFAULT_MODELS as LLAMACPP_MODELS
from patinox.testing.lmstudio.models import DEFAULT_MODELS as LMSTUDIO_MODELS
from patinox.testing.ollama.models import DEFAULT_MODELS as OLLAMA_MODELS

pytest.register_assert_rewrite("behaviours", "beyond_text", "by_feature")
sys.path.insert(0, str(Path(__file__).parent))
behaviours: Any = importlib.import_module("behaviours")
beyond_text: Any = importlib.import_module("beyond_text")
by_feature: Any = importlib.import_module("by_feature")
models: Any = importlib.import_module("models")
sys.path.pop(0)

DEMO = demo_model()


def _config(url: str, kind: str, **fields: Any) -> LocalProviderConfig:  # noqa: ANN401
    return LocalProviderConfig(
        discovery_config=DiscoveryConfig(
            enabled_services=("ollama", "lmstudio", "llamacpp"), discovery_timeout=20.0
        ),
        endpoints=(EndpointConfig.parse(url, service=kind),),
        auto_discover=False,
        **fields,
    )


def in_memory(server: OllamaEmulator) -> list[str]:
    return [run.model.name for run in server._store.running()]  # noqa: SLF001 - it is its only sign


def answers_asked_of(server: EmulatedServer) -> int:
    ends = ("/chat", "/generate", "/completions", "/infill")
    return sum(seen.path.endswith(ends) for seen in server.requests)


@asynccontextmanager
async def _ollama(version: str) -> AsyncGenerator[Any]:
    installed = (*OLLAMA_MODELS, *models.OLLAMA)
    async with OllamaEmulator(models=installed, version=version, chunk_delay=0.01) as server:
        yield behaviours.Subject(
            kind="ollama",
            config=_config(server.url, "ollama"),
            model="llama3.2:3b",
            embedder="nomic-embed-text:latest",
            # Before 0.30 every model makes vectors.
            only_chats="llama3.2:3b" if version.startswith("0.33") else None,
            only_embeds="nomic-embed-text:latest",
            callers=("caller:rendered", "caller:native"),
            completer="llama3.2:3b",
            prober="llama3.2:3b",
            filler="filler:1",
            thinker="qwen3:4b",
            seer="seer:1",
            asked=lambda: answers_asked_of(server),
            changes=lambda: in_memory(server),
            hung_up=lambda: server.client_gone,
        )


@asynccontextmanager
async def _lmstudio(generation: str) -> AsyncGenerator[Any]:
    there = (*LMSTUDIO_MODELS, *models.LMSTUDIO)
    async with LMStudioEmulator(there, generation=generation, chunk_delay=0.01) as server:  # type: ignore[arg-type]
        yield behaviours.Subject(
            kind="lmstudio",
            config=_config(server.url, "lmstudio"),
            model="qwen/qwen3-4b-2507",
            embedder="text-embedding-nomic-embed-text-v1.5",
            only_chats="qwen/qwen3-4b-2507",
            only_embeds="text-embedding-nomic-embed-text-v1.5",
            callers=("caller",),
            completer="qwen/qwen3-4b-2507",
            thinker="thinker",
            seer="seer",
            asked=lambda: answers_asked_of(server),
            changes=lambda: server.loaded,
            hung_up=lambda: server.client_gone,
        )


@asynccontextmanager
async def _llamacpp() -> AsyncGenerator[Any]:
    async with await Engine.start(DEMO, context_length=512) as engine:
        key = ServiceConfig(api_key=Secret(engine.api_key))
        yield behaviours.Subject(
            kind="llamacpp",
            config=_config(engine.url, "llamacpp", llamacpp=key),
            model="patinox-tiny",
            embedder="patinox-tiny",
            callers=("patinox-tiny",),
            completer="patinox-tiny",
            prober="patinox-tiny",
        )


@asynccontextmanager
async def _router() -> AsyncGenerator[Any]:
    there = (*LLAMACPP_MODELS, *models.LLAMACPP)
    async with LlamaCppEmulator(there, chunk_delay=0.01) as server:
        yield behaviours.Subject(
            kind="llamacpp",
            config=_config(server.url, "llamacpp"),
            model="qwen3-0.6b",
            completer="qwen3-0.6b",
            filler="filler",
            asked=lambda: answers_asked_of(server),
            changes=lambda: server.loaded,
            hung_up=lambda: server.client_gone,
        )


@asynccontextmanager
async def _embedded() -> AsyncGenerator[Any]:
    enabled = DiscoveryConfig(enabled_services=("embedded",))
    yield behaviours.Subject(
        kind="embedded",
        config=LocalProviderConfig(discovery_config=enabled),
        model="patinox-tiny",
        embedder="patinox-tiny",
    )


SERVICES: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "ollama 0.24": lambda: _ollama("0.24.0"),
    "ollama 0.33": lambda: _ollama("0.33.0"),
    "lmstudio 0.3": lambda: _lmstudio("0.3"),
    "lmstudio 0.4": lambda: _lmstudio("0.4"),
    "llamacpp": _llamacpp,
    "llamacpp router": _router,
    "embedded": _embedded,
}
REAL = {"llamacpp", "embedded"}


@pytest.fixture(
    params=[
        pytest.param(make, id=name, marks=[pytest.mark.engine] if name in REAL else [])
        for name, make in SERVICES.items()
    ]
)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with request.param() as found:
        yield found


@pytest.fixture(
    params=behaviours.BEHAVIOURS + beyond_text.BEHAVIOURS + by_feature.BEHAVIOURS,
    ids=lambda behaviour: str(behaviour.__name__),
)
def behaviour(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401
    return request.param


@pytest.fixture
def kinds_shown() -> set[str]:
    return {name.split()[0] for name in SERVICES}
