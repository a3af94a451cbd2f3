"""Models got, loaded and removed through `LocalProvider`: which service is meant."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest

from patinox.provider.errors import CapabilityNotSupported, CloudModelRefused, InvalidRequest
from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import (
    ModelNotFound,
    ServiceError,
    ServiceNotFound,
    StreamInterrupted,
)
from patinox.provider.local.types import ServiceStatus
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LlamaCppEmulator,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
    OllamaPullFault,
)

ConfigFor = Callable[..., LocalProviderConfig]
CHAT = OllamaModel(name="chat:1b", context_length=8192)
NEW = OllamaModel(name="new:1b", size=1_000_000)
OWL = LMStudioModel(key="acme/owl-4b")
SAME = LMStudioModel(key="chat:1b", loaded_context_length=4096)


def called(name: str, server: EmulatedServer) -> EndpointConfig:
    return EndpointConfig.parse(server.url, name=name)


def changes(server: EmulatedServer) -> list[str]:
    """What was sent that changes something."""
    asked = {"/api/show"}
    return [
        seen.path for seen in server.requests if seen.method != "GET" and seen.path not in asked
    ]


# Loading.


async def test_a_model_is_loaded_where_it_is(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([OWL]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        there = await local.ensure_loaded("chat:1b", 4096)
        here = await local.ensure_loaded("acme/owl-4b", 16384)
        running = await local.running()
        assert await local.unload("chat:1b")
        assert not await local.unload("chat:1b")
        assert [item.model for item in await local.running()] == ["acme/owl-4b"]

    assert (there.service, there.context_length) == ("ollama", 4096)
    assert (here.service, here.context_length) == ("lmstudio", 16384)
    assert [(item.model, item.service) for item in running] == [
        ("acme/owl-4b", "lmstudio"),
        ("chat:1b", "ollama"),
    ]


async def test_a_service_can_be_named(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([SAME]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        loaded = await local.load("ollama::chat:1b", 2048, keep_alive=-1)
        assert (await local.ensure_loaded("lmstudio::chat:1b")).already

    assert (loaded.service, loaded.context_length) == ("ollama", 2048)
    assert changes(studio) == []


async def test_unloading_takes_it_out_wherever_it_is_in_memory(config_for: ConfigFor) -> None:
    loaded = OllamaModel(name="chat:1b", loaded=True)
    async with (
        OllamaEmulator(models=[loaded]) as ollama,
        LMStudioEmulator([SAME]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        assert len(await local.running()) == 2
        assert await local.unload("chat:1b")
        assert await local.running() == []


async def test_one_that_cannot_unload_is_no_reason_not_to_unload_elsewhere(
    config_for: ConfigFor,
) -> None:
    loaded = OllamaModel(name="chat:1b", loaded=True)
    async with (
        OllamaEmulator(models=[loaded]) as ollama,
        LMStudioEmulator([SAME], generation="0.3") as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        assert await local.unload("chat:1b")
        with pytest.raises(CapabilityNotSupported, match="does not unload"):
            await local.unload("chat:1b")


async def test_a_load_that_fails_goes_nowhere_else(config_for: ConfigFor) -> None:
    async def full(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat":
            return False
        await exchange.reply(500, b'{"error":"out of memory"}')
        return True

    cold = LMStudioModel(key="chat:1b")
    async with OllamaEmulator(models=[CHAT]) as ollama, LMStudioEmulator([cold]) as studio:
        ollama.faults.append(full)
        async with LocalProvider(config_for(ollama, studio)) as local:
            with pytest.raises(ServiceError, match="out of memory") as caught:
                await local.ensure_loaded("chat:1b")

    assert caught.value.service == "ollama"
    assert changes(ollama) == ["/api/chat"]
    assert changes(studio) == []


async def test_what_is_not_there_is_not_found_with_the_nearest(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        for act in (local.ensure_loaded, local.load, local.unload, local.delete):
            with pytest.raises(ModelNotFound) as caught:
                await act("chatt:1b")
            assert caught.value.nearest == ("ollama::chat:1b",)
    assert changes(ollama) == []


async def test_one_service_that_cannot_tell_hides_no_other(config_for: ConfigFor) -> None:
    async def broken(exchange: Exchange) -> bool:
        if exchange.path != "/api/v1/models":
            return False
        await exchange.reply(500, b'{"error":"no"}')
        return True

    loaded = OllamaModel(name="chat:1b", loaded=True)
    async with (
        OllamaEmulator(models=[loaded]) as ollama,
        LMStudioEmulator([SAME]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        studio.faults.append(broken)
        assert [item.service for item in await local.running()] == ["ollama"]
        ollama.faults.append(dead)
        with pytest.raises(ServiceError):
            await local.running()


async def dead(exchange: Exchange) -> bool:
    await exchange.reply(500, b'{"error":"no"}')
    return True


async def test_without_a_service_there_is_nothing_to_list(config_for: ConfigFor) -> None:
    async with LocalProvider(config_for()) as local:
        with pytest.raises(ServiceNotFound):
            await local.running()


# Removing and copying.


async def test_a_model_is_deleted_and_copied_on_its_service(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([OWL]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        await local.copy("chat:1b", "mine")
        await local.copy("chat:1b", "mine", overwrite=True)
        await local.delete("chat:1b")
        assert {info.id for info in await local.list_models()} == {
            "acme/owl-4b",
            "mine:latest",
        }
    assert changes(ollama) == ["/api/copy", "/api/copy", "/api/delete"]


async def test_where_several_have_it_one_must_be_named_before_anything_is_lost(
    config_for: ConfigFor,
) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([SAME]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        for work in (local.delete("chat:1b"), local.copy("chat:1b", "mine")):
            with pytest.raises(InvalidRequest, match="Several services") as caught:
                await work
            assert "ollama::chat:1b" in str(caught.value)
            assert "lmstudio::chat:1b" in str(caught.value)
        assert changes(ollama) == []
        await local.delete("ollama::chat:1b")
        with pytest.raises(CapabilityNotSupported, match="deletes no model"):
            await local.delete("chat:1b")
    assert changes(ollama) == ["/api/delete"]


@pytest.mark.parametrize("spoilt", ["slow", "makes vectors"])
async def test_another_home_is_found_where_it_is_slow_or_would_not_be_asked(
    config_for: ConfigFor, spoilt: str
) -> None:
    kind: Literal["embedding", "llm"] = "embedding" if spoilt == "makes vectors" else "llm"
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([LMStudioModel(key="chat:1b", kind=kind)]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        studio.latency = 0.7 if spoilt == "slow" else 0.0
        with pytest.raises(InvalidRequest, match="lmstudio::chat:1b"):
            await local.delete("chat:1b")
    assert changes(ollama) == []


async def test_of_two_of_a_kind_the_one_with_the_id_is_meant(config_for: ConfigFor) -> None:
    loaded = OllamaModel(name="chat:1b", loaded=True)
    async with (
        OllamaEmulator(models=[loaded]) as meant,
        OllamaEmulator(models=[loaded]) as other,
        LocalProvider(config_for(called("ollama", meant), called("attic", other))) as local,
    ):
        await local.copy("ollama::chat:1b", "mine")
        assert await local.unload("ollama::chat:1b")
        await local.delete("ollama::chat:1b")
    assert changes(meant) == ["/api/copy", "/api/generate", "/api/delete"]
    assert changes(other) == []


async def test_where_a_kind_means_several_one_must_be_named(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as one,
        OllamaEmulator(models=[CHAT]) as two,
        LocalProvider(config_for(called("attic", one), called("cellar", two))) as local,
    ):
        with pytest.raises(InvalidRequest, match="attic::chat:1b, cellar::chat:1b"):
            await local.delete("ollama::chat:1b")
        await local.delete("cellar::chat:1b")
    assert changes(one) == []
    assert changes(two) == ["/api/delete"]


# Downloads.


async def test_a_download_goes_to_the_first_service_that_can(config_for: ConfigFor) -> None:
    async with (
        LMStudioEmulator([OWL], generation="0.3") as studio,
        OllamaEmulator(models=[CHAT], pullable=[NEW]) as ollama,
        LocalProvider(config_for(studio, ollama)) as local,
    ):
        async with local.pull("new:1b") as download:
            assert (await download.wait()).done
        assert await local.supports_model("new:1b")
    assert changes(ollama) == ["/api/pull"]


@pytest.mark.parametrize(
    ("preferred", "name"), [("lmstudio", "acme/new-1b"), ("auto", "lmstudio::acme/new-1b")]
)
async def test_a_download_goes_to_the_service_that_is_preferred_or_named(
    config_for: ConfigFor, preferred: str, name: str
) -> None:
    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LMStudioEmulator([OWL], download_steps=1) as studio,
        LocalProvider(config_for(ollama, studio, preferred_service=preferred)) as local,
    ):
        async with local.pull(name) as download:
            assert (await download.wait()).done
        assert await local.supports_model("acme/new-1b")
    assert changes(ollama) == []


@pytest.mark.parametrize("preferred", ["ollama", "lmstudio"])
async def test_a_download_goes_to_the_preferred_id_before_the_preferred_kind(
    config_for: ConfigFor, preferred: str
) -> None:
    async with (
        OllamaEmulator(models=[CHAT], pullable=[NEW]) as kind,
        OllamaEmulator(models=[CHAT], pullable=[NEW]) as exact,
    ):
        places = (called("attic", kind), called(preferred, exact))
        config = config_for(*places, preferred_service=preferred)
        async with LocalProvider(config) as local, local.pull("new:1b") as download:
            assert (await download.wait()).done
    assert changes(kind) == []
    assert changes(exact) == ["/api/pull"]


async def test_a_download_that_broke_off_goes_nowhere_else(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(models=[CHAT], pullable=[NEW]) as ollama,
        LMStudioEmulator([OWL]) as studio,
        LocalProvider(config_for(ollama, studio)) as local,
    ):
        ollama.pull_faults.append(OllamaPullFault(after=3))
        with pytest.raises(StreamInterrupted):
            async with local.pull("new:1b") as download:
                await download.wait()
    assert changes(ollama) == ["/api/pull"]
    assert changes(studio) == []


async def test_leaving_a_download_hangs_up(config_for: ConfigFor) -> None:
    gone = asyncio.Event()

    async def slow(exchange: Exchange) -> bool:
        if exchange.path != "/api/pull":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        await exchange.send(b'{"status":"pulling manifest"}\n')
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return True

    async with (
        OllamaEmulator(models=[CHAT]) as ollama,
        LocalProvider(config_for(ollama)) as local,
    ):
        ollama.faults.append(slow)
        async with local.pull("new:1b") as download:
            await anext(download)
        await asyncio.wait_for(gone.wait(), 5)
    assert ollama.client_gone == 1


async def test_where_none_can_download_each_says_why(config_for: ConfigFor) -> None:
    async with (
        LMStudioEmulator([OWL], generation="0.3") as studio,
        LocalProvider(config_for(studio)) as local,
    ):
        with pytest.raises(CapabilityNotSupported, match=r"before 0\.4 does not pull") as caught:
            async with local.pull("acme/new-1b") as download:
                await download.wait()
    assert caught.value.hint == "Start one: ollama serve"


@pytest.mark.parametrize("name", ["new:1b", "ollama::new:1b", "nothing::new:1b"])
async def test_without_a_service_there_is_nowhere_to_download_to(
    config_for: ConfigFor, name: str
) -> None:
    async with LocalProvider(config_for()) as local:
        with pytest.raises(ServiceNotFound):
            async with local.pull(name) as download:
                await download.wait()


async def test_the_cloud_is_guarded_here_too(config_for: ConfigFor) -> None:
    async with OllamaEmulator() as ollama, LocalProvider(config_for(ollama)) as local:
        for act in (local.ensure_loaded, local.load):
            with pytest.raises(CloudModelRefused):
                await act("gpt-oss:120b-cloud")
        with pytest.raises(CloudModelRefused):
            async with local.pull("gpt-oss:20b-cloud") as download:
                await download.wait()
    assert changes(ollama) == []


# llama.cpp.


async def test_a_router_is_found_and_its_models_are_loaded(config_for: ConfigFor) -> None:
    async with LlamaCppEmulator() as router, LocalProvider(config_for(router)) as local:
        loaded = await local.ensure_loaded("gemma")
        assert local.available_services() == ["llamacpp"]
        assert router.loaded == (loaded.model,)
        assert [item.model for item in await local.running()] == [loaded.model]
        assert await local.unload("gemma")
    assert not router.loaded


async def test_a_server_that_still_loads_its_model_is_warming(config_for: ConfigFor) -> None:
    now = [0.0]
    async with (
        LlamaCppEmulator(router=False, load_seconds=5.0, clock=lambda: now[0]) as server,
        LocalProvider(config_for(server)) as local,
    ):
        info = local.get_service_info("llamacpp")
        assert info is not None
        assert info.status is ServiceStatus.WARMING
        now[0] += 5.0
        await local.refresh_services()
        assert (await local.ensure_loaded("gemma")).already
