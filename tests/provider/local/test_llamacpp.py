"""llama.cpp: the real engine with a key, and the states in which a server may be found."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from patinox.embedded import Engine, demo_model
from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    ContextLengthExceeded,
    InvalidRequest,
)
from patinox.provider.local.config import EndpointConfig, LocalProviderConfig, ServiceConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import ModelNotLoaded, StreamInterrupted
from patinox.provider.local.llamacpp import LlamaCppProvider, identify
from patinox.provider.local.spec import Identity
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.wire.http import HTTPReply
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest, EmbeddingRequest, ModelInfo, Source
from patinox.testing import Exchange

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixtures `web_server` and `raw_server`
DEMO = demo_model()
MODEL = "patinox-tiny"
HEADERS = {"Server": "llama.cpp"}
SETTINGS = b'"default_generation_settings":{"n_ctx":512},"build_info":"b7000-abc"'


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with await Engine.start(DEMO, context_length=512) as engine:
        yield engine


def with_key(engine: Engine) -> ServiceConfig:
    return ServiceConfig(api_key=Secret(engine.api_key))


def pages(props: bytes, models: bytes, embeddings: tuple[int, bytes]) -> dict[str, Any]:
    return {
        "/props": (200, b"{" + SETTINGS + props + b"}"),
        "/v1/models": (200, models),
        "/v1/embeddings": embeddings,
    }


async def only(server: Any) -> ModelInfo:  # noqa: ANN401
    async with LlamaCppProvider(server.url) as llama:
        (info,) = await llama.list_models()
        return info


# The real one.


@pytest.mark.engine
async def test_the_real_server_tells_what_it_is(engine: Engine) -> None:
    async with LlamaCppProvider(engine.url, with_key(engine)) as llama:
        (info,) = await llama.list_models()

    assert (info.id, info.service, info.format, info.loaded) == (MODEL, "llamacpp", "gguf", True)
    assert (info.loaded_context_length, info.context_length) == (512, 2048)
    assert info.parameter_count == 869_504
    told = info.capabilities
    assert (told.supports_chat, told.supports_embeddings, told.supports_vision) == (
        True,
        True,
        False,
    )
    assert (told.supports_tools, told.supports_thinking) == (True, False)
    assert {told.source(field) for field in told.sources} == {Source.SERVER}
    assert info.quantization == "Q8_0"


@pytest.mark.engine
async def test_the_real_server_measures_for_itself(engine: Engine) -> None:
    async with LlamaCppProvider(engine.url, with_key(engine)) as llama:
        request = CompletionRequest(MODEL, ["What is 3 + 4?"], temperature=0.0, max_tokens=32)
        first = await llama.complete(request)
        again = await llama.complete(request)

    assert first.text == "3 + 4 = 7."
    assert first.timings.measured_by == "server"
    assert first.timings.tokens_per_second
    assert first.timings.prompt_seconds is not None
    assert again.usage.cached_tokens


@pytest.mark.engine
async def test_without_its_key_it_is_found_and_wants_one(
    engine: Engine, config_for: ConfigFor
) -> None:
    async with LocalProvider(config_for(engine.url)) as local:
        info = local.get_service_info("llamacpp")
        assert info is not None
        assert info.status is ServiceStatus.UNAUTHORIZED
        with pytest.raises(AuthenticationError):
            await local.complete(CompletionRequest(f"llamacpp::{MODEL}", ["Hello"]))
    place = EndpointConfig.parse(engine.url, service="llamacpp")
    async with LocalProvider(config_for(place, llamacpp=with_key(engine))) as local:
        assert local.available_services() == ["llamacpp"]
        assert engine.api_key not in repr((local, local.config, local.services))


@pytest.mark.engine
async def test_a_prompt_that_is_too_long_tells_both_lengths(engine: Engine) -> None:
    async with LlamaCppProvider(engine.url, with_key(engine)) as llama:
        with pytest.raises(ContextLengthExceeded) as caught:
            await llama.complete(CompletionRequest(MODEL, ["one two three " * 300]))
        assert caught.value.context_tokens == 512
        assert caught.value.prompt_tokens is not None
        assert caught.value.prompt_tokens > 512


@pytest.mark.engine
async def test_what_it_refuses_is_the_callers_fault(engine: Engine) -> None:
    async with LlamaCppProvider(engine.url, with_key(engine)) as llama:
        options = {"response_format": {"type": "yaml"}}
        with pytest.raises(InvalidRequest) as caught:
            await llama.complete(CompletionRequest(MODEL, ["Hello"], options=options))
        assert (caught.value.status, caught.value.retryable) == (400, False)


@pytest.mark.engine
async def test_its_crash_in_the_middle_is_an_interruption() -> None:
    request = CompletionRequest(MODEL, ["Count."], options={"ignore_eos": True, "n_predict": 2000})
    async with (
        await Engine.start(DEMO, context_length=2048) as engine,
        LlamaCppProvider(engine.url, with_key(engine)) as llama,
    ):
        async with llama.stream_completion(request) as stream:
            async for event in stream:
                if event.text:
                    break
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(StreamInterrupted) as caught:
                await stream.collect()
        assert caught.value.text == stream.text
        assert caught.value.delivered


# Every other state.

LIST = b'{"data":[{"id":"m.gguf","aliases":["m","m.gguf"],"created":7,"meta":null}]}'
NO_VECTORS = (501, b'{"error":{"code":501,"type":"not_supported_error","message":"no"}}')
EMPTY_INPUT = (400, b'{"error":{"code":400,"type":"invalid_request_error","message":"empty"}}')


@pytest.mark.parametrize(
    ("props", "embeddings", "told"),
    [
        (b"", NO_VECTORS, (True, False, None, None, None)),
        (b"", EMPTY_INPUT, (True, True, None, None, None)),
        (b"", (200, b"{}"), (True, True, None, None, None)),
        (b"", (500, b"boom"), (True, None, None, None, None)),
        (b',"is_sleeping":true', (200, b"{}"), (True, None, None, None, None)),
        (
            b',"modalities":{"vision":true},"chat_template":"{% if enable_thinking %}"',
            NO_VECTORS,
            (True, False, True, None, True),
        ),
        (
            b',"chat_template_caps":{"supports_tool_calls":true},"chat_template":"x"',
            NO_VECTORS,
            (True, False, None, True, False),
        ),
        (b',"chat_template_caps":{}', NO_VECTORS, (True, False, None, False, None)),
    ],
    ids=["no vectors", "vectors", "odd", "failed", "asleep", "sees and thinks", "tools", "none"],
)
async def test_what_it_can_do_is_what_it_says(
    props: bytes, embeddings: tuple[int, bytes], told: tuple[bool | None, ...], web_server: Serve
) -> None:
    async with web_server(pages(props, LIST, embeddings), headers=HEADERS) as server:
        info = await only(server)
        assert (
            info.capabilities.supports_chat,
            info.capabilities.supports_embeddings,
            info.capabilities.supports_vision,
            info.capabilities.supports_tools,
            info.capabilities.supports_thinking,
        ) == told
        assert info.aliases == ("m",)
        assert info.created == 7
        asleep = b"is_sleeping" in props
        assert info.loaded is not asleep
        posts = [seen.path for seen in server.requests if seen.method == "POST"]
        assert posts == ([] if asleep else ["/v1/embeddings"])  # a POST would wake it


async def test_a_model_that_makes_vectors_and_is_named_so_is_not_for_chat(
    web_server: Serve,
) -> None:
    models = LIST.replace(b"m.gguf", b"bge-small.gguf")
    async with web_server(pages(b"", models, EMPTY_INPUT), headers=HEADERS) as server:
        info = await only(server)
        assert (info.capabilities.supports_chat, info.capabilities.supports_embeddings) == (
            False,
            True,
        )
        assert info.capabilities.source("supports_chat") is Source.NAME
        async with LlamaCppProvider(server.url) as llama:
            with pytest.raises(CapabilityNotSupported, match="does not chat"):
                await llama.complete(CompletionRequest(info.id, ["Hello"]))


@pytest.mark.parametrize(
    ("name", "goes_in", "comes_out", "chat", "vision", "source"),
    [
        ("gemma", ["text", "image"], ["text"], True, True, Source.SERVER),
        ("qwen", ["text"], ["text"], True, False, Source.SERVER),
        ("judge", ["text"], ["decisions"], False, False, Source.SERVER),
        # It would say that text comes out of it: a model for vectors is known by its name alone.
        ("nomic-embed-text", ["text"], ["text"], False, None, Source.NAME),
    ],
)
async def test_what_a_routers_model_can_do_is_told_by_what_goes_in_and_out(
    web_server: Serve,
    *,
    name: str,
    goes_in: list[str],
    comes_out: list[str],
    chat: bool,
    vision: bool | None,
    source: Source,
) -> None:
    kinds = {"input_modalities": goes_in, "output_modalities": comes_out}
    entry = {"id": name, "status": {"value": "unloaded"}, "architecture": kinds}
    models = json.dumps({"data": [entry]}).encode()
    async with web_server(pages(b',"role":"router"', models, NO_VECTORS), headers=HEADERS) as web:
        told = (await only(web)).capabilities

    assert (told.supports_chat, told.supports_vision) == (chat, vision)
    assert told.source("supports_chat") is source


async def test_a_router_lists_many_and_none_is_loaded_for_it(web_server: Serve) -> None:
    models = (
        b'{"data":[{"id":"a","status":{"value":"loaded"},"meta":{"n_ctx_train":4096}},'
        b'{"id":"b","status":{"value":"unloaded"}},{"id":"c"}]}'
    )
    answers = pages(b',"role":"router"', models, NO_VECTORS)
    async with web_server(answers, headers=HEADERS) as server:
        async with LlamaCppProvider(server.url) as llama:
            infos = await llama.list_models()
        assert [(info.id, info.loaded, info.context_length) for info in infos] == [
            ("a", True, 4096),
            ("b", False, None),
            ("c", None, None),
        ]
        assert {seen.method for seen in server.requests} == {"GET"}


async def test_one_that_loads_says_so(web_server: Serve) -> None:
    async def loading(exchange: Exchange) -> None:
        await exchange.reply(503, b'{"error":{"message":"Loading model","type":"unavailable"}}')

    async with (
        web_server(loading, headers=HEADERS) as server,
        LlamaCppProvider(server.url) as llama,
    ):
        with pytest.raises(ModelNotLoaded) as caught:
            await llama.embed(EmbeddingRequest("m", ["a"]))
        assert caught.value.retryable
        assert caught.value.service == "llamacpp"


HUGE = b"1" + b"0" * 400


@pytest.mark.parametrize(
    ("props", "meta"),
    [
        (b',"modalities":null', b'{"n_params":' + HUGE + b"}"),
        (b',"modalities":{"vision":"no"},"is_sleeping":null', b'{"size":-1}'),
        (b',"model_path":5,"chat_template_caps":[]', b'"none"'),
    ],
)
async def test_an_odd_fact_is_not_known_and_hides_no_model(
    web_server: Serve, props: bytes, meta: bytes
) -> None:
    models = b'{"data":[{"id":""},{"id":"m","created":1.5,"meta":' + meta + b"}]}"
    async with web_server(pages(props, models, (501, b"")), headers=HEADERS) as server:
        info = await only(server)
    assert (info.id, info.loaded, info.created) == ("m", True, None)
    assert (info.parameter_count, info.size_bytes) == (None, None)
    assert info.capabilities.supports_vision is None


@pytest.mark.parametrize(
    ("build", "version"),
    [("b7000-abc", "b7000"), ("b1-abc", None), ("b" + "9" * 5000 + "-x", None), ("7000", None)],
)
def test_a_build_has_a_number_that_can_be_one(build: str, version: str | None) -> None:
    props = {"default_generation_settings": {"n_ctx": 1.5}, "build_info": build}
    replies = [
        HTTPReply(status=200, headers={"server": "llama.cpp"}, body=json.dumps(body).encode())
        for body in ({"status": "ok"}, props)
    ]
    assert identify(replies) == Identity(version=version)
