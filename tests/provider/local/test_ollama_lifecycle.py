"""Ollama's models: got, loaded, kept, removed, copied; what is sent for it and read back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.provider.errors import CapabilityNotSupported, CloudModelRefused, InvalidRequest
from patinox.provider.lifecycle import LoadedModel, Operation, PullProgress, RunningModel
from patinox.provider.local.config import Deadlines, OllamaConfig
from patinox.provider.local.errors import (
    ModelNotFound,
    ParseError,
    ServiceError,
    ServiceTimeout,
    StreamInterrupted,
)
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.transport import StreamReply
from patinox.testing import (
    EmulatedServer,
    Exchange,
    OllamaEmulator,
    OllamaModel,
    OllamaPullFault,
)

CHAT = OllamaModel(name="chat:1b", context_length=8192)
EMBED = OllamaModel(name="embed:1b", capabilities=("embedding",), context_length=2048)
NEW = OllamaModel(name="new:1b", size=1_000_000, layers=(300, 200))


def sent(server: EmulatedServer, path: str) -> list[Any]:
    return [seen.json for seen in server.requests if seen.path == path]


def orders(server: EmulatedServer) -> list[str]:
    """What was sent that changes something."""
    asked = {"/api/show", "/api/tags", "/api/ps", "/api/version"}
    return [seen.path for seen in server.requests if seen.path not in asked]


def lines(*objects: object, end: bool = True) -> Callable[[Exchange], Awaitable[bool]]:
    async def fault(exchange: Exchange) -> bool:
        if exchange.path != "/api/pull":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        for each in objects:
            line = each if isinstance(each, bytes) else json.dumps(each).encode()
            await exchange.send(line + b"\n")
        if not end:
            await asyncio.Event().wait()
        await exchange.finish()
        return True

    return fault


# Loading.


async def test_a_model_is_loaded_and_its_context_read_back() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        loaded = await ollama.ensure_loaded("chat:1b", 2048, keep_alive=60)

    assert (loaded.model, loaded.service, loaded.context_length) == ("chat:1b", "ollama", 2048)
    assert (loaded.asked_context_length, loaded.already, loaded.fits) == (2048, False, True)
    assert loaded.load_seconds > 0
    assert sent(server, "/api/chat") == [
        {
            "model": "chat:1b",
            "options": {"num_ctx": 2048},
            "keep_alive": 60,
            "messages": [],
            "stream": False,
        }
    ]


async def test_a_context_beyond_the_model_is_seen_to_be_shorter() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        loaded = await ollama.ensure_loaded("chat:1b", 100_000)

    assert (loaded.context_length, loaded.fits) == (8192, False)


async def test_a_model_in_memory_is_left_as_it_is() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        await ollama.ensure_loaded("chat:1b", 2048)
        again = await ollama.ensure_loaded("CHAT:1b", 4096)
        model = (await ollama.list_models())[0]

    assert again == LoadedModel(
        model="chat:1b",
        service="ollama",
        context_length=2048,
        asked_context_length=4096,
        already=True,
    )
    assert again.fits is False
    assert orders(server) == ["/api/chat"]
    assert (model.loaded, model.loaded_context_length) == (True, 2048)


async def test_loading_it_is_another_matter_and_gives_it_the_context() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        await ollama.ensure_loaded("chat:1b", 2048)
        loaded = await ollama.load("chat:1b", 4096)

    assert (loaded.context_length, loaded.already) == (4096, False)
    assert orders(server) == ["/api/chat"] * 2


async def test_how_long_it_stays_is_set_without_loading_it_anew() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        await ollama.ensure_loaded("chat:1b", 2048)
        (before,) = await ollama.running()
        kept = await ollama.ensure_loaded("chat:1b", keep_alive=-1)
        (after,) = await ollama.running()

    assert (kept.already, kept.context_length) == (True, 2048)
    assert sent(server, "/api/chat")[1]["options"] == {"num_ctx": 2048}
    assert before.expires_at is not None
    assert after == RunningModel(
        model="chat:1b",
        service="ollama",
        size_bytes=before.size_bytes,
        vram_bytes=0,
        expires_at=None,
        context_length=2048,
    )


async def test_a_model_for_vectors_is_loaded_by_embedding_nothing() -> None:
    async with OllamaEmulator(models=[EMBED]) as server, OllamaProvider(server.url) as ollama:
        loaded = await ollama.ensure_loaded("embed:1b")
        assert await ollama.unload("embed:1b")
        assert await ollama.running() == []

    assert loaded.context_length == 2048
    assert sent(server, "/api/embed") == [{"model": "embed:1b", "input": []}]


async def test_all_who_ask_at_once_share_one_load() -> None:
    async with (
        OllamaEmulator(models=[CHAT], latency=0.02) as server,
        OllamaProvider(server.url) as ollama,
    ):
        loads = await asyncio.gather(*(ollama.ensure_loaded("chat:1b", 4096) for _ in range(5)))
        other = await asyncio.gather(
            ollama.ensure_loaded("chat:1b", 1024), ollama.ensure_loaded("chat:1b", 2048)
        )

    assert len(set(loads)) == 1
    assert not loads[0].already
    assert orders(server) == ["/api/chat"]
    assert [each.fits for each in other] == [True, True]


async def test_those_who_want_other_contexts_at_once_load_it_once() -> None:
    async with (
        OllamaEmulator(models=[CHAT], latency=0.02) as server,
        OllamaProvider(server.url) as ollama,
    ):
        first, second = await asyncio.gather(
            ollama.ensure_loaded("chat:1b", 4096), ollama.ensure_loaded("chat:1b", 8192)
        )

    assert (first.already, second.already) == (False, True)
    assert (second.context_length, second.fits) == (4096, False)
    assert orders(server) == ["/api/chat"]


async def test_a_load_that_fails_fails_for_all_who_wait_and_says_who() -> None:
    async def full(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat":
            return False
        await exchange.reply(500, b'{"error":"cudaMalloc failed: out of memory"}')
        return True

    async with (
        OllamaEmulator(models=[CHAT], latency=0.02) as server,
        OllamaProvider(server.url) as ollama,
    ):
        server.faults.append(full)
        failures = await asyncio.gather(
            *(ollama.ensure_loaded("chat:1b") for _ in range(3)), return_exceptions=True
        )

    assert orders(server) == ["/api/chat"]
    for error in failures:
        assert isinstance(error, ServiceError)
        assert error.service == "ollama"
        assert "out of memory" in str(error)


async def test_a_load_that_nobody_waits_for_is_given_up() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        begun = asyncio.Event()

        async def hang(exchange: Exchange) -> bool:
            if exchange.path != "/api/chat":
                return False
            begun.set()
            await asyncio.Event().wait()
            return True

        server.faults.append(hang)
        load = asyncio.ensure_future(ollama.ensure_loaded("chat:1b"))
        await begun.wait()
        load.cancel()
        await asyncio.wait([load])
        server.faults.clear()
        assert not (await ollama.ensure_loaded("chat:1b")).already
    assert server.client_gone == 1


async def test_a_load_that_takes_too_long_is_given_up() -> None:
    config = OllamaConfig(deadlines=Deadlines(first_token=0.05))

    async def hang(exchange: Exchange) -> bool:
        if exchange.path == "/api/chat":
            await asyncio.Event().wait()
        return False

    async with (
        OllamaEmulator(models=[CHAT]) as server,
        OllamaProvider(server.url, config) as ollama,
    ):
        server.faults.append(hang)
        with pytest.raises(ServiceTimeout):
            await ollama.load("chat:1b")


async def test_a_model_that_somebody_else_loads_is_waited_for() -> None:
    looks = list[str]()

    async def loading(exchange: Exchange) -> bool:
        if exchange.path != "/api/ps":
            return False
        looks.append(exchange.path)
        length = 4096 if len(looks) > 3 else 0
        entry = {"name": "chat:1b", "context_length": length}
        await exchange.reply(200, json.dumps({"models": [entry]}).encode())
        return True

    async def pause(_: float) -> None:
        looks.append("waited")

    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        ollama.pause = pause
        server.faults.append(loading)
        loaded = await ollama.ensure_loaded("chat:1b")

    assert (loaded.already, loaded.context_length) == (True, 4096)
    assert "waited" in looks
    assert orders(server) == []


async def test_a_model_that_leaves_at_once_has_no_context_to_read() -> None:
    async def nothing(exchange: Exchange) -> bool:
        if exchange.path != "/api/ps":
            return False
        await exchange.reply(200, b'{"models":[]}')
        return True

    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(nothing)
        loaded = await ollama.ensure_loaded("chat:1b", 2048)

    assert (loaded.context_length, loaded.fits) == (None, None)


# Removing and copying.


async def test_unloading_is_done_once() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        await ollama.ensure_loaded("chat:1b")
        assert (await ollama.list_models())[0].loaded
        assert await ollama.unload("chat:1b")
        assert not (await ollama.list_models())[0].loaded
        assert not await ollama.unload("chat:1b")

    assert orders(server) == ["/api/chat", "/api/generate"]
    assert sent(server, "/api/generate")[0]["keep_alive"] == 0


async def test_an_unloaded_model_is_waited_for_until_it_has_left() -> None:
    looks = list[float]()

    async def lingering(exchange: Exchange) -> bool:
        if exchange.path != "/api/ps" or len(looks) > 6:
            return False
        await exchange.reply(200, b'{"models":[{"name":"chat:1b","context_length":4096}]}')
        return True

    async def pause(seconds: float) -> None:
        looks.append(seconds)

    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        ollama.pause = pause
        server.faults.append(lingering)
        assert await ollama.unload("chat:1b")
        assert await ollama.running() == []

    assert looks == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25]
    assert orders(server) == ["/api/generate"]


async def test_a_model_that_does_not_leave_is_told_of() -> None:
    async def staying(exchange: Exchange) -> bool:
        if exchange.path != "/api/ps":
            return False
        await exchange.reply(200, b'{"models":[{"name":"chat:1b","context_length":4096}]}')
        return True

    config = OllamaConfig(deadlines=Deadlines(first_token=0.05))
    async with (
        OllamaEmulator(models=[CHAT]) as server,
        OllamaProvider(server.url, config) as ollama,
    ):
        server.faults.append(staying)
        with pytest.raises(ServiceTimeout, match="'chat:1b' on Ollama stays in memory"):
            await ollama.unload("chat:1b")


async def test_a_copy_is_in_memory_where_its_original_is() -> None:
    async with OllamaEmulator(models=[CHAT, EMBED]) as server, OllamaProvider(server.url) as ollama:
        await ollama.copy("chat:1b", "mine")
        await ollama.ensure_loaded("chat:1b", 2048)
        copy = await ollama.ensure_loaded("mine")
        models = {info.id: info for info in await ollama.list_models()}

        assert (copy.model, copy.context_length, copy.already) == ("mine:latest", 2048, True)
        assert [item.model for item in await ollama.running()] == ["chat:1b"]
        assert models["mine:latest"].loaded_context_length == 2048
        assert [info.loaded for info in models.values()] == [True, False, True]
        assert await ollama.unload("mine")
        assert not await ollama.unload("chat:1b")


async def test_a_deleted_model_leaves_the_memory_first() -> None:
    async with OllamaEmulator(models=[CHAT]) as server, OllamaProvider(server.url) as ollama:
        await ollama.copy("chat:1b", "mine")
        await ollama.ensure_loaded("chat:1b")
        await ollama.delete("mine")
        assert [item.model for item in await ollama.running()] == ["chat:1b"]
        await ollama.delete("chat:1b")
        assert await ollama.running() == []

    assert orders(server)[2:] == ["/api/delete", "/api/generate", "/api/delete"]


async def test_a_deleted_model_is_gone_from_the_list() -> None:
    async with OllamaEmulator(models=[CHAT, EMBED]) as server, OllamaProvider(server.url) as ollama:
        assert len(await ollama.list_models()) == 2
        await ollama.delete("chat:1b")
        assert [info.id for info in await ollama.list_models()] == ["embed:1b"]
        with pytest.raises(ModelNotFound, match="chat:1b"):
            await ollama.delete("chat:1b")

    assert orders(server) == ["/api/delete"]


async def test_a_copy_is_a_second_name_and_overwrites_nothing_unasked() -> None:
    async with OllamaEmulator(models=[CHAT, EMBED]) as server, OllamaProvider(server.url) as ollama:
        await ollama.copy("chat:1b", "mine")
        with pytest.raises(InvalidRequest, match="has a model called 'mine' already"):
            await ollama.copy("embed:1b", "mine")
        assert orders(server) == ["/api/copy"]
        await ollama.copy("embed:1b", "ollama::mine", overwrite=True)
        models = {info.id: info for info in await ollama.list_models()}

    assert models["mine:latest"].digest == models["embed:1b"].digest
    assert sent(server, "/api/copy")[1] == {"source": "embed:1b", "destination": "mine"}


async def test_what_names_another_service_is_refused() -> None:
    ollama = OllamaProvider()
    with pytest.raises(InvalidRequest, match="names another service than ollama"):
        ollama.pull("lmstudio::chat:1b")
    with pytest.raises(InvalidRequest, match="names another service"):
        await ollama.copy("chat:1b", "lmstudio::mine")


async def test_it_refuses_nothing_by_name() -> None:
    ollama = OllamaProvider()
    assert [await ollama.refused(operation) for operation in Operation] == [None] * 6


# The cloud.


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "gpt-oss:cloud", "x:1b:cloud"])
async def test_a_cloud_model_is_neither_pulled_nor_loaded(name: str) -> None:
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(CloudModelRefused, match="cloud"):
            async with ollama.pull(name) as download:
                await download.wait()
        for act in (ollama.ensure_loaded, ollama.load):
            with pytest.raises(CloudModelRefused):
                await act(name)
    assert orders(server) == []


async def test_an_allowed_cloud_model_is_pulled_but_there_is_nothing_to_load() -> None:
    config = OllamaConfig(allow_cloud=True)
    async with (
        OllamaEmulator(models=[CHAT]) as server,
        OllamaProvider(server.url, config) as ollama,
    ):
        async with ollama.pull("gpt-oss:120b-cloud") as download:
            assert (await download.wait()).done
        with pytest.raises(CapabilityNotSupported, match="nothing to load"):
            await ollama.ensure_loaded("gpt-oss:120b-cloud")
    assert orders(server) == ["/api/pull"]


async def test_a_cloud_model_can_be_removed_without_being_allowed() -> None:
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        await ollama.delete("gpt-oss:120b-cloud")
    assert sent(server, "/api/delete") == [{"model": "gpt-oss:120b-cloud"}]


# Downloads.


async def test_a_download_adds_up_its_layers_and_ends_with_success() -> None:
    async with (
        OllamaEmulator(models=[CHAT], pullable=[NEW]) as server,
        OllamaProvider(server.url) as ollama,
    ):
        assert len(await ollama.list_models()) == 1
        async with ollama.pull("new:1b") as download:
            told = [progress async for progress in download]
        assert len(await ollama.list_models()) == 2

    assert sent(server, "/api/pull") == [{"model": "new:1b", "stream": True}]
    assert told[0] == PullProgress(status="pulling manifest", service="ollama")
    assert (told[1].completed_bytes, told[1].total_bytes) == (0, 999_500)
    assert len({progress.digest for progress in told}) == 4  # three layers, and none
    assert [progress.done for progress in told] == [False] * (len(told) - 1) + [True]
    assert (told[-1].completed_bytes, told[-1].total_bytes) == (1_000_000, 1_000_000)
    fractions = [progress.fraction for progress in told[1:]]
    assert fractions[0] == 0


async def test_a_download_that_broke_off_goes_on_where_it_was() -> None:
    async with (
        OllamaEmulator(models=(), pullable=[NEW]) as server,
        OllamaProvider(server.url) as ollama,
    ):
        server.pull_faults.append(OllamaPullFault(after=4))
        download = ollama.pull("new:1b")
        with pytest.raises(StreamInterrupted, match="broke off before its end") as caught:
            async with download:
                await download.wait()
        broken = download.progress
        async with ollama.pull("new:1b") as download:
            told = [progress async for progress in download]

    assert caught.value.hint is not None
    assert "not fetched twice" in caught.value.hint
    assert caught.value.service == "ollama"
    assert broken.completed_bytes
    assert told[1].completed_bytes == broken.completed_bytes
    assert told[-1].done


async def test_leaving_a_download_ends_it_and_what_came_stays() -> None:
    async with (
        OllamaEmulator(models=(), pullable=[NEW], chunk_delay=0.01) as server,
        OllamaProvider(server.url) as ollama,
    ):
        async with ollama.pull("new:1b") as download:
            async for progress in download:
                if progress.completed_bytes:
                    break
        async with ollama.pull("new:1b") as again:
            await anext(again)
            resumed = await anext(again)
        assert resumed.completed_bytes
        assert await ollama.list_models() == []
    assert server.client_gone == 2


async def test_a_model_that_is_nowhere_is_not_found() -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(ModelNotFound, match="no model 'nope' to download") as caught:
            async with ollama.pull("nope") as download:
                await download.wait()
    assert caught.value.service == "ollama"


async def test_an_error_in_the_middle_of_a_download_is_the_servers_word() -> None:
    async with (
        OllamaEmulator(models=(), pullable=[NEW]) as server,
        OllamaProvider(server.url) as ollama,
    ):
        server.pull_faults.append(OllamaPullFault(after=3, error="max retries exceeded: EOF"))
        with pytest.raises(ServiceError, match="max retries exceeded"):
            async with ollama.pull("new:1b") as download:
                await download.wait()


async def test_a_download_that_is_refused_at_once_is_an_error_too() -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(InvalidRequest, match="invalid model name"):
            async with ollama.pull("a b") as download:
                await download.wait()


@pytest.mark.parametrize("said", [(), ({"status": "pulling manifest"},), ({"status": "x"}, {})])
async def test_the_end_of_the_reply_is_not_the_end_of_the_download(said: tuple[object]) -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(lines(*said))
        with pytest.raises(StreamInterrupted, match="'new' broke off"):
            async with ollama.pull("new") as download:
                await download.wait()


@pytest.mark.parametrize("line", [b"<html>", b"[]", b'{"status": 7} {'])
async def test_a_line_that_is_no_progress_breaks_the_contract(line: bytes) -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(lines(line))
        with pytest.raises(ParseError, match="/api/pull"):
            async with ollama.pull("new") as download:
                await download.wait()


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"pulling manifest"}\n\n \r\n{"status":"success"}\n',
        b'\n\n{"status":"pulling manifest"}\r\n\r\n{"status":"success"}',
    ],
)
async def test_blank_lines_in_a_download_are_none(body: bytes) -> None:
    async def answer(exchange: Exchange) -> bool:
        if exchange.path != "/api/pull":
            return False
        await exchange.reply(200, body)
        return True

    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        server.faults.append(answer)
        async with ollama.pull("new:1b") as download:
            told = [progress.status async for progress in download]
    assert told == ["pulling manifest", "success"]


async def test_the_half_of_a_line_at_the_end_of_a_download_is_no_end_of_it() -> None:
    async def answer(exchange: Exchange) -> bool:
        if exchange.path != "/api/pull":
            return False
        await exchange.reply(200, b'{"status":"pulling manifest"}\n{"status":"suc')
        return True

    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        server.faults.append(answer)
        async with ollama.pull("new:1b") as download:
            with pytest.raises(StreamInterrupted, match="broke off before its end"):
                await download.wait()


async def test_a_download_that_falls_silent_is_given_up() -> None:
    config = OllamaConfig(deadlines=Deadlines(idle=0.1, first_token=20.0))
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url, config) as ollama:
        server.faults.append(lines({"status": "pulling manifest"}, end=False))
        with pytest.raises(ServiceTimeout) as caught:
            async with ollama.pull("new") as download:
                await download.wait()
    assert caught.value.phase == "idle"


@pytest.mark.parametrize(
    "again", [" ", "{}\n", '{"status":"pulling x","total":9,"completed":1}\n'], ids=repr
)
async def test_a_download_that_gets_no_further_is_given_up_whatever_comes(again: str) -> None:
    now = 0.0

    async def stands_still(exchange: Exchange) -> bool:
        nonlocal now
        if exchange.path != "/api/pull":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        for completed in range(2):
            now += 100.0  # slow, and yet further
            line = f'{{"status":"pulling x","total":9,"completed":{completed}}}\n'
            await exchange.send(line.encode())
        for _ in range(2000):
            now += 1.0
            await exchange.send(again.encode())
        await exchange.finish()
        return True

    async with (
        OllamaEmulator(models=()) as server,
        OllamaProvider(server.url, clock=lambda: now) as ollama,
    ):
        server.faults.append(stands_still)
        with pytest.raises(ServiceTimeout, match="'new' does not go on: ") as caught:
            async with ollama.pull("new") as download:
                await download.wait()
    assert (caught.value.phase, caught.value.seconds) == ("idle", 120.0)


async def test_while_it_checks_what_came_it_may_be_silent_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = list[float]()
    read = StreamReply.read

    async def noted(self: StreamReply, *, within: float, phase: str) -> bytes:
        waits.append(within)
        return await read(self, within=within, phase=phase)

    async def check(exchange: Exchange) -> bool:
        if exchange.path != "/api/pull":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        for status in ("verifying sha256 digest", "success"):
            await exchange.send(json.dumps({"status": status}).encode() + b"\n")
            await looked.wait()
        await exchange.finish()
        return True

    monkeypatch.setattr(StreamReply, "read", noted)
    looked = asyncio.Event()
    config = OllamaConfig(deadlines=Deadlines(idle=30.0, first_token=60.0))
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url, config) as ollama:
        server.faults.append(check)
        async with ollama.pull("new") as download:
            await anext(download)
            looked.set()
            assert (await download.wait()).done
    assert waits == [30.0, 60.0]
