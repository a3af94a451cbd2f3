"""What every service's provider does by itself, shown of Ollama's: names, lists, limits."""

import asyncio
import json
import time
from typing import Protocol

import pytest

from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.local.config import Deadlines, OllamaConfig, ServiceConfig
from patinox.provider.local.endpoint import parse_endpoint
from patinox.provider.local.errors import (
    InvalidConfiguration,
    ModelNotFound,
    ResponseTooLarge,
    ServiceTimeout,
)
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.transport import MAX_REPLY, Transport
from patinox.provider.secret import Secret
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    ModelId,
    ToolCall,
)
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LMStudioEmulator,
    OllamaEmulator,
    OllamaModel,
)


class Clock(Protocol):
    """The fixture `clock`."""

    now: float

    def __call__(self) -> float: ...

    def passes(self, seconds: float) -> None: ...


MODELS = tuple(OllamaModel(name=name, reply="Hi.") for name in ("b:1", "a:1", "a:2"))
CHAT = CompletionRequest("a:1", ["Hello"])


async def test_models_are_listed_once_for_all_who_ask_and_kept_while_young(clock: Clock) -> None:
    async with (
        OllamaEmulator(models=MODELS, latency=0.02) as server,
        OllamaProvider(server.url, OllamaConfig(cache_ttl=5.0), clock=clock) as ollama,
    ):
        lists = await asyncio.gather(*(ollama.list_models() for _ in range(10)))
        assert [info.id for info in lists[0]] == ["a:1", "a:2", "b:1"]
        assert all(found == lists[0] for found in lists)
        tags = [seen for seen in server.requests if seen.path == "/api/tags"]
        assert len(tags) == 1
        clock.passes(4.9)
        await ollama.list_models()
        assert len([seen for seen in server.requests if seen.path == "/api/tags"]) == 1
        clock.passes(0.2)
        await ollama.list_models()
        assert len([seen for seen in server.requests if seen.path == "/api/tags"]) == 2


async def test_the_survey_names_what_is_there_and_what_is_in_memory() -> None:
    loaded = OllamaModel(name="c:1", loaded=True)
    async with (
        OllamaEmulator(models=[*MODELS, loaded]) as server,
        OllamaProvider(server.url) as ollama,
    ):
        survey = await ollama.survey()
        assert (survey.models, survey.loaded) == (("b:1", "a:1", "a:2", "c:1"), ("c:1",))
    async with LMStudioEmulator() as studio, LMStudioProvider(studio.url) as provider:
        survey = await provider.survey()
        assert len(survey.models) == 4
        assert survey.loaded == (survey.models[0], survey.models[3])


async def test_a_model_that_was_not_in_the_list_is_looked_for_once_more() -> None:
    async with OllamaEmulator(models=MODELS) as server, OllamaProvider(server.url) as ollama:
        await ollama.list_models()
        server._store.add(OllamaModel(name="new:1", reply="New."))  # noqa: SLF001 - a pull
        assert (await ollama.complete(CompletionRequest("new:1", ["Hello"]))).text == "New."
        with pytest.raises(ModelNotFound, match="No model 'newer:1' on Ollama") as caught:
            await ollama.complete(CompletionRequest("newer:1", ["Hello"]))
        assert caught.value.nearest == ("ollama::new:1",)
        with pytest.raises(ModelNotFound, match="All: patinox models"):
            await ollama.embed(EmbeddingRequest("zzzzzzzz", ["Hello"]))


async def test_an_empty_service_says_that_it_is() -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(ModelNotFound, match="There are no models at all") as caught:
            await ollama.complete(CHAT)
        assert caught.value.nearest == ()


async def test_a_name_for_another_service_is_not_its_own() -> None:
    async with (
        OllamaEmulator(models=MODELS) as server,
        OllamaProvider(server.url, service_id="workstation") as ollama,
    ):
        for hint in ("workstation", "ollama"):
            response = await ollama.complete(CompletionRequest(f"{hint}::a:1", ["Hello"]))
            assert response.service == "workstation"
        with pytest.raises(InvalidRequest, match="names another service than workstation"):
            await ollama.complete(CompletionRequest("lmstudio::a:1", ["Hello"]))
        assert ollama.name == ollama.id == "workstation"
        assert await ollama.find(ModelId("a:1")) is not None


