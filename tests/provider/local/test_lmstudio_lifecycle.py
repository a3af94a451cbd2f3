"""LM Studio's models: loaded once, read back, taken out, downloaded; and what it cannot do."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from patinox.provider.errors import CapabilityNotSupported, ProviderError
from patinox.provider.lifecycle import LoadedModel, Operation
from patinox.provider.local.config import Deadlines, LMStudioConfig
from patinox.provider.local.errors import ModelNotFound, ServiceError, ServiceTimeout
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.wire.http import json_request
from patinox.provider.types import CompletionRequest
from patinox.testing import EmulatedServer, Exchange, LMStudioEmulator, LMStudioModel

OWL = LMStudioModel(key="acme/owl-4b", max_context_length=131072)
WARM = LMStudioModel(key="acme/wren-1b", max_context_length=32768, loaded_context_length=8192)
ROOT = "/api/v1/models"
HF = "https://huggingface.co/acme/Finch-1B"


def orders(server: EmulatedServer) -> list[tuple[str, Any]]:
    """What was sent that changes something."""
    return [
        (seen.path.removeprefix(f"{ROOT}/"), seen.json)
        for seen in server.requests
        if seen.method == "POST"
    ]


class Pause:
    """Waits no longer than a turn, and counts."""

    def __init__(self) -> None:
        self.waited = list[float]()

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        await asyncio.sleep(0)


# Loading.


async def test_a_model_is_loaded_and_its_context_read_back() -> None:
    async with (
        LMStudioEmulator([OWL], load_seconds=0.01) as server,
        LMStudioProvider(server.url) as studio,
    ):
        assert not (await studio.list_models())[0].loaded
        loaded = await studio.ensure_loaded("acme/owl-4b", 16384)
        assert (await studio.list_models())[0].loaded_context_length == 16384

    assert loaded == LoadedModel(
        model="acme/owl-4b",
        service="lmstudio",
        instance="acme/owl-4b",
        context_length=16384,
        asked_context_length=16384,
        load_seconds=0.01,
    )
    body = {"model": "acme/owl-4b", "echo_load_config": True, "context_length": 16384}
    assert orders(server) == [("load", body)]


async def test_a_context_that_is_ignored_is_seen() -> None:
    async with (
        LMStudioEmulator([OWL], load_ignores_context=True) as server,
        LMStudioProvider(server.url) as studio,
    ):
        loaded = await studio.ensure_loaded("acme/owl-4b", 16384)

    assert (loaded.context_length, loaded.fits) == (4096, False)


async def test_a_context_that_the_reply_does_not_tell_is_read_from_the_list() -> None:
    async def silent(exchange: Exchange) -> bool:
        if exchange.path == f"{ROOT}/load":
            body = json.loads(exchange.body)
            del body["echo_load_config"]
            exchange.body = json.dumps(body).encode()
        return False

    async with LMStudioEmulator([OWL]) as server, LMStudioProvider(server.url) as studio:
        server.faults.append(silent)
        loaded = await studio.ensure_loaded("acme/owl-4b", 16384)

    assert (loaded.context_length, loaded.fits) == (16384, True)


async def test_a_model_in_memory_gets_no_second_copy() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        loaded = await studio.ensure_loaded("acme/wren-1b", 16384)
        assert server.loaded == ("acme/wren-1b",)

    assert (loaded.already, loaded.context_length, loaded.fits) == (True, 8192, False)
    assert orders(server) == []


async def test_all_who_ask_at_once_share_one_load() -> None:
    async with (
        LMStudioEmulator([OWL], load_seconds=0.02) as server,
        LMStudioProvider(server.url) as studio,
    ):
        loads = await asyncio.gather(
            *(studio.ensure_loaded("acme/owl-4b", length) for length in (4096, 4096, 8192))
        )
        assert server.loaded == ("acme/owl-4b",)

    assert [each.already for each in loads] == [False, False, True]


async def test_loading_it_anew_takes_the_copy_before_away() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        loaded = await studio.load("acme/wren-1b", 16384)
        assert server.loaded == ("acme/wren-1b",)

    assert (loaded.already, loaded.context_length) == (False, 16384)
    assert [what for what, _ in orders(server)] == ["unload", "load"]


async def test_of_several_copies_the_one_with_the_longest_context_counts() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        body = {"model": "acme/wren-1b", "context_length": 16384}
        await studio.order(json_request("POST", f"{ROOT}/load", body))
        loaded = await studio.ensure_loaded("acme/wren-1b", 16384)

    assert (loaded.instance, loaded.context_length, loaded.fits) == ("acme/wren-1b:2", 16384, True)


async def test_a_load_that_fails_says_why() -> None:
    broken = LMStudioModel(key="acme/owl-4b", load_error="insufficient system resources.")
    async with LMStudioEmulator([broken]) as server, LMStudioProvider(server.url) as studio:
        with pytest.raises(ServiceError, match="insufficient system resources") as caught:
            await studio.ensure_loaded("acme/owl-4b")
    assert caught.value.service == "lmstudio"


async def test_how_long_it_stays_cannot_be_chosen() -> None:
    async with LMStudioEmulator([OWL]) as server, LMStudioProvider(server.url) as studio:
        for act in (studio.ensure_loaded, studio.load):
            with pytest.raises(CapabilityNotSupported, match="until it is unloaded") as caught:
                await act("acme/owl-4b", keep_alive=60)
            assert caught.value.hint == "Leave `keep_alive` out, and unload it yourself."
    assert orders(server) == []


# In memory.


async def test_what_is_in_memory_and_until_when() -> None:
    async with LMStudioEmulator([WARM, OWL]) as server, LMStudioProvider(server.url) as studio:
        (there,) = await studio.running()
        await studio.complete(CompletionRequest("acme/owl-4b", ["Hello"]))  # which loads it
        running = {item.model: item for item in await studio.running()}

    assert (there.instance, there.context_length) == ("acme/wren-1b", 8192)
    assert there.expires_at is there.size_bytes is there.vram_bytes is None
    until = running["acme/owl-4b"].expires_at
    assert until is not None
    assert 3500 < until - datetime.now(tz=UTC).timestamp() <= 3600


@pytest.mark.parametrize(("left", "stays"), [(-5, False), (1e300, True), (None, True)])
async def test_a_time_that_cannot_be_is_none(left: float | None, stays: bool) -> None:  # noqa: FBT001
    loaded = {"id": "a", "remaining_ttl_seconds": left}
    body = json.dumps({"models": [{"key": "a", "type": "llm", "loaded_instances": [loaded]}]})

    async def answer(exchange: Exchange) -> bool:
        if exchange.path != ROOT:
            return False
        await exchange.reply(200, body.encode())
        return True

    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        server.faults.append(answer)
        (there,) = await studio.running()
    assert (there.expires_at is None) is stays
    assert stays or (there.expires_at or 0) <= datetime.now(tz=UTC).timestamp()


async def test_unloading_takes_every_copy_out_and_is_done_once() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        await studio.order(json_request("POST", f"{ROOT}/load", {"model": "acme/wren-1b"}))
        assert server.loaded == ("acme/wren-1b", "acme/wren-1b:2")
        assert await studio.unload("acme/wren-1b")
        assert not server.loaded
        assert not await studio.unload("acme/wren-1b")
        assert not (await studio.list_models())[0].loaded


async def test_one_copy_can_be_unloaded_by_its_own_name() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        await studio.order(json_request("POST", f"{ROOT}/load", {"model": "acme/wren-1b"}))
        assert await studio.unload("acme/wren-1b:2")
        assert server.loaded == ("acme/wren-1b",)


async def test_a_copy_that_left_by_itself_is_no_error() -> None:
    async def left(exchange: Exchange) -> bool:
        if exchange.path == f"{ROOT}/unload":
            server.faults.clear()
            await studio.order(json_request("POST", exchange.path, {"instance_id": WARM.key}))
        return False

    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        server.faults.append(left)
        assert await studio.unload("acme/wren-1b")
        assert not server.loaded


async def test_an_unknown_model_is_refused_before_anything_is_sent() -> None:
    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        for act in (studio.ensure_loaded, studio.load, studio.unload):
            with pytest.raises(ModelNotFound, match="nope"):
                await act("nope")
    assert orders(server) == []


# Downloads.


async def test_a_download_is_looked_at_until_it_is_there() -> None:
    async with (
        LMStudioEmulator([WARM], download_steps=4) as server,
        LMStudioProvider(server.url) as studio,
    ):
        studio.pause = pause = Pause()
        async with studio.pull(f"{HF}@Q8_0") as download:
            told = [progress async for progress in download]
        assert [info.id for info in await studio.list_models()] == [
            "acme/finch-1b",
            "acme/wren-1b",
        ]

    assert orders(server) == [("download", {"model": HF, "quantization": "Q8_0"})]
    assert [progress.fraction for progress in told] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [progress.done for progress in told] == [False] * 4 + [True]
    assert told[1].bytes_per_second == told[1].total_bytes / 4  # type: ignore[operator]
    assert told[1].eta_seconds == 3.0
    assert len(pause.waited) == 4


async def test_what_is_there_is_not_downloaded() -> None:
    async with (
        LMStudioEmulator([WARM]) as server,
        LMStudioProvider(server.url) as studio,
        studio.pull("acme/wren-1b") as download,
    ):
        assert (await download.wait()).status == "already_downloaded"
    assert orders(server) == [("download", {"model": "acme/wren-1b"})]


async def test_a_download_that_fails_says_where_to_look() -> None:
    async with (
        LMStudioEmulator([WARM], download_end="failed") as server,
        LMStudioProvider(server.url) as studio,
    ):
        studio.pause = Pause()
        with pytest.raises(ServiceError, match=r"could not download '.*' \(failed\)") as caught:
            async with studio.pull(HF) as download:
                await download.wait()
    assert caught.value.hint == "Its window says why: Downloads."


async def test_a_download_that_was_paused_is_told_and_not_waited_for_without_end(
    clock: Any,  # noqa: ANN401 - a `Clock` of conftest.py
) -> None:
    async with (
        LMStudioEmulator([WARM], download_end="paused") as server,
        LMStudioProvider(server.url, clock=clock) as studio,
    ):

        async def pause(seconds: float) -> None:
            clock.passes(seconds)

        studio.pause = pause
        download = studio.pull(HF)
        with pytest.raises(ServiceTimeout, match="does not go on: paused") as caught:
            async with download:
                await download.wait()

    assert download.progress.status == "paused"
    assert (caught.value.phase, caught.value.seconds) == ("idle", 120.0)
    looks = [seen for seen in server.requests if "/status/" in seen.path]
    assert len(looks) == pytest.approx(240, abs=3)


async def test_a_job_that_is_forgotten_is_an_error() -> None:
    async def forgotten(exchange: Exchange) -> bool:
        if "/status/" not in exchange.path:
            return False
        await exchange.reply(
            404, b'{"error":{"type":"job_not_found","message":"Download job not found."}}'
        )
        return True

    async with LMStudioEmulator([WARM]) as server, LMStudioProvider(server.url) as studio:
        studio.pause = Pause()
        server.faults.append(forgotten)
        with pytest.raises(ProviderError, match="Download job not found"):
            async with studio.pull(HF) as download:
                await download.wait()


# What it cannot do.

NEVER = {Operation.DELETE: "My Models", Operation.COPY: "lms load --identifier"}
OLD = {Operation.PULL: "lms get", Operation.LOAD: "lms load", Operation.UNLOAD: "lms unload"}


@pytest.mark.parametrize(("generation", "refused"), [("0.4", NEVER), ("0.3", NEVER | OLD)])
async def test_what_it_cannot_do_is_refused_by_name_with_what_to_do_instead(
    generation: Literal["0.4", "0.3"], refused: dict[Operation, str]
) -> None:
    async with (
        LMStudioEmulator([WARM, OWL], generation=generation) as server,
        LMStudioProvider(server.url) as studio,
    ):
        for operation in Operation:
            error = await studio.refused(operation)
            assert (error is None) == (operation not in refused)
            assert error is None or refused[operation] in str(error)
        with pytest.raises(CapabilityNotSupported):
            await studio.delete("acme/wren-1b")
        with pytest.raises(CapabilityNotSupported):
            await studio.copy("acme/wren-1b", "mine")
    assert orders(server) == []


async def test_an_older_one_tells_what_is_in_memory_and_refuses_to_load_more() -> None:
    async with (
        LMStudioEmulator([WARM, OWL], generation="0.3") as server,
        LMStudioProvider(server.url) as studio,
    ):
        (there,) = await studio.running()
        loaded = await studio.ensure_loaded("acme/wren-1b", 4096)
        for act in (studio.ensure_loaded, studio.load, studio.unload):
            with pytest.raises(CapabilityNotSupported, match=r"before 0\.4"):
                await act("acme/owl-4b")
        with pytest.raises(CapabilityNotSupported, match=r"before 0\.4"):
            async with studio.pull(HF) as download:
                await download.wait()

    assert (there.model, there.context_length, there.instance) == ("acme/wren-1b", 8192, None)
    assert (loaded.already, loaded.context_length, loaded.fits) == (True, 8192, True)
    assert orders(server) == []


async def test_where_its_own_routes_are_not_wanted_nothing_is_managed() -> None:
    config = LMStudioConfig(use_openai_compat=True)
    async with (
        LMStudioEmulator([WARM]) as server,
        LMStudioProvider(server.url, config) as studio,
    ):
        for operation in Operation:
            assert "use_openai_compat=False" in str(await studio.refused(operation))
        with pytest.raises(CapabilityNotSupported):
            await studio.running()
    assert server.requests == []


async def test_a_look_at_a_download_has_a_limit() -> None:
    config = LMStudioConfig(deadlines=Deadlines(listing=0.1))

    async def hang(exchange: Exchange) -> bool:
        if "/status/" in exchange.path:
            await asyncio.Event().wait()
        return False

    async with (
        LMStudioEmulator([WARM]) as server,
        LMStudioProvider(server.url, config) as studio,
    ):
        studio.pause = Pause()
        server.faults.append(hang)
        with pytest.raises(ServiceTimeout):
            async with studio.pull(HF) as download:
                await download.wait()
