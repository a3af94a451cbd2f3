"""llama.cpp's models: a router loads and unloads them, a server with one model keeps it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest
from patinox.provider.lifecycle import LoadedModel, Operation, RunningModel
from patinox.provider.local.config import Deadlines, ServiceConfig
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ServiceError,
    ServiceTimeout,
)
from patinox.provider.local.llamacpp import LlamaCppProvider
from patinox.provider.local.llamacpp_lifecycle import Progress
from patinox.provider.types import CompletionRequest, LoadProgress
from patinox.testing import EmulatedServer, Exchange, LlamaCppEmulator, LlamaCppModel

OWL = LlamaCppModel(id="acme/owl-GGUF:Q4_K_M", aliases=("owl",), context_length=8192)
WREN = LlamaCppModel(id="wren", loaded=True)
BAD = LlamaCppModel(id="bad", exit_code=9)
IMPATIENT = ServiceConfig(deadlines=Deadlines(first_token=3.0))


def orders(server: EmulatedServer) -> list[tuple[str, Any]]:
    """What was sent that changes something."""
    return [
        (seen.path, seen.json)
        for seen in server.requests
        if seen.method == "POST" and seen.path != "/v1/embeddings"
    ]


@pytest.fixture
def passing(clock: Any) -> Callable[[float], Any]:  # noqa: ANN401 - a `Clock` of conftest.py
    """Let time pass instead of waiting."""

    async def pause(seconds: float) -> None:
        clock.passes(seconds)

    return pause


# A router.


async def test_a_router_loads_a_model_and_it_is_waited_for(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([OWL, WREN], load_seconds=3.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = passing
        loaded = await llama.ensure_loaded("owl", 4096)
        models = {info.id: info for info in await llama.list_models()}
        again = await llama.ensure_loaded("owl", 16384)

    assert loaded == LoadedModel(
        model=OWL.id,
        service="llamacpp",
        context_length=8192,
        asked_context_length=4096,
        load_seconds=3.0,
    )
    assert (again.already, again.fits) == (True, False)
    assert models[OWL.id].loaded
    assert models[OWL.id].loaded_context_length == 8192
    assert orders(server) == [("/models/load", {"model": OWL.id})]


async def test_a_load_that_is_under_way_is_waited_for(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([OWL], load_seconds=3.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
        LlamaCppProvider(server.url, clock=clock) as other,
    ):
        llama.pause = other.pause = passing
        loads = await asyncio.gather(llama.ensure_loaded("owl"), other.ensure_loaded("owl"))
        assert server.loaded == (OWL.id,)

    assert {each.context_length for each in loads} == {8192}


async def test_loading_it_anew_takes_it_out_first() -> None:
    async with LlamaCppEmulator([WREN]) as server, LlamaCppProvider(server.url) as llama:
        loaded = await llama.load("wren")

    assert (loaded.already, loaded.context_length) == (False, 4096)
    assert [path for path, _ in orders(server)] == ["/models/unload", "/models/load"]


async def test_a_load_that_fails_says_with_which_code(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([BAD], load_seconds=1.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = passing
        with pytest.raises(ServiceError, match=r"could not load 'bad' \(exit code 9\)") as caught:
            await llama.ensure_loaded("bad")
    assert caught.value.service == "llamacpp"


async def test_one_that_is_unloaded_while_it_loads_is_not_waited_for(
    clock: Any,  # noqa: ANN401
) -> None:
    async with (
        LlamaCppEmulator([OWL], load_seconds=60.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
        LlamaCppProvider(server.url, clock=clock) as other,
    ):

        async def pause(seconds: float) -> None:
            clock.passes(seconds)
            await other.unload("owl")

        llama.pause = pause
        with pytest.raises(ServiceError, match="could not load"):
            await llama.ensure_loaded("owl")


async def test_a_load_that_makes_no_progress_is_given_up(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([OWL], load_seconds=1.0) as server,
        LlamaCppProvider(server.url, IMPATIENT, clock=clock) as llama,
    ):

        async def stuck(exchange: Exchange) -> bool:
            if exchange.path != "/models/load":
                return False
            await exchange.reply(200, b'{"success":true}')  # and nothing is done
            return True

        server.faults.append(stuck)
        llama.pause = passing
        with pytest.raises(ServiceTimeout, match="stays unloaded") as caught:
            await llama.ensure_loaded("owl")
    assert (caught.value.phase, caught.value.seconds) == ("first_token", 3.0)


async def test_progress_that_goes_up_and_down_buys_no_time(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    looks = 0

    async def flips(exchange: Exchange) -> bool:
        nonlocal looks
        if exchange.path != "/v1/models":
            return False
        looks += 1
        assert looks < 200, "it still waits"
        progress = b'{"stages":["a"],"current":"a","value":0.%d}' % (looks % 2 + 1)
        status = b'{"value":"loading","progress":%s}' % progress
        await exchange.reply(200, b'{"data":[{"id":"acme/owl-GGUF:Q4_K_M","status":%s}]}' % status)
        return True

    async with (
        LlamaCppEmulator([OWL], load_seconds=1.0) as server,
        LlamaCppProvider(server.url, IMPATIENT, clock=clock) as llama,
    ):
        await llama.list_models()  # so that it is known for a router
        server.faults.append(flips)
        llama.pause = passing
        with pytest.raises(ServiceTimeout, match="stays loading"):
            await llama.ensure_loaded("owl")


async def test_a_load_with_progress_may_take_longer_than_that(
    clock: Any,  # noqa: ANN401
) -> None:
    async def pause(_: float) -> None:
        clock.passes(100.0)

    async with (
        LlamaCppEmulator([OWL], load_seconds=1000.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = pause
        assert (await llama.ensure_loaded("owl")).load_seconds == 1000.0


async def test_a_request_waits_for_a_load_with_progress_longer_than_for_its_first_output(
    clock: Any,  # noqa: ANN401
) -> None:
    async def pause(_: float) -> None:
        clock.passes(100.0)

    async with (
        LlamaCppEmulator([OWL], load_seconds=1000.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = pause
        assert (await llama.complete(CompletionRequest("owl", ["Who?"]))).text
        assert clock.now >= 2000.0


async def test_how_far_a_load_is_can_be_asked(
    clock: Any,  # noqa: ANN401
) -> None:
    told = list[float | None]()

    async with (
        LlamaCppEmulator([OWL, WREN], load_seconds=4.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):

        async def pause(_: float) -> None:
            clock.passes(1.0)
            told.append(await llama.load_progress("owl"))

        llama.pause = pause
        await llama.ensure_loaded("owl")
        assert await llama.load_progress("wren") is None

    assert told == [0.25, 0.5, 0.75, None]


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [
        (Progress(), None),
        (Progress(value=0.5), 0.5),
        (Progress(stages=["a", "b"], current="a", value=0.5), 0.25),
        (Progress(stages=["a", "b"], current="b", value=0.5), 0.75),
        (Progress(stages=["a", "b"], current="c", value=7.0), 1.0),
    ],
)
def test_progress_counts_all_stages(progress: Progress, fraction: float | None) -> None:
    assert progress.fraction == fraction


async def test_a_router_unloads_once() -> None:
    async with LlamaCppEmulator([WREN, OWL]) as server, LlamaCppProvider(server.url) as llama:
        assert await llama.running() == [
            RunningModel(model="wren", service="llamacpp", context_length=4096)
        ]
        assert await llama.unload("wren")
        assert not await llama.unload("wren")
        assert await llama.running() == []

    assert orders(server) == [("/models/unload", {"model": "wren"})]


async def test_a_refused_load_says_why() -> None:
    async def refuse(exchange: Exchange) -> bool:
        if exchange.path != "/models/load":
            return False
        await exchange.reply(
            400, b'{"error":{"code":400,"message":"no room","type":"invalid_request_error"}}'
        )
        return True

    async with LlamaCppEmulator([OWL]) as server, LlamaCppProvider(server.url) as llama:
        server.faults.append(refuse)
        with pytest.raises(InvalidRequest, match="no room"):
            await llama.ensure_loaded("owl")


async def test_a_model_that_leaves_the_list_is_not_waited_for() -> None:
    async with LlamaCppEmulator([OWL]) as server, LlamaCppProvider(server.url) as llama:

        async def gone(exchange: Exchange) -> bool:
            if exchange.path != "/v1/models":
                return False
            await exchange.reply(200, b'{"data":[]}')
            return True

        async def load(exchange: Exchange) -> bool:
            if exchange.path == "/models/load":
                server.faults.append(gone)
            return False

        server.faults.append(load)
        with pytest.raises(ModelNotFound, match="any more"):
            await llama.ensure_loaded("owl")


async def test_what_a_router_loaded_answers() -> None:
    async with LlamaCppEmulator([OWL]) as server, LlamaCppProvider(server.url) as llama:
        await llama.ensure_loaded("owl")
        answer = await llama.complete(CompletionRequest("owl", ["Hello"]))
    assert answer.text == "You said: Hello"
    assert answer.usage.prompt_tokens == 1


async def test_what_a_router_cannot_do_is_refused() -> None:
    refused = {
        Operation.PULL: "llama-server -hf",
        Operation.DELETE: "Delete the file yourself",
        Operation.COPY: "--alias",
    }
    async with LlamaCppEmulator([OWL]) as server, LlamaCppProvider(server.url) as llama:
        for operation in Operation:
            error = await llama.refused(operation)
            assert (error is None) == (operation not in refused)
            assert error is None or refused[operation] in str(error)
        with pytest.raises(CapabilityNotSupported, match=r"decided when it starts.*-c TOKENS"):
            await llama.load("owl", 4096)
        with pytest.raises(CapabilityNotSupported, match="sleep-idle-seconds"):
            await llama.ensure_loaded("owl", keep_alive=60)
    assert orders(server) == []


# One model.


async def test_one_model_is_there_and_is_neither_loaded_nor_unloaded() -> None:
    async with (
        LlamaCppEmulator([OWL], router=False) as server,
        LlamaCppProvider(server.url) as llama,
    ):
        loaded = await llama.ensure_loaded("owl", 8192)
        running = await llama.running()
        for act in (llama.load, llama.unload):
            with pytest.raises(CapabilityNotSupported, match="with one model"):
                await act("owl")
        assert await llama.load_progress("owl") is None

    assert (loaded.already, loaded.context_length, loaded.fits) == (True, 8192, True)
    assert [item.model for item in running] == [OWL.id]
    assert orders(server) == []


async def test_one_that_sleeps_is_woken() -> None:
    async with (
        LlamaCppEmulator([OWL], router=False, sleeping=True) as server,
        LlamaCppProvider(server.url) as llama,
    ):
        assert await llama.running() == []
        loaded = await llama.ensure_loaded("owl")
        again = await llama.ensure_loaded("owl")

    assert (loaded.already, loaded.context_length, again.already) == (False, 8192, True)
    assert orders(server) == [("/tokenize", {"content": ""})]


async def test_one_that_is_still_loading_says_so(
    clock: Any,  # noqa: ANN401
) -> None:
    async with (
        LlamaCppEmulator([OWL], router=False, load_seconds=5.0, clock=clock) as server,
        LlamaCppProvider(server.url) as llama,
    ):
        with pytest.raises(ModelNotLoaded, match="Loading model"):
            await llama.ensure_loaded("owl")
        clock.passes(5.0)
        assert (await llama.ensure_loaded("owl")).already


async def test_a_stream_tells_how_far_a_router_is_with_loading_before_it_answers(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([OWL], load_seconds=3.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = passing
        request = CompletionRequest("owl", "Hello")
        async with llama.stream_completion(request) as stream:
            events = [event async for event in stream]
        again = await llama.complete(request)
    told = [event for event in events if isinstance(event, LoadProgress)]
    fractions = [event.fraction for event in told if event.fraction is not None]
    assert events[: len(told)] == told
    assert told[0] == LoadProgress(model=OWL.id, service="llamacpp")
    assert len(fractions) >= 2
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1
    assert stream.text == again.text != ""
    assert [path for path, _ in orders(server)].count("/models/load") == 1


async def test_a_load_that_fails_is_the_answer_to_the_request_for_it(
    clock: Any,  # noqa: ANN401
    passing: Callable[[float], Any],
) -> None:
    async with (
        LlamaCppEmulator([BAD], load_seconds=1.0, clock=clock) as server,
        LlamaCppProvider(server.url, clock=clock) as llama,
    ):
        llama.pause = passing
        with pytest.raises(ServiceError, match="could not load"):
            await llama.complete(CompletionRequest(BAD.id, "Hello"))
