"""Values of a wrong type or without measure: refused where they are given, in a line."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from patinox import (
    CompletionMessage,
    CompletionRequest,
    Deadlines,
    DiscoveryConfig,
    EmbeddingMatrix,
    EmbeddingRequest,
    EndpointConfig,
    LMStudioOptions,
    LocalProvider,
    LocalProviderConfig,
    ModelId,
    OllamaConfig,
    OllamaOptions,
    OllamaProvider,
    OutputSchema,
    ProviderError,
    Secret,
    ServiceDiscovery,
    TextCompletionRequest,
    Tool,
    ToolCall,
    create_default_provider,
    estimate_tokens,
    load_config,
)
from patinox.testing import OllamaEmulator

ODD = [
    *(5, -1, 1.5, math.nan, math.inf, 10**400, 10**5000, "", "x" * 10_000, "\ud800", b"x"),
    *([], [1], {}, {1: 2}, {"a": object()}, (), ("a", 1), object(), len, int),
]
SOUND: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (CompletionRequest, {"model": "m", "messages": "Hi"}),
    (TextCompletionRequest, {"model": "m", "prompt": "Hi"}),
    (EmbeddingRequest, {"model": "m", "input": "Hi"}),
    (CompletionMessage, {"role": "user"}),
    (ToolCall, {"id": "1", "name": "f", "arguments": "{}"}),
    (ModelId, {"name": "m"}),
    (Tool, {"name": "f"}),
    (OllamaOptions, {}),
    (LMStudioOptions, {}),
    (OllamaConfig, {}),
    (DiscoveryConfig, {}),
    (Deadlines, {}),
    (LocalProviderConfig, {}),
]


@pytest.mark.parametrize(("make", "sound"), SOUND)
def test_a_field_takes_what_is_right_and_refuses_the_rest_in_a_line(
    make: type[msgspec.Struct], sound: dict[str, Any]
) -> None:
    for field, odd in itertools.product(msgspec.structs.fields(make), ODD):
        try:
            made = make(**{**sound, field.name: odd})
        except (ProviderError, TypeError) as error:
            assert "\n" not in str(error)  # noqa: PT017  what is taken is looked at below
            assert len(str(error)) < 600  # noqa: PT017
        else:
            assert len(repr(made)) > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: CompletionRequest("m", "Hi", timeout=2**2000), "`timeout` is 1148"),
        (lambda: CompletionRequest("m", "Hi", temperature=10**5000), "`temperature` is <int>"),
        (lambda: CompletionMessage(role="user", reasoning=5), "`reasoning` of a message"),  # type: ignore[arg-type]
        (lambda: CompletionMessage(role="user", tool_calls=["f"]), "holds a str"),  # type: ignore[arg-type]
        (lambda: CompletionMessage(role="tool", name=5), "`name` of a message"),  # type: ignore[arg-type]
        (lambda: ToolCall("1", "f", {}), "`arguments` of a tool call"),  # type: ignore[arg-type]
        (lambda: ModelId(None), "The name of a model must be text"),  # type: ignore[arg-type]
        (lambda: ModelId("m", 5), "The service of a model must be text"),  # type: ignore[arg-type]
        (lambda: Tool(name="f", description="\ud800"), "cannot be written as JSON"),
        (lambda: OutputSchema.of("x" * 10_000), "xxx…"),
        (lambda: OllamaProvider(5), "endpoint is 5; allowed: host"),  # type: ignore[arg-type]
        (lambda: OllamaProvider("a" * 64), "its host is not a name or an address"),
        (lambda: OllamaProvider("a..b"), "its host is not a name or an address"),
        (lambda: OllamaProvider(config=5), "`config` is a int"),  # type: ignore[arg-type]
        (lambda: LocalProvider(observers=len), "`observers` is <built-in"),  # type: ignore[arg-type]
        (lambda: OllamaConfig(api_key=5), "`api_key` is a int; allowed: text"),  # type: ignore[arg-type]
        (lambda: OllamaConfig(custom_params=5), "`custom_params` is 5"),  # type: ignore[arg-type]
        (lambda: LocalProviderConfig(endpoints="ollama"), "`endpoints` is 'ollama'"),  # type: ignore[arg-type]
        (lambda: EndpointConfig.parse("x", service=["ollama"]), "`service` is ['ollama']"),  # type: ignore[arg-type]
        (lambda: ServiceDiscovery("x"), "`config` is a str"),  # type: ignore[arg-type]
        (lambda: ServiceDiscovery().get_service_info(["x"]), "must be text, not list"),  # type: ignore[arg-type]
        (lambda: ServiceDiscovery().provider(b"x"), "must be text, not bytes"),  # type: ignore[arg-type]
        (lambda: ServiceDiscovery().provider("x"), "No service has the id 'x'"),
        (lambda: LocalProvider().with_defaults({"model": "m"}), "`defaults` is a dict"),  # type: ignore[arg-type]
        (lambda: CompletionMessage.tool("4", "call"), "holds a str"),  # type: ignore[arg-type]
        (lambda: estimate_tokens("Hi"), "A request is a CompletionRequest, not str"),  # type: ignore[arg-type]
        (lambda: load_config("x"), "`environ` is a str"),  # type: ignore[arg-type]
        (lambda: load_config({}, file=5), "`file` is a int; allowed: a path"),  # type: ignore[arg-type]
        (lambda: create_default_provider({}, file=b"x"), "`file` is a bytes"),  # type: ignore[arg-type]
        (lambda: load_config({}, file="/nowhere.toml"), "/nowhere.toml is not there"),
    ],
    ids=itertools.count(),
)
def test_what_cannot_be_right_is_told_before_anything_is_sent(
    wrong: Callable[[], object], said: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        wrong()
    assert said in str(caught.value)


@pytest.mark.parametrize("odd", [None, 5, b"llama3.2:3b", [], ["llama3.2:3b"], object()])
async def test_a_model_is_named_by_text_whoever_is_asked_for_it(odd: Any) -> None:  # noqa: ANN401
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        endpoints = (EndpointConfig.parse(server.url),)
        config = LocalProviderConfig(endpoints=endpoints, auto_discover=False, monitor=False)
        async with LocalProvider(config) as local:
            looks = len(server.requests)
            for asked in (
                *(ollama.resolve, ollama.locate, ollama.find, ollama.supports_model),
                *(ollama.model_capabilities, ollama.ensure_loaded, ollama.load, ollama.unload),
                *(ollama.delete, partial(ollama.copy, "a"), partial(ollama.copy, destination="a")),
                *(local.supports_model, local.model_capabilities, local.find_model, local.load),
                *(local.ensure_loaded, local.unload, local.delete, partial(local.copy, "a")),
                *(local.complete, local.complete_text, local.embed, local.run_tools),
            ):
                with pytest.raises(ProviderError) as caught:
                    await asked(odd)
                assert type(odd).__name__ in str(caught.value)
            for streamed in (local.stream_completion, local.stream_text, ollama.pull, local.pull):
                with pytest.raises(ProviderError, match=type(odd).__name__):
                    streamed(odd)
            assert len(server.requests) == looks, "nothing is sent"


async def test_a_model_is_found_by_its_name_as_text() -> None:
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        assert (await ollama.resolve("ollama::llama3.2:3b")).id == "llama3.2:3b"
        assert (await ollama.locate("llama3.2:3b")).id == "llama3.2:3b"
        assert await ollama.find("lmstudio::llama3.2:3b") is None


@pytest.mark.parametrize("odd", [5, "x", ["x"], [["x"]], [[object()]]])
def test_vectors_are_made_of_numbers(odd: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match=r"row 0 is not made of numbers|not iterable"):
        EmbeddingMatrix.from_rows(odd)
    with pytest.raises(TypeError, match=r"must be an array\('f'\), not"):
        EmbeddingMatrix(odd, rows=1)


def test_a_secret_is_text_and_is_not_shown_where_it_is_not() -> None:
    with pytest.raises(TypeError, match=r"^A secret is text, not int\.$"):
        Secret(123456)  # type: ignore[arg-type]