async def test_the_limit_of_the_settings_holds_where_the_request_has_none() -> None:
    async def hangs(exchange: Exchange) -> bool:
        if exchange.path in {"/api/chat", "/api/embed"}:
            await asyncio.Event().wait()
        return False

    embedder = OllamaModel(name="e:1", capabilities=("embedding",))
    limited = OllamaConfig(timeout=0.2)
    async with OllamaEmulator(models=[*MODELS, embedder]) as server:
        server.faults.append(hangs)
        async with OllamaProvider(server.url, limited) as ollama:
            await ollama.list_models()
            for call in (ollama.complete(CHAT), ollama.embed(EmbeddingRequest("e:1", ["a"]))):
                started = time.monotonic()
                with pytest.raises(ServiceTimeout) as caught:
                    await call
                # It is this service's: another may be asked.
                assert (caught.value.phase, caught.value.retryable) == ("attempt", True)
                assert caught.value.seconds == pytest.approx(0.2, abs=0.1)
                assert time.monotonic() - started < 3


async def test_the_phases_of_a_call_have_limits_of_their_own(swallower: str) -> None:
    async def hangs(exchange: Exchange) -> bool:
        if exchange.path == "/api/chat":
            await exchange.start(200, content_type="application/x-ndjson")
        if exchange.path in {"/api/chat", "/api/embed"}:
            await asyncio.Event().wait()
        return False

    embedder = OllamaModel(name="e:1", capabilities=("embedding",))
    short = OllamaConfig(deadlines=Deadlines(first_token=0.2))
    async with OllamaEmulator(models=[*MODELS, embedder]) as server:
        server.faults.append(hangs)
        async with OllamaProvider(server.url, short) as ollama:
            with pytest.raises(ServiceTimeout) as caught:
                await ollama.complete(CHAT)
            assert (caught.value.phase, caught.value.retryable) == ("first_token", True)
        server.faults.clear()
        server.latency = 5.0
        hasty = OllamaConfig(deadlines=Deadlines(listing=0.1))
        async with OllamaProvider(server.url, hasty) as ollama:
            with pytest.raises(ServiceTimeout) as caught:
                await ollama.list_models()
            assert caught.value.phase == "listing"
    impatient = OllamaConfig(deadlines=Deadlines(connect=0.1))
    async with OllamaProvider(swallower, impatient) as ollama:
        with pytest.raises(ServiceTimeout) as caught:
            await ollama.list_models()
        assert caught.value.phase == "connect"


async def test_a_limit_holds_while_the_models_are_listed() -> None:
    async with (
        OllamaEmulator(models=MODELS, latency=10.0) as server,
        OllamaProvider(server.url) as ollama,
    ):
        requests = (
            ollama.complete(CompletionRequest("a:1", ["Hello"], timeout=0.1)),
            ollama.embed(EmbeddingRequest("a:1", ["Hello"], timeout=0.1)),
        )
        for call in requests:
            started = time.monotonic()
            with pytest.raises(ServiceTimeout) as caught:
                await call
            assert (caught.value.phase, caught.value.service) == ("total", "ollama")
            assert time.monotonic() - started < 3


async def test_closing_stops_a_list_that_is_under_way() -> None:
    async with OllamaEmulator(models=MODELS, latency=5.0) as server:
        ollama = OllamaProvider(server.url)
        listing = asyncio.create_task(ollama.list_models())
        async with asyncio.timeout(2):
            while not server.requests:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)
        await ollama.aclose()
        with pytest.raises(ProviderError, match="was closed"):
            await listing


async def test_a_request_that_cannot_be_written_is_the_callers_fault() -> None:
    turns = [
        CompletionMessage(role="assistant", tool_calls=(ToolCall("1", "f", "no json"),)),
        CompletionMessage.user("Go on."),
    ]
    async with OllamaEmulator(models=MODELS) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(InvalidRequest, match="not a JSON object"):
            await ollama.complete(CompletionRequest("a:1", turns))
        assert "/api/chat" not in {seen.path for seen in server.requests}


