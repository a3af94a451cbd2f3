"""Ollama in its own language: facts from `/api/show`, thinking, tools, numbers, its errors."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.provider.errors import (
    AuthenticationError,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
)
from patinox.provider.local.config import Deadlines, OllamaConfig
from patinox.provider.local.errors import ModelNotLoaded, ServiceUnavailable, StreamInterrupted
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    ModelInfo,
    QualityTier,
    ReasoningDelta,
    ResponseStarted,
    Source,
    SpeedTier,
    TextDelta,
    ToolCall,
)
from patinox.testing import (
    EmulatedServer,
    Exchange,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
    OllamaPrompt,
    OllamaToolCall,
)

CALLS = (
    OllamaToolCall("get_weather", {"city": "Paris", "days": 2}),
    OllamaToolCall("get_time", {}),
)

CLOUD = OllamaModel(name="gpt-oss:120b-cloud", remote_model="gpt-oss:120b")


async def listed(server: OllamaEmulator) -> dict[str, ModelInfo]:
    async with OllamaProvider(server.url) as ollama:
        return {info.id: info for info in await ollama.list_models()}


def instead(path: str, status: int, body: bytes) -> Callable[[Exchange], Awaitable[bool]]:
    async def fault(exchange: Exchange) -> bool:
        if exchange.path != path:
            return False
        await exchange.reply(status, body)
        return True

    return fault


def sent(server: EmulatedServer, path: str) -> list[Any]:
    return [seen.json for seen in server.requests if seen.path == path]


# What its models are.


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
async def test_facts_come_from_the_server_in_every_version(version: str) -> None:
    async with OllamaEmulator(version=version) as server:
        models = await listed(server)

    told = {
        name: (
            info.capabilities.supports_chat,
            info.capabilities.supports_embeddings,
            info.capabilities.supports_vision,
            info.capabilities.supports_tools,
            info.capabilities.supports_thinking,
        )
        for name, info in models.items()
    }
    # Since 0.30 what is not in the list is refused; before, models for chat embed all the same.
    embeds = False if version == "0.33.0" else None
    assert told == {
        "gpt-oss:120b-cloud": (True, embeds, False, True, True),
        "llama3.2:3b": (True, embeds, False, True, False),
        "llava:7b": (True, embeds, True, False, False),
        "nomic-embed-text:latest": (False, True, False, False, False),
        "qwen3:4b": (True, embeds, False, True, True),
    }
    for info in models.values():
        assert info.capabilities.source("supports_vision") is Source.SERVER
        assert info.loaded is False
        assert info.loaded_context_length is None
    qwen = models["qwen3:4b"]
    assert qwen.context_length == qwen.capabilities.max_tokens == 262144
    assert qwen.sources["context_length"] is Source.SERVER
    assert (qwen.architecture, qwen.quantization, qwen.format) == ("qwen3", "Q4_K_M", "gguf")
    assert (qwen.parameter_count, qwen.size_bytes) == (4_000_000_000, 2_620_788_019)
    assert qwen.digest is not None
    assert qwen.created is not None
    assert qwen.capabilities.quality_tier is QualityTier.BASIC
    assert qwen.capabilities.speed_tier is SpeedTier.FAST


async def test_what_is_in_memory_and_with_which_context() -> None:
    models = [OllamaModel(name="a", loaded=True), OllamaModel(name="b")]
    async with OllamaEmulator(models=models, context_length=8192) as server:
        found = await listed(server)

    assert (found["a:latest"].loaded, found["a:latest"].loaded_context_length) == (True, 8192)
    assert found["a:latest"].sources["loaded_context_length"] is Source.SERVER
    assert (found["b:latest"].loaded, found["b:latest"].loaded_context_length) == (False, None)


async def test_a_name_is_the_last_resort_and_is_marked() -> None:
    bare = b'{"models":[{"name":"bge-small"},{"name":"llava:7b"},{"name":"plain"}]}'
    async with OllamaEmulator(models=()) as server:
        server.faults += [instead("/api/tags", 200, bare), instead("/api/show", 200, b"{}")]
        found = await listed(server)

    embedder = found["bge-small"].capabilities
    assert (embedder.supports_embeddings, embedder.supports_chat) == (True, False)
    assert embedder.source("supports_embeddings") is Source.NAME
    seeing = found["llava:7b"].capabilities
    assert (seeing.supports_vision, seeing.source("supports_vision")) == (True, Source.NAME)
    assert seeing.supports_chat is None
    assert found["plain"].capabilities.sources == {}
    assert found["plain"].context_length is None


@pytest.mark.parametrize("body", [b'{"models":null}', b'{"models":[]}'], ids=["null", "empty"])
async def test_a_server_without_models_has_none(body: bytes) -> None:
    async with OllamaEmulator() as server:
        server.faults.append(instead("/api/tags", 200, body))
        assert await listed(server) == {}


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b'{"error":"model \'x\' not found"}'), (500, b"boom"), (200, b"no json")],
    ids=["gone", "failed", "garbled"],
)
async def test_a_model_that_cannot_be_shown_does_not_hide_the_others(
    status: int, body: bytes
) -> None:
    async with OllamaEmulator() as server:
        server.faults.append(instead("/api/show", status, body))
        found = await listed(server)

    assert len(found) == 5
    assert found["qwen3:4b"].architecture == "qwen3"
    # Since 0.30 the list itself tells a part.
    assert found["qwen3:4b"].capabilities.supports_thinking
    assert found["qwen3:4b"].context_length == 262144


async def test_what_does_not_change_is_asked_for_once() -> None:
    async with (
        OllamaEmulator() as server,
        OllamaProvider(server.url, OllamaConfig(cache_ttl=0.0)) as ollama,
    ):
        first = await ollama.list_models()
        second = await ollama.list_models()
        assert first == second
        assert len(sent(server, "/api/show")) == 5
        server._store.add(OllamaModel(name="qwen3:4b", digest="ab" * 32))  # noqa: SLF001
        third = {info.id: info for info in await ollama.list_models()}
        assert len(sent(server, "/api/show")) == 6
        assert third["qwen3:4b"].capabilities.supports_thinking is False


async def test_after_an_upgrade_it_is_asked_anew_what_its_models_can() -> None:
    async with (
        OllamaEmulator(version="0.33.0") as server,
        OllamaProvider(server.url, OllamaConfig(cache_ttl=0.0)) as ollama,
    ):
        await ollama.list_models()
        server.version = "0.34.0"
        await ollama.list_models()
        assert len(sent(server, "/api/show")) == 10
        await ollama.list_models()
        assert len(sent(server, "/api/show")) == 10

        async def refuses(exchange: Exchange) -> bool:
            if exchange.path == "/api/version":
                await exchange.reply(500)
            return exchange.path == "/api/version"

        server.faults.append(refuses)  # what is no version is no upgrade
        await ollama.list_models()
        assert len(sent(server, "/api/show")) == 10


async def test_a_model_that_is_never_shown_hides_no_other() -> None:
    config = OllamaConfig(deadlines=Deadlines(listing=1))

    async def silent(exchange: Exchange) -> bool:
        if exchange.path == "/api/show" and b"llava:7b" in exchange.body:
            await exchange.hold()
        return False

    async with (
        OllamaEmulator(version="0.24.0") as server,  # which tells it nowhere else
        OllamaProvider(server.url, config) as ollama,
    ):
        server.faults.append(silent)
        models = {info.id: info for info in await ollama.list_models()}
    assert len(models) == 5
    told = [
        info.capabilities.source("supports_vision") is Source.SERVER for info in models.values()
    ]
    assert told == [name != "llava:7b" for name in models]


async def test_the_limit_of_a_listing_holds_for_all_of_it() -> None:
    now = 0.0

    async def slow(exchange: Exchange) -> bool:
        nonlocal now
        if exchange.path == "/api/show":
            now += 4.0
        return False

    config = OllamaConfig(deadlines=Deadlines(listing=10), cache_ttl=0)
    many = [OllamaModel(name=f"m{number}:1b") for number in range(40)]
    async with (
        OllamaEmulator(models=many) as server,
        OllamaProvider(server.url, config, clock=lambda: now) as ollama,
    ):
        server.faults.append(slow)
        assert len(await ollama.list_models()) == 40
        asked = len(sent(server, "/api/show"))
        assert 3 <= asked <= 10, "eight at once, and no more once the time is over"
        await ollama.list_models()
        names = {show["model"] for show in sent(server, "/api/show")}
        assert asked < len(names) == len(sent(server, "/api/show")), "what is known stays known"


async def test_of_very_many_models_it_is_not_asked_what_each_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("patinox.provider.local.ollama._MOST_SHOWN", 2)
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        assert len(await ollama.list_models()) == 5
        assert len(sent(server, "/api/show")) == 2


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "tiny:latest",
        "TINY",
        "library/tiny",
        "registry.ollama.ai/library/tiny:latest",
        " tiny ",
    ],
)
async def test_the_many_names_of_one_model(name: str) -> None:
    async with (
        OllamaEmulator(models=[OllamaModel(name="tiny", reply="Hi.")]) as server,
        OllamaProvider(server.url) as ollama,
    ):
        response = await ollama.complete(CompletionRequest(name, ["Hello"]))
        assert (response.text, response.model) == ("Hi.", "tiny:latest")
        assert sent(server, "/api/chat")[0]["model"] == "tiny:latest"
        assert await ollama.supports_model(name)
        assert not await ollama.supports_model(f"{name.strip()}x")
        assert await ollama.model_capabilities("ollama::tiny") is not None
        assert await ollama.model_capabilities("lmstudio::tiny") is None


# Answers.


async def test_thinking_has_a_place_of_its_own() -> None:
    thinker = OllamaModel(
        name="t",
        capabilities=("completion", "thinking"),
        reply=OllamaAnswer("The answer is 7.", thinking="Three and four."),
    )
    async with OllamaEmulator(models=[thinker]) as server, OllamaProvider(server.url) as ollama:
        async with ollama.stream_completion(CompletionRequest("t", ["3 + 4?"])) as stream:
            events = [event async for event in stream]
        response = stream.response

        assert (response.reasoning, response.text) == ("Three and four.", "The answer is 7.")
        kinds = [type(event) for event in events if isinstance(event, ReasoningDelta | TextDelta)]
        assert kinds == [ReasoningDelta] * 3 + [TextDelta] * 4
        whole = await ollama.complete(CompletionRequest("t", ["3 + 4?"]))
        assert whole.choices == response.choices


@pytest.mark.parametrize("path", ["rendered", "native"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_tool_calls_come_whole_on_both_paths(path: Any, streaming: bool) -> None:  # noqa: ANN401, FBT001
    caller = OllamaModel(
        name="caller",
        capabilities=("completion", "tools"),
        path=path,
        reply=OllamaAnswer("Checking.", tool_calls=CALLS),
    )
    request = CompletionRequest("caller", ["Weather?"])
    async with (
        OllamaEmulator(models=[caller]) as server,
        OllamaProvider(server.url, OllamaConfig(streaming=streaming)) as ollama,
    ):
        response = await ollama.complete(request)

    assert response.finish_reason == "tool_calls"
    assert response.text == "Checking."
    assert [call.name for call in response.tool_calls] == ["get_weather", "get_time"]
    assert [json.loads(call.arguments) for call in response.tool_calls] == [
        {"city": "Paris", "days": 2},
        {},
    ]
    assert len({call.id for call in response.tool_calls}) == 2
    assert all(call.id for call in response.tool_calls)


async def test_a_result_of_a_tool_goes_back_to_its_call() -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return "Sunny."

    caller = OllamaModel(name="caller", capabilities=("completion", "tools"), reply=reply)
    turns = [
        CompletionMessage.user("Weather?"),
        CompletionMessage(
            role="assistant", tool_calls=(ToolCall("call_1", "get_weather", '{"city": "Oslo"}'),)
        ),
        CompletionMessage(role="tool", content="12 C", tool_call_id="call_1", name="get_weather"),
    ]
    async with OllamaEmulator(models=[caller]) as server, OllamaProvider(server.url) as ollama:
        assert (await ollama.complete(CompletionRequest("caller", turns))).text == "Sunny."
        _, asked, answered = sent(server, "/api/chat")[0]["messages"]

    assert asked["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    assert (answered["tool_call_id"], answered["tool_name"]) == ("call_1", "get_weather")
    assert len(seen) == 1


async def test_numbers_are_the_servers_and_absent_ones_stay_absent() -> None:
    model = OllamaModel(name="m", reply="One two three.")
    async with OllamaEmulator(models=[model]) as server, OllamaProvider(server.url) as ollama:
        response = await ollama.complete(CompletionRequest("m", ["Count to three."]))
        assert response.usage.completion_tokens == 4  # three words and the end
        assert response.usage.prompt_tokens
        assert response.usage.cached_tokens is None
        assert response.timings.measured_by == "server"
        assert response.timings.tokens_per_second
        assert response.timings.load_seconds is not None
        assert response.timings.prompt_seconds is not None
        assert response.created is not None

        done = b'{"model":"m","message":{"role":"assistant","content":"Hi"},"done":true}\n'
        server.faults.append(instead("/api/chat", 200, done))
        bare = await ollama.complete(CompletionRequest("m", ["Hello"]))
        assert (bare.usage.prompt_tokens, bare.usage.completion_tokens) == (None, None)
        assert bare.usage.total_tokens is None
        assert bare.finish_reason is None
        assert bare.created is None
        timings = bare.timings
        assert (timings.tokens_per_second, timings.measured_by) == (None, None)
        assert (timings.load_seconds, timings.prompt_seconds) == (None, None)


async def test_the_callers_options_arrive_and_typed_ones_win() -> None:
    config = OllamaConfig(custom_params={"num_ctx": 2048, "temperature": 2.0, "top_k": 5})
    async with OllamaEmulator() as server, OllamaProvider(server.url, config) as ollama:
        request = CompletionRequest(
            "llama3.2:3b",
            ["Hello"],
            temperature=0.5,
            max_tokens=3,
            top_p=0.9,
            stop="!",
            seed=7,
            options={"top_k": 6},
        )
        await ollama.complete(request)
        (body,) = sent(server, "/api/chat")

    assert body["options"] == {
        "num_ctx": 2048,
        "temperature": 0.5,
        "top_k": 6,
        "num_predict": 3,
        "top_p": 0.9,
        "stop": ["!"],
        "seed": 7,
    }


async def test_a_stream_without_done_is_an_interruption_with_its_text() -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer("Once upon", finished=False))
    async with OllamaEmulator(models=[model]) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(StreamInterrupted, match="without saying that it is done") as caught:
            await ollama.complete(CompletionRequest("m", ["Tell"]))
        assert caught.value.text == "Once upon"
        assert caught.value.delivered


async def test_a_mere_load_is_no_answer() -> None:
    loaded = b'{"model":"llama3.2:3b","message":{"content":""},"done":true,"done_reason":"load"}\n'
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        server.faults.append(instead("/api/chat", 200, loaded))
        with pytest.raises(ModelNotLoaded, match="mere load"):
            await ollama.complete(CompletionRequest("llama3.2:3b", ["Hello"]))


# Its errors.


async def test_a_prompt_that_is_too_long_tells_both_lengths() -> None:
    model = OllamaModel(name="m", path="native", context_length=8)
    async with OllamaEmulator(models=[model]) as server, OllamaProvider(server.url) as ollama:
        with pytest.raises(ContextLengthExceeded) as caught:
            await ollama.complete(CompletionRequest("m", ["word " * 50]))
        assert caught.value.context_tokens == 8
        assert caught.value.prompt_tokens is not None
        assert caught.value.prompt_tokens > 8


@pytest.mark.parametrize(
    ("cloud", "kind"),
    [("signed-out", AuthenticationError), ("disabled", CloudModelRefused)],
)
async def test_a_cloud_that_does_not_answer_says_why(cloud: Any, kind: type[Exception]) -> None:  # noqa: ANN401
    async with (
        OllamaEmulator(cloud=cloud) as server,
        OllamaProvider(server.url, OllamaConfig(allow_cloud=True)) as ollama,
    ):
        with pytest.raises(kind):
            await ollama.complete(CompletionRequest("gpt-oss:120b-cloud", ["Hi"]))


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "gpt-oss:120b:cloud", "GPT-OSS:120b-Cloud"])
async def test_an_allowed_cloud_model_answers_under_the_name_it_has_there(name: str) -> None:
    async with (
        OllamaEmulator(cloud="signed-in") as server,
        OllamaProvider(server.url, OllamaConfig(allow_cloud=True)) as ollama,
    ):
        response = await ollama.complete(CompletionRequest(name, ["Hi"]))
        assert response.model.casefold().startswith("gpt-oss:120b")


async def test_a_dead_server_is_told_by_its_address(free_port: int) -> None:
    async with OllamaProvider(f"127.0.0.1:{free_port}") as ollama:
        with pytest.raises(ServiceUnavailable, match=f"127.0.0.1:{free_port}.*nothing listens"):
            await ollama.list_models()


@pytest.mark.parametrize(
    "entry",
    [
        b'"name":"gpt-oss:120b-cloud"',
        b'"name":"GLM:Cloud"',
        b'"name":"mine:1","remote_model":"gpt-oss:120b"',
        b'"name":"mine:1","remote_host":["https://ollama.com"]',
    ],
)
async def test_a_model_in_the_cloud_is_known_by_any_sign_of_it(entry: bytes) -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        server.faults.append(instead("/api/tags", 200, b'{"models":[{' + entry + b"}]}"))
        (info,) = await ollama.list_models()
        assert info.remote
        with pytest.raises(CloudModelRefused):
            await ollama.complete(CompletionRequest(info.id, ["My secret."]))
        assert not sent(server, "/api/chat")


@pytest.mark.parametrize("name", ["my-cloud", "cloud", "host:5000/cloud", "x:cloudy"])
async def test_a_name_with_cloud_elsewhere_than_in_its_tag_is_on_this_machine(name: str) -> None:
    async with OllamaEmulator(models=()) as server, OllamaProvider(server.url) as ollama:
        body = json.dumps({"models": [{"name": name}]}).encode()
        server.faults.append(instead("/api/tags", 200, body))
        (info,) = await ollama.list_models()
        assert not info.remote


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "odd",
    [
        '"size":""',
        '"size":-1',
        f'"size":{HUGE}',
        '"size":1e400',
        '"digest":null',
        '"modified_at":5,"capabilities":"tools"',
        f'"details":{{"context_length":{HUGE}}}',
        '"details":[]',
    ],
)
async def test_an_odd_fact_is_not_known_and_hides_no_model(odd: str) -> None:
    models = f'{{"models":[{{"name":null}},{{"name":"a:1",{odd}}},{{"name":""}}]}}'
    show = '{"capabilities":["completion"],"model_info":{"general.architecture":"x",'
    show += f'"x.context_length":{HUGE}}}}}'
    async with OllamaEmulator(models=()) as server:
        server.faults += [
            instead("/api/tags", 200, models.encode()),
            instead("/api/show", 200, show.encode()),
        ]
        found = await listed(server)
    (info,) = found.values()
    assert (info.size_bytes, info.digest, info.context_length) == (None, None, None)
    assert info.capabilities.supports_chat


# Vectors.


async def test_vectors_are_counted_and_may_be_shortened() -> None:
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        response = await ollama.embed(
            EmbeddingRequest("nomic-embed-text", ["one two", "three"], dimensions=16)
        )
        assert (len(response.embeddings), response.embeddings.dimensions) == (2, 16)
        assert response.usage.prompt_tokens == response.usage.total_tokens == 3
        assert response.normalized
        assert sent(server, "/api/embed")[0]["truncate"] is False


def test_its_repr_shows_where_it_is_and_no_key() -> None:
    ollama = OllamaProvider("localhost:1", OllamaConfig(api_key="hidden-key"))  # type: ignore[arg-type]
    assert repr(ollama) == "<OllamaProvider ollama at http://127.0.0.1:1>"
    assert "hidden" not in repr(ollama.config)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("on_mismatch", ["refuse", "label"])
async def test_a_name_that_now_stands_for_a_cloud_model_gives_no_answer(
    on_mismatch: Any,  # noqa: ANN401
    streaming: bool,  # noqa: FBT001
) -> None:
    request = CompletionRequest("mine", ["Hi"], on_mismatch=on_mismatch)
    here = OllamaModel(name="mine", loaded=True)
    async with (
        OllamaEmulator(models=[here, CLOUD], cloud="signed-in") as server,
        OllamaProvider(server.url, OllamaConfig(streaming=streaming)) as ollama,
        OllamaProvider(server.url) as another,
    ):
        await ollama.list_models()
        await another.copy(CLOUD.name, "mine", overwrite=True)
        with pytest.raises(CloudModelRefused, match="passed this request on to the cloud"):
            await ollama.complete(request)
        with pytest.raises(CloudModelRefused, match="'mine:latest' runs in the cloud"):
            await ollama.complete(request)
        assert len(sent(server, "/api/chat")) == 1, "what is known now is not asked again"


async def test_nothing_of_an_answer_from_the_cloud_is_handed_out() -> None:
    here = OllamaModel(name="mine", loaded=True)
    async with (
        OllamaEmulator(models=[here, CLOUD], cloud="signed-in") as server,
        OllamaProvider(server.url) as ollama,
        OllamaProvider(server.url) as another,
    ):
        await ollama.list_models()
        await another.copy(CLOUD.name, "mine", overwrite=True)
        async with ollama.stream_completion(CompletionRequest("mine", ["Hi"])) as stream:
            with pytest.raises(CloudModelRefused):
                await anext(stream)
            assert not stream.text


@pytest.mark.parametrize("name", [CLOUD.name, "mine"])
async def test_an_answer_from_the_cloud_that_is_allowed_says_so(name: str) -> None:
    models = [CLOUD, OllamaModel(name="mine", remote_model="gpt-oss:120b")]
    async with (
        OllamaEmulator(models=models, cloud="signed-in") as server,
        OllamaProvider(server.url, OllamaConfig(allow_cloud=True)) as ollama,
        ollama.stream_completion(CompletionRequest(name, ["Hi"])) as stream,
    ):
        started = await anext(stream)
        assert isinstance(started, ResponseStarted)
        assert started.remote
        assert (await stream.collect()).text


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "x:cloud", "llama3.2:3b"])
async def test_what_is_asked_of_another_service_is_refused_unsent(
    name: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    async with (
        OllamaEmulator(cloud="signed-in") as server,
        OllamaProvider(server.url, OllamaConfig(allow_cloud=allowed)) as ollama,
    ):
        for _ in range(2):  # without a list, and with a young one
            with pytest.raises(InvalidRequest, match=f"'lmstudio::{name}' names another service"):
                await ollama.complete(CompletionRequest(f"lmstudio::{name}", ["My secret."]))
            await ollama.list_models()
        assert await ollama.find(f"lmstudio::{name}") is None
        assert not sent(server, "/api/chat")
