"""LM Studio: its two lists of models, its silent substitution, its ways to fail after a 200."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.provider.base import CompletionStream
from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    ContextLengthExceeded,
    InvalidRequest,
    ModelMismatch,
    ProviderError,
)
from patinox.provider.local.config import LMStudioConfig
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
    StreamInterrupted,
)
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest, EmbeddingRequest, ModelInfo, Source
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioToolCall,
    OllamaEmulator,
)
from patinox.testing.lmstudio import MODEL_CRASHED

KEY = "sk-lm-Ab3dEf9h:0123456789abcdefghij"
QWEN = "qwen/qwen3-4b-2507"
OSS = "openai/gpt-oss-20b"
GEMMA = "gemma-3-4b-it"
NOMIC = "text-embedding-nomic-embed-text-v1.5"
CHAT = "/v1/chat/completions"


async def listed(server: LMStudioEmulator, **settings: Any) -> dict[str, ModelInfo]:  # noqa: ANN401
    async with LMStudioProvider(server.url, LMStudioConfig(**settings)) as studio:
        return {info.id: info for info in await studio.list_models()}


def instead(path: str, status: int, body: bytes) -> Callable[[Exchange], Awaitable[bool]]:
    async def fault(exchange: Exchange) -> bool:
        if exchange.path != path:
            return False
        await exchange.reply(status, body)
        return True

    return fault


def asked(server: EmulatedServer) -> list[str]:
    return [seen.path for seen in server.requests if seen.method == "POST"]


def abilities(info: ModelInfo) -> tuple[bool | None, ...]:
    told = info.capabilities
    return (
        told.supports_chat,
        told.supports_embeddings,
        told.supports_vision,
        told.supports_tools,
        told.supports_thinking,
    )


# What its models are.


async def test_0_4_tells_all_of_its_models() -> None:
    async with LMStudioEmulator() as server:
        models = await listed(server)

    assert {name: abilities(info) for name, info in models.items()} == {
        QWEN: (True, False, False, True, False),
        OSS: (True, False, False, True, True),
        GEMMA: (True, False, True, False, False),
        NOMIC: (False, True, None, None, None),
    }
    qwen = models[QWEN]
    assert (qwen.loaded, qwen.loaded_context_length, qwen.context_length) == (True, 8192, 262144)
    assert set(qwen.sources.values()) == {Source.SERVER}
    assert (qwen.display_name, qwen.owned_by) == ("Qwen3 4B 2507", "qwen")
    assert (qwen.architecture, qwen.quantization, qwen.format) == ("qwen3", "Q4_K_M", "gguf")
    assert qwen.parameter_count == 4_000_000_000
    assert (models[OSS].loaded, models[OSS].loaded_context_length) == (False, None)
    assert models[OSS].capabilities.source("supports_thinking") is Source.SERVER


async def test_0_3_tells_what_it_knows_and_the_rest_stays_unknown() -> None:
    async with (
        LMStudioEmulator(generation="0.3") as server,
        LMStudioProvider(server.url) as studio,
    ):
        models = {info.id: info for info in await studio.list_models()}
        assert studio.inferred_version == "0.3.x"

    assert {name: abilities(info) for name, info in models.items()} == {
        QWEN: (True, False, None, True, None),
        OSS: (True, False, None, True, None),
        GEMMA: (True, False, True, None, None),
        NOMIC: (False, True, None, None, None),
    }
    qwen = models[QWEN]
    assert (qwen.loaded, qwen.loaded_context_length, qwen.context_length) == (True, 8192, 262144)
    assert (models[OSS].loaded, models[OSS].loaded_context_length) == (False, None)
    assert qwen.parameter_count is None
    assert qwen.capabilities.quality_tier is None


async def test_a_list_without_facts_leaves_names_and_marks_them() -> None:
    async with LMStudioEmulator() as server:
        models = await listed(server, use_openai_compat=True)
        assert [seen.path for seen in server.requests] == ["/v1/models"]

    assert models[NOMIC].capabilities.supports_embeddings
    assert models[NOMIC].capabilities.supports_chat is False
    assert models[NOMIC].capabilities.source("supports_chat") is Source.NAME
    assert abilities(models[QWEN]) == (None,) * 5
    assert models[QWEN].loaded is None
    assert models[QWEN].sources == {}


async def test_a_server_that_took_the_port_is_not_listed_as_lm_studio() -> None:
    async with OllamaEmulator() as server:
        with pytest.raises(ParseError, match=r"not LM Studio any more: .* belong to 'library'"):
            await listed(server)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 404])
async def test_a_server_older_than_all_of_its_own_routes_is_listed_as_openai(status: int) -> None:
    missing = b'{"error":"Unexpected endpoint or method. (GET /api/v1/models)"}'
    async with LMStudioEmulator() as server:
        for path in ("/api/v1/models", "/api/v0/models"):
            server.faults.append(instead(path, status, missing))
        async with LMStudioProvider(server.url) as studio:
            assert QWEN in {info.id for info in await studio.list_models()}
            assert studio.inferred_version is None


async def test_a_kind_of_model_that_is_not_known_is_not_guessed() -> None:
    odd = b'{"models":[{"type":"reranker","key":"r"},{"type":"llm","key":"bare"}]}'
    async with LMStudioEmulator() as server:
        server.faults.append(instead("/api/v1/models", 200, odd))
        models = await listed(server)
    assert abilities(models["r"]) == (None,) * 5
    assert abilities(models["bare"]) == (True, False, None, None, None)
    assert models["bare"].loaded is None


@pytest.mark.parametrize(
    ("instances", "loaded"),
    [
        (b"null", None),
        (b"[]", False),
        (b'[{"id":"i","config":null}]', True),
        (b'[{"id":"i","config":{"context_length":-1}}]', None),
    ],
)
async def test_an_odd_fact_is_not_known_and_hides_no_model(
    instances: bytes,
    loaded: bool | None,  # noqa: FBT001
) -> None:
    odd = b'{"models":[{"key":5},{"key":"m","type":"llm","size_bytes":1.5,"loaded_instances":'
    async with LMStudioEmulator() as server:
        server.faults.append(instead("/api/v1/models", 200, odd + instances + b"}]}"))
        models = await listed(server)
    assert list(models) == ["m"]
    assert models["m"].loaded is loaded
    assert models["m"].size_bytes is None


async def test_a_refused_key_is_no_missing_route() -> None:
    async with LMStudioEmulator(token=KEY) as server:
        with pytest.raises(AuthenticationError) as caught:
            await listed(server)
        assert caught.value.status == 401
        assert [seen.path for seen in server.requests] == ["/api/v1/models"]
        with pytest.raises(AuthenticationError) as caught:
            await listed(server, api_key=Secret("sk-lm-wrong000:0123456789abcdefghij"))
        assert "sk-lm-wron" not in str(caught.value)
        assert QWEN in await listed(server, api_key=Secret(KEY))


# Names and the silent substitution.


async def test_an_unknown_model_is_refused_before_it_could_be_substituted() -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        with pytest.raises(ModelNotFound) as caught:
            await studio.complete(CompletionRequest("qwen3-4b-2508", ["Hello"]))
        assert caught.value.nearest == (f"lmstudio::{QWEN}",)
        assert asked(server) == []


async def test_another_model_that_answers_is_a_mismatch_before_any_output() -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        body = (
            b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"gemma-3-4b-it",'
            b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},'
            b'"finish_reason":null}]}\n\n'
        )
        server.faults.append(instead(CHAT, 200, body))
        async with studio.stream_completion(CompletionRequest(QWEN, ["Hello"])) as stream:
            with pytest.raises(ModelMismatch, match="answered with 'gemma-3-4b-it' instead of"):
                await stream.collect()
            assert stream.text == ""


@pytest.mark.parametrize("identifier", [None, "my-own-name"])
@pytest.mark.parametrize(
    "name", [QWEN, QWEN.upper(), f"{QWEN}@q4_k_m", "lmstudio::qwen/qwen3-4b-2507"]
)
async def test_a_model_is_asked_for_by_its_loaded_instance(
    identifier: str | None, name: str
) -> None:
    model = LMStudioModel(
        key=QWEN, identifier=identifier, loaded_context_length=4096, reply="I am it."
    )
    async with LMStudioEmulator([model]) as server, LMStudioProvider(server.url) as studio:
        response = await studio.complete(CompletionRequest(name, ["Who?"]))

        assert response.text == "I am it."
        assert response.model == (identifier or QWEN)
        assert server.requests[-1].json["model"] == (identifier or QWEN)
        if identifier:
            assert await studio.supports_model(identifier)


async def test_a_model_on_disk_is_loaded_by_its_request() -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        response = await studio.complete(CompletionRequest(GEMMA, ["Hello"]))
        assert response.model == GEMMA
        assert GEMMA in server.loaded


# Answers.


@pytest.mark.parametrize("reasoning_key", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("generation", ["0.3", "0.4"])
async def test_reasoning_has_a_place_of_its_own(reasoning_key: Any, generation: Any) -> None:  # noqa: ANN401
    model = LMStudioModel(
        key="thinker",
        reasoning=("low", "high"),
        reply=LMStudioAnswer("Seven.", reasoning="Three and four."),
    )
    async with (
        LMStudioEmulator([model], generation=generation, reasoning_key=reasoning_key) as server,
        LMStudioProvider(server.url) as studio,
    ):
        streamed = await studio.complete(CompletionRequest("thinker", ["3 + 4?"]))
        question = CompletionRequest("thinker", ["3 + 4?"])
        async with CompletionStream(studio.batches(question, streaming=False)) as stream:
            whole = await stream.collect()

    assert (streamed.text, streamed.reasoning) == ("Seven.", "Three and four.")
    assert whole.choices == streamed.choices


@pytest.mark.parametrize("streaming", [True, False])
async def test_tool_calls_are_joined_from_their_pieces(streaming: bool) -> None:  # noqa: FBT001
    calls = (
        LMStudioToolCall("get_weather", '{"city": "Oslo", "days": 2}'),
        LMStudioToolCall("get_time"),
    )
    model = LMStudioModel(key="caller", tools=True, reply=LMStudioAnswer("", tool_calls=calls))
    async with (
        LMStudioEmulator([model]) as server,
        LMStudioProvider(server.url, LMStudioConfig(streaming=streaming)) as studio,
    ):
        response = await studio.complete(CompletionRequest("caller", ["Weather?"]))

    assert response.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in response.tool_calls] == [
        ("get_weather", {"city": "Oslo", "days": 2}),
        ("get_time", {}),
    ]
    assert len({call.id for call in response.tool_calls}) == 2


async def test_usage_is_asked_for_and_absent_where_the_server_gives_none() -> None:
    for usage in (True, False):
        async with (
            LMStudioEmulator(usage=usage) as server,
            LMStudioProvider(server.url) as studio,
        ):
            response = await studio.complete(CompletionRequest(QWEN, ["One two"]))
            assert server.requests[-1].json["stream_options"] == {"include_usage": True}
            counts = response.usage
            if usage:
                assert (counts.prompt_tokens, counts.completion_tokens) == (2, 4)
                assert counts.total_tokens == 6
            else:
                assert (counts.prompt_tokens, counts.completion_tokens) == (None, None)
                assert counts.total_tokens is None


async def test_speed_is_measured_here_where_the_server_says_none() -> None:
    async with (
        LMStudioEmulator(chunk_delay=0.01) as server,
        LMStudioProvider(server.url) as studio,
    ):
        timings = (await studio.complete(CompletionRequest(QWEN, ["a b c d"]))).timings
    assert timings.measured_by == "client"
    assert timings.tokens_per_second is not None
    assert 10 < timings.tokens_per_second < 110
    assert timings.load_seconds is None


async def test_a_stream_without_its_marker_is_whole_once_it_said_why_it_ended() -> None:
    async with (
        LMStudioEmulator(done_marker=False) as server,
        LMStudioProvider(server.url) as studio,
    ):
        response = await studio.complete(CompletionRequest(QWEN, ["Hello"]))
        assert (response.text, response.finish_reason) == ("You said: Hello", "stop")


# Failing after a 200.


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (LMStudioAnswer("Once upon", error=MODEL_CRASHED), ServiceError),
        (LMStudioAnswer("Once upon", finished=False), StreamInterrupted),
    ],
    ids=["error", "end"],
)
async def test_an_answer_that_breaks_off_keeps_its_text(
    answer: LMStudioAnswer, cause: type[ProviderError]
) -> None:
    model = LMStudioModel(key="m", reply=answer)
    async with LMStudioEmulator([model]) as server, LMStudioProvider(server.url) as studio:
        with pytest.raises(StreamInterrupted) as caught:
            await studio.complete(CompletionRequest("m", ["Tell"]))
        assert caught.value.text == "Once upon"
        assert caught.value.delivered
        assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", (ParseError,)),
        (b'{"error":"Unexpected endpoint or method. (POST /v1/chat/completions)"}', (ParseError,)),
        (b'{"error":{"message":"No models loaded.","code":null}}', (ModelNotLoaded,)),
        (b'data: {"error":"The model has crashed"}\n\n', (ServiceError, ParseError)),
        (b"data: {\n\n", (ParseError,)),
        (b"data: [DONE]\n\n", (ParseError,)),
        (b'{"choices":[{"index":"zero"}]}', (ParseError,)),
    ],
    ids=["empty", "no route", "no model", "crash", "spliced", "only the marker", "no contract"],
)
async def test_a_200_that_is_no_answer_is_an_error(
    body: bytes,
    kind: tuple[type[ProviderError], ...],
    streaming: bool,  # noqa: FBT001
) -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        server.faults.append(instead(CHAT, 200, body))
        question = CompletionRequest(QWEN, ["Hello"])
        async with CompletionStream(studio.batches(question, streaming=streaming)) as stream:
            with pytest.raises(kind) as caught:
                await stream.collect()
        assert caught.value.retryable
        assert not caught.value.delivered


@pytest.mark.parametrize("overflow", ["A", "C"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_prompt_that_is_too_long_is_told_in_every_dialect(
    overflow: Any,  # noqa: ANN401
    streaming: bool,  # noqa: FBT001
) -> None:
    model = LMStudioModel(key="m", loaded_context_length=8)
    async with (
        LMStudioEmulator([model], overflow=overflow) as server,
        LMStudioProvider(server.url, LMStudioConfig(streaming=streaming)) as studio,
    ):
        with pytest.raises(ContextLengthExceeded) as caught:
            await studio.complete(CompletionRequest("m", ["word " * 50]))
        assert not caught.value.retryable
        if overflow == "C":
            assert (caught.value.prompt_tokens, caught.value.context_tokens) == (50, 8)


async def test_a_model_that_cannot_be_loaded_is_the_services_failure() -> None:
    broken = LMStudioModel(
        key="big", load_error="Model loading was stopped due to insufficient system resources."
    )
    async with LMStudioEmulator([broken]) as server, LMStudioProvider(server.url) as studio:
        with pytest.raises(ServiceError, match="insufficient system resources") as caught:
            await studio.complete(CompletionRequest("big", ["Hello"]))
        assert caught.value.retryable


async def test_an_option_that_it_refuses_is_the_callers_fault() -> None:
    options = {"response_format": {"type": "json_object"}}
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        with pytest.raises(InvalidRequest, match="response_format") as caught:
            await studio.complete(CompletionRequest(QWEN, ["Hello"], options=options))
        assert not caught.value.retryable


# Vectors.


async def test_vectors_are_not_counted_since_it_always_says_none() -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        response = await studio.embed(EmbeddingRequest(NOMIC, ["one", "two"]))
        assert (len(response.embeddings), response.embeddings.dimensions) == (2, 768)
        assert response.usage.prompt_tokens is None
        assert response.normalized
        with pytest.raises(CapabilityNotSupported):
            await studio.embed(EmbeddingRequest(QWEN, ["one"]))
        assert asked(server) == ["/v1/embeddings"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"data":[]}', "0 vectors for 2 texts"),
        (
            b'{"data":[{"embedding":[1.0],"index":0},{"embedding":[1.0,2.0],"index":1}]}',
            "no matrix",
        ),
        (b'{"data":[{"embedding":[],"index":0},{"embedding":[],"index":1}]}', "empty"),
        (b'{"data":[{"embedding":"!!","index":0},{"embedding":"!!","index":1}]}', "base64"),
        (b"[]", "/v1/embeddings"),
        (b'{"error":"Unexpected endpoint or method. (POST /v1/embeddings)"}', "contract"),
    ],
    ids=["too few", "uneven", "empty", "garbled", "no object", "no route"],
)
async def test_vectors_that_break_the_contract_are_refused(body: bytes, said: str) -> None:
    async with LMStudioEmulator() as server, LMStudioProvider(server.url) as studio:
        server.faults.append(instead("/v1/embeddings", 200, body))
        with pytest.raises(ParseError, match=said) as caught:
            await studio.embed(EmbeddingRequest(NOMIC, ["one", "two"]))
        assert caught.value.service == "lmstudio"
