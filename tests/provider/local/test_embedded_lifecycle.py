"""Models of the engine inside: loaded into a child and taken out of it; files stay as they are."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from patinox.provider.errors import CapabilityNotSupported, RateLimited
from patinox.provider.lifecycle import LoadedModel, Operation
from patinox.provider.local.config import EmbeddedConfig
from patinox.provider.local.embedded import EmbeddedProvider
from patinox.provider.types import CompletionRequest, TextDelta

MODEL = "patinox-tiny"


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedProvider]:
    async with EmbeddedProvider(config=EmbeddedConfig(context_length=512)) as provider:
        yield provider


@pytest.mark.engine
async def test_a_model_is_loaded_once_and_taken_out_once(embedded: EmbeddedProvider) -> None:
    loads = await asyncio.gather(*(embedded.ensure_loaded(MODEL, 512) for _ in range(3)))
    again = await embedded.ensure_loaded(MODEL, 4096)
    (there,) = await embedded.running()
    assert (await embedded.list_models())[0].loaded
    assert await embedded.unload(MODEL)
    assert not (await embedded.list_models())[0].loaded
    assert not await embedded.unload(MODEL)
    assert await embedded.running() == []

    assert len(set(loads)) == 1
    assert (loads[0].context_length, loads[0].already, loads[0].fits) == (512, False, True)
    assert loads[0].load_seconds > 0
    assert again == LoadedModel(
        model=MODEL,
        service="embedded",
        context_length=512,
        asked_context_length=4096,
        already=True,
    )
    assert again.fits is False
    assert (there.model, there.context_length, there.size_bytes) == (MODEL, 512, None)
    assert there.expires_at is not None
    assert 290 < there.expires_at - datetime.now(tz=UTC).timestamp() <= 300


@pytest.mark.engine
async def test_loading_it_anew_makes_another_child(embedded: EmbeddedProvider) -> None:
    await embedded.ensure_loaded(MODEL)
    file = embedded._files[MODEL]  # noqa: SLF001 - a child can be told by its process alone
    before = (await embedded.pool.acquire(file)).pid
    loaded = await embedded.load(MODEL)
    after = (await embedded.pool.acquire(file)).pid
    assert (loaded.already, loaded.context_length) == (False, 512)
    assert before != after


@pytest.mark.engine
async def test_one_that_is_answering_is_not_taken_out(embedded: EmbeddedProvider) -> None:
    request = CompletionRequest(MODEL, ["What is 3 + 4?"], max_tokens=32)
    async with embedded.stream_completion(request) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        (there,) = await embedded.running()
        with pytest.raises(RateLimited, match="in use"):
            await embedded.unload(MODEL)
    assert there.expires_at is None
    assert await embedded.unload(MODEL)


async def test_what_it_cannot_do_is_refused_with_what_to_do(embedded: EmbeddedProvider) -> None:
    refused = {Operation.PULL: ".gguf", Operation.DELETE: "rm", Operation.COPY: "cp"}
    for operation in Operation:
        error = await embedded.refused(operation)
        assert (error is None) == (operation not in refused)
        assert error is None or refused[operation] in str(error)
    with pytest.raises(CapabilityNotSupported, match=r"embedded\.context_length"):
        await embedded.load(MODEL, 4096)
    with pytest.raises(CapabilityNotSupported, match=r"embedded\.idle_seconds"):
        await embedded.ensure_loaded(MODEL, keep_alive=60)
