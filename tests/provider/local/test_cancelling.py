"""A request is cancelled at each place where it waits, one after the other.

Whatever it waited for: the server is hung up on, no place stays taken, no task goes on, and the
next request works.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any

import pytest

from patinox.provider.base import CompletionStream
from patinox.provider.errors import RateLimited
from patinox.provider.local.config import LMStudioConfig, LocalProviderConfig, OllamaConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import ServiceTimeout
from patinox.provider.local.types import Occupancy
from patinox.provider.types import CompletionRequest, EmbeddingRequest
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
)

ConfigFor = Callable[..., LocalProviderConfig]
MODEL = "talker:1b"
CHAT = CompletionRequest(MODEL, ["Count."])
EMBED = EmbeddingRequest(MODEL, ["a text"])
ANSWER = "One two three four."
# More places to wait than any of these requests has, and fewer.
ENOUGH, FEW = 400, 1
# Turns of the loop in which a hang-up reaches a server in the same loop.
TURNS = 100
# In the `repr` of a task of the library.
OURS = "patinox/provider"


class Cancelling(Coroutine[Any, Any, Any]):
    """A coroutine whose task is cancelled when it waits for the `at`th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], *, at: int) -> None:
        self.work = work
        self.at = at
        self.waits = 0

    def send(self, value: object, /) -> object:
        awaited = self.work.send(value)
        self.waits += 1
        if self.waits == self.at:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return awaited

    def throw(self, *error: Any) -> object:  # noqa: ANN401 - as its three overloads have it
        return self.work.throw(*error)

    def close(self) -> None:
        self.work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.work.__await__()


async def whole(local: LocalProvider) -> None:
    assert (await local.complete(CHAT)).text == ANSWER


async def streamed(local: LocalProvider) -> None:
    async with local.stream_completion(CHAT) as stream:
        async for _ in stream:
            await asyncio.sleep(0)
    assert stream.text == ANSWER


async def embedded(local: LocalProvider) -> None:
    assert len((await local.embed(EMBED)).embeddings) == 1


class Working(EmulatedServer):
    """A server that knows how many requests it is working on."""

    working = 0

    async def handle(self, exchange: Exchange) -> None:
        self.working += 1
        try:
            await super().handle(exchange)
        finally:
            self.working -= 1

    async def rests(self) -> bool:
        """Wait a few turns of the loop, and no time, until nothing is being worked on."""
        for _ in range(TURNS):
            if not self.working:
                return True
            await asyncio.sleep(0)
        return False


class Server(Working, OllamaEmulator):
    """An Ollama."""


class Studio(Working, LMStudioEmulator):
    """An LM Studio."""


async def begins(stream: CompletionStream) -> None:
    """Wait for the first text."""
    while not (await anext(stream)).text:
        pass


def model() -> OllamaModel:
    return OllamaModel(name=MODEL, reply=ANSWER, capabilities=("completion", "embedding"))


Call = Callable[[LocalProvider], Coroutine[Any, Any, None]]


async def cancelled_at_each_wait(call: Call, local: LocalProvider) -> AsyncGenerator[int]:
    """Cancel a call at its first wait, then at its second, and so on, until it comes to its end."""
    for at in range(1, ENOUGH):
        task = asyncio.create_task(Cancelling(call(local), at=at))
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
            assert at > FEW
            return
        yield at
    pytest.fail("it waits more often than it can")


@pytest.mark.parametrize("ttl", [60.0, 0.0], ids=["listed", "unlisted"])
@pytest.mark.parametrize("call", [whole, streamed, embedded])
async def test_wherever_a_request_is_cancelled_nothing_of_it_stays(
    call: Call, ttl: float, config_for: ConfigFor
) -> None:
    settings = OllamaConfig(max_in_flight=1, cache_ttl=ttl)
    async with (
        Server(models=[model()], chunk_delay=0.001) as server,
        LocalProvider(config_for(server, ollama=settings)) as local,
    ):
        await call(local)
        async for at in cancelled_at_each_wait(call, local):
            assert local.occupancy() == {"ollama": Occupancy(limit=1)}
            assert await server.rests(), f"it goes on after the wait number {at}"
            assert all(info.breaker.trial_until is None for info in local.services)
            await call(local)
        assert server.client_gone
        assert not [task for task in asyncio.all_tasks() if OURS in repr(task)]


@pytest.mark.parametrize("loaded", [True, False], ids=["in memory", "on disk"])
@pytest.mark.parametrize("call", [whole, streamed])
async def test_wherever_a_request_to_lm_studio_is_cancelled_nothing_of_it_stays(
    call: Call,
    *,
    loaded: bool,
    config_for: ConfigFor,
) -> None:
    settings = LMStudioConfig(max_in_flight=1, cache_ttl=0.0)
    model = LMStudioModel(key=MODEL, reply=ANSWER, loaded_context_length=4096 if loaded else None)
    async with (
        Studio([model], chunk_delay=0.001) as server,
        LocalProvider(config_for(server, lmstudio=settings)) as local,
    ):
        async for at in cancelled_at_each_wait(call, local):
            assert local.occupancy() == {"lmstudio": Occupancy(limit=1)}
            assert await server.rests(), f"it goes on after the wait number {at}"
            assert not local.discovery.provider("lmstudio").cold.loading
            if not loaded:
                for name in server.loaded:
                    server._studio.unload(name)  # noqa: SLF001 - as its user would
        assert not [task for task in asyncio.all_tasks() if OURS in repr(task)]


async def test_a_stream_that_is_left_hangs_up_at_once_and_gives_its_place_back(
    config_for: ConfigFor,
) -> None:
    settings = OllamaConfig(max_in_flight=1)
    async with (
        Server(models=[model()], chunk_delay=60.0) as server,
        LocalProvider(config_for(server, ollama=settings)) as local,
    ):
        async with local.stream_completion(CHAT) as stream:
            await begins(stream)
            assert local.occupancy()["ollama"].in_flight == 1
        assert await server.rests()
        assert local.occupancy()["ollama"].in_flight == 0


async def test_a_stream_that_is_dropped_hangs_up_and_says_so(config_for: ConfigFor) -> None:
    settings = OllamaConfig(max_in_flight=1)
    async with (
        Server(models=[model()], chunk_delay=60.0) as server,
        LocalProvider(config_for(server, ollama=settings)) as local,
    ):
        stream = local.stream_completion(CHAT)
        await stream.__aenter__()
        await begins(stream)
        held = [stream]
        del stream
        with pytest.warns(ResourceWarning, match="was dropped without being left"):
            held.clear()
        assert await server.rests()
        assert local.occupancy()["ollama"].in_flight == 0


async def test_who_waits_for_a_place_may_leave(config_for: ConfigFor) -> None:
    settings = OllamaConfig(max_in_flight=1, max_waiting=1)
    async with (
        Server(models=[model()], chunk_delay=60.0) as server,
        LocalProvider(config_for(server, ollama=settings)) as local,
    ):
        async with local.stream_completion(CHAT) as stream:
            await begins(stream)
            waiting = asyncio.create_task(local.complete(CHAT))
            async with asyncio.timeout(5):
                while not local.occupancy()["ollama"].waiting:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0)
            with pytest.raises(RateLimited, match="1 wait already"):
                await local.complete(CHAT)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert local.occupancy()["ollama"].waiting == 0
            with pytest.raises(ServiceTimeout) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."], timeout=0.05))
            assert caught.value.phase == "total"
        assert len([seen for seen in server.requests if seen.path == "/api/chat"]) == 1