KEY = "CANARYKEY12345"
SECRET = "Nobody may know that I like the moon."


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_error_repeats_neither_the_key_nor_the_request(streamed: bool) -> None:  # noqa: FBT001
    words = json.dumps({"error": f"bad token {KEY}, cannot parse: {SECRET} Sorry."}).encode()
    path = ""

    async def repeats(exchange: Exchange) -> bool:
        if exchange.path != path:
            return False
        await exchange.reply(200 if streamed and path == "/api/chat" else 400, words)
        return True

    embedder = OllamaModel(name="e:1", capabilities=("embedding",))
    config = OllamaConfig(api_key=Secret(KEY))
    async with (
        OllamaEmulator(models=[*MODELS, embedder]) as server,
        OllamaProvider(server.url, config) as ollama,
    ):
        server.faults.append(repeats)
        path = "/api/chat"
        with pytest.raises(
            ProviderError, match=r"bad token \*\*\*, cannot parse: …. Sorry"
        ) as chat:
            await ollama.complete(CompletionRequest("a:1", [SECRET]))
        path = "/api/embed"
        with pytest.raises(
            ProviderError, match=r"bad token \*\*\*, cannot parse: …. Sorry"
        ) as embed:
            await ollama.embed(EmbeddingRequest("e:1", ["a", SECRET]))
        path = "/api/tags"
        with pytest.raises(ProviderError, match=r"bad token \*\*\*, cannot") as listing:
            await ollama.survey()
    for caught in (chat, embed, listing):
        assert KEY not in repr(caught.value)
    assert SECRET not in repr(chat.value) + repr(embed.value)


async def test_many_vectors_may_come_in_a_long_reply() -> None:
    async def embeds(exchange: Exchange) -> bool:
        if exchange.path != "/api/embed":
            return False
        row = b"[" + b",".join([b"-0.0123456789012"] * 1024) + b"]"
        await exchange.reply(200, b'{"embeddings":[' + b",".join([row] * 600) + b"]}")
        return True

    embedder = OllamaModel(name="e:1", capabilities=("embedding",))
    async with OllamaEmulator(models=[embedder]) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(embeds)
        response = await ollama.embed(EmbeddingRequest("e:1", ["a"] * 600, batch_size=600))
        assert (len(response.embeddings), response.embeddings.dimensions) == (600, 1024)
        assert response.model == "e:1"


async def test_a_few_vectors_may_not_come_in_a_long_reply() -> None:
    async def floods(exchange: Exchange) -> bool:
        if exchange.path != "/api/embed":
            return False
        await exchange.reply(200, b'{"embeddings":[[1.0]],"x":"' + b"x" * MAX_REPLY + b'"}')
        return True

    embedder = OllamaModel(name="e:1", capabilities=("embedding",))
    async with OllamaEmulator(models=[embedder]) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(floods)
        with pytest.raises(ResponseTooLarge):
            await ollama.embed(EmbeddingRequest("e:1", ["a"]))


async def test_an_answer_that_names_no_model_is_signed_all_the_same() -> None:
    async def unnamed(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat":
            return False
        await exchange.reply(200, b'{"message":{"content":"Hi."},"done":true}\n')
        return True

    async with OllamaEmulator(models=MODELS) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(unnamed)
        response = await ollama.complete(CHAT)
        assert (response.text, response.model, response.service) == ("Hi.", "a:1", "ollama")


async def test_a_transport_may_be_shared_and_is_then_not_closed() -> None:
    async with OllamaEmulator(models=MODELS) as server:
        transport = Transport()
        for _ in range(2):
            async with OllamaProvider(server.url, transport=transport) as ollama:
                assert len(await ollama.list_models()) == 3
        await transport.aclose()


def test_where_it_is_if_nobody_says() -> None:
    assert str(OllamaProvider().endpoint) == "http://127.0.0.1:11434"
    assert OllamaProvider(parse_endpoint("h", default_port=1)).address == "http://h:1"
    assert OllamaProvider().config == ServiceConfig()
    with pytest.raises(InvalidConfiguration, match="its host is not a name"):
        OllamaProvider("http://a b")


@pytest.mark.parametrize(
    ("emulator", "provider", "model"),
    [
        (OllamaEmulator, OllamaProvider, "llama3.2:3b"),
        (LMStudioEmulator, LMStudioProvider, "qwen/qwen3-4b-2507"),
    ],
)
async def test_an_answer_leaves_its_connection_to_the_next(
    emulator: type[EmulatedServer], provider: type[ServiceProvider], model: str
) -> None:
    async with emulator() as server, provider(server.url) as service:
        await service.complete(CompletionRequest(model, "Hello"))
        before = server.connections
        await service.complete(CompletionRequest(model, "Hello again"))
        assert server.connections == before
