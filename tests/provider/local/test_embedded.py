"""The engine inside: files as models, each loaded when it is first asked for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.embedded import EngineError, LocalModelFile, demo_model
from patinox.provider.errors import ProviderError, RateLimited
from patinox.provider.local.config import (
    DiscoveryConfig,
    EmbeddedConfig,
    EndpointConfig,
    LocalProviderConfig,
    ServiceConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.embedded import EmbeddedProvider
from patinox.provider.local.errors import ModelNotFound, ServiceError
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    Source,
    TextDelta,
)
from patinox.testing import OllamaEmulator, OllamaModel

pytestmark = pytest.mark.engine

DEMO = demo_model()
MODEL = "patinox-tiny"
QUESTION = CompletionRequest(MODEL, ["What is 3 + 4?"], temperature=0.0, max_tokens=32)


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedProvider]:
    async with EmbeddedProvider(config=EmbeddedConfig(context_length=512)) as provider:
        yield provider


async def test_a_model_is_a_file_until_it_is_asked_for(embedded: EmbeddedProvider) -> None:
    (info,) = await embedded.list_models()
    assert (info.id, info.loaded, info.loaded_context_length) == (MODEL, False, None)
    assert (info.demo, info.owned_by, info.context_length) == (True, "bundled", 2048)
    assert info.sources["context_length"] is Source.MODEL_FILE
    told = info.capabilities
    assert (told.supports_chat, told.supports_embeddings, told.supports_vision) == (
        True,
        True,
        False,
    )
    assert set(told.sources.values()) == {Source.MODEL_FILE}
    assert embedded.address == "inside Patinox"

    response = await embedded.complete(QUESTION)
    assert (response.text, response.service, response.model) == ("3 + 4 = 7.", "embedded", MODEL)
    survey = await embedded.survey()
    assert survey.loaded == (MODEL,)
    (info,) = await embedded.list_models()
    assert (info.loaded, info.loaded_context_length) == (True, 512)


async def test_one_engine_answers_chats_and_embeddings(embedded: EmbeddedProvider) -> None:
    await embedded.complete(QUESTION)
    engine = await embedded.pool.acquire(DEMO)
    vectors = await embedded.embed(EmbeddingRequest(MODEL, ["a", "b"]))
    assert (len(vectors.embeddings), vectors.embeddings.dimensions) == (2, 128)
    assert await embedded.pool.acquire(DEMO) is engine


async def test_leaving_stops_the_engine_even_in_the_middle() -> None:
    provider = EmbeddedProvider(config=EmbeddedConfig(context_length=512))
    async with provider:
        async with provider.stream_completion(QUESTION) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        engine = await provider.pool.acquire(DEMO)
    async with asyncio.timeout(2):
        await engine.wait_closed()
    assert not engine.alive


async def test_closing_without_a_start_starts_nothing() -> None:
    provider = EmbeddedProvider()
    await provider.aclose()
    assert provider.settings == EmbeddedConfig()
    assert EmbeddedProvider(config=ServiceConfig()).settings == EmbeddedConfig()


async def test_a_broken_file_is_left_out_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    (tmp_path / "good.gguf").write_bytes(DEMO.path.read_bytes())
    config = EmbeddedConfig(model_paths=(tmp_path,))
    async with EmbeddedProvider(config=config) as provider:
        names = [info.id for info in await provider.list_models()]
        assert names == ["good", MODEL]
        with pytest.raises(ModelNotFound, match="No model 'broken'"):
            await provider.complete(CompletionRequest("broken", ["Hello"]))


async def test_a_file_that_cannot_be_loaded_is_the_engines_failure(tmp_path: Path) -> None:
    data = DEMO.path.read_bytes()
    (tmp_path / "hollow.gguf").write_bytes(data.replace(b"blk.0.attn_q", b"blk.0.attn_z"))
    config = EmbeddedConfig(model_paths=(tmp_path,))
    async with EmbeddedProvider(config=config) as provider:
        with pytest.raises(ServiceError, match="'hollow' cannot be loaded") as caught:
            await provider.complete(CompletionRequest("hollow", ["Hello"]))
        assert caught.value.service == "embedded"
        assert caught.value.retryable
        assert isinstance(caught.value.__cause__, EngineError)


async def test_what_ollama_keeps_beside_a_file_goes_with_a_request() -> None:
    told: dict[str, Any] = {"system": "You add.", "parameters": {"num_predict": 2, "mirostat": 1}}
    beside = replace(DEMO, **told)

    class Beside(EmbeddedProvider):
        def find_files(self) -> tuple[LocalModelFile, ...]:
            return (beside,)

    async with Beside(config=EmbeddedConfig(context_length=512)) as provider:
        (info,) = await provider.list_models()
        asked = provider.adapt(CompletionRequest(MODEL, ["What is 3 + 4?"]), info)
        assert [turn.role for turn in asked.messages] == ["system", "user"]
        assert "mirostat" not in asked.options
        own = [CompletionMessage.system("Mine."), CompletionMessage.user("Hello")]
        assert provider.adapt(CompletionRequest(MODEL, own), info).messages == tuple(own)
        short = await provider.complete(CompletionRequest(MODEL, ["What is 3 + 4?"]))
        assert (short.usage.completion_tokens, short.finish_reason) == (2, "length")

    settings = EmbeddedConfig(context_length=512, custom_params={"max_tokens": 3})
    async with Beside(config=settings) as provider:
        settled = await provider.complete(CompletionRequest(MODEL, ["What is 3 + 4?"]))
        assert settled.usage.completion_tokens == 3


async def test_no_room_for_another_engine_is_being_busy(tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(DEMO.path.read_bytes())
    config = EmbeddedConfig(model_paths=(tmp_path,), limit=1, context_length=512)
    async with EmbeddedProvider(config=config) as provider:
        await provider.list_models()
        provider.pool._wait_seconds = 0.05  # noqa: SLF001 - a minute is long for a test
        async with provider.pool.lease(DEMO):
            with pytest.raises(RateLimited, match="no room for another engine"):
                await provider.complete(CompletionRequest("other", ["Hello"]))


async def test_the_demo_model_is_the_last_choice() -> None:
    every = DiscoveryConfig(enabled_services=("ollama", "embedded"))
    async with OllamaEmulator(models=[OllamaModel(name="large", size=10**12)]) as ollama:
        config = LocalProviderConfig(
            discovery_config=every,
            endpoints=(EndpointConfig.parse(ollama.url),),
            auto_discover=False,
            monitor=False,
        )
        async with LocalProvider(config) as local:
            info, _ = await local.default_model()
            assert info.id == "large:latest"
            assert (await local.complete(QUESTION)).service == "embedded"
        alone = LocalProviderConfig(
            discovery_config=DiscoveryConfig(enabled_services=("embedded",)), monitor=False
        )
        async with LocalProvider(alone) as local:
            info, why = await local.default_model()
            assert (info.id, why) == (MODEL, "only the demo model is here")


async def test_it_is_called_in_for_a_model_that_no_server_has() -> None:
    async with OllamaEmulator(models=()) as ollama:
        config = LocalProviderConfig(
            endpoints=(EndpointConfig.parse(ollama.url),), auto_discover=False, monitor=False
        )
        async with LocalProvider(config) as local:
            assert local.available_services() == ["ollama"]
            assert (await local.complete(QUESTION)).text == "3 + 4 = 7."
            assert local.available_services() == ["ollama", "embedded"]


async def test_the_request_after_a_crash_gets_an_engine_that_lives(
    embedded: EmbeddedProvider,
) -> None:
    await embedded.complete(QUESTION)
    engine = await embedded.pool.acquire(DEMO)
    os.kill(engine.pid, signal.SIGKILL)
    assert (await embedded.complete(QUESTION)).text == "3 + 4 = 7."
    engine = await embedded.pool.acquire(DEMO)
    os.kill(engine.pid, signal.SIGKILL)
    assert len((await embedded.embed(EmbeddingRequest(MODEL, ["a"]))).embeddings) == 1


async def test_an_engine_that_is_busy_is_not_taken_for_dead(
    embedded: EmbeddedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patinox.provider.local.embedded._SIGN_OF_LIFE", 0.05)
    await embedded.complete(QUESTION)
    engine = await embedded.pool.acquire(DEMO)
    os.kill(engine.pid, signal.SIGSTOP)
    (info,) = await embedded.list_models()
    async with embedded.target(info) as target:
        assert str(target.endpoint) == engine.url
    os.kill(engine.pid, signal.SIGCONT)
    assert await embedded.pool.acquire(DEMO) is engine


async def test_closed_while_the_model_loads_is_said_and_nothing_is_started_later() -> None:
    provider = EmbeddedProvider(config=EmbeddedConfig(context_length=512))
    (info,) = await provider.list_models()
    asked = asyncio.create_task(provider.complete(QUESTION))
    while not provider.pool._changing.locked():  # noqa: ASYNC110, SLF001 - it starts an engine
        await asyncio.sleep(0)
    await provider.aclose()
    with pytest.raises(ProviderError, match="closed"):
        await asked
    with pytest.raises(ProviderError, match="closed"):
        async with provider.target(info):
            pytest.fail("there must be no engine")
