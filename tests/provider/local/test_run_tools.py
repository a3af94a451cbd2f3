"""Tools that are run here, asked for by models on servers of every kind."""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from patinox.provider.config import ModelDefaults
from patinox.provider.errors import InvalidRequest
from patinox.provider.local.config import EmbeddedConfig, LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.embedded import EmbeddedProvider
from patinox.provider.local.sync import SyncLocalProvider
from patinox.provider.toolloop import ToolLoopLimit, run_tools
from patinox.provider.types import CompletionRequest
from patinox.testing import (
    EmulatedServer,
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioPrompt,
    LMStudioToolCall,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
    OllamaPrompt,
    OllamaToolCall,
)

ConfigFor = Callable[..., LocalProviderConfig]
CITIES = {"Oslo": 709_000, "Bergen": 289_000}


def population(city: str) -> int:
    """Tell how many people live in a city."""
    return CITIES[city]


def by_ollama(prompt: OllamaPrompt) -> OllamaAnswer:
    """Ask for both cities at once, then add up what the tools said, as told by their names."""
    told = {message.content for message in prompt.messages if message.tool_name == "population"}
    if not told:
        calls = [OllamaToolCall("population", {"city": city}) for city in CITIES]
        return OllamaAnswer(tool_calls=tuple(calls))
    return OllamaAnswer(text=f"{sum(map(int, told))} in all.")


def by_lmstudio(prompt: LMStudioPrompt) -> LMStudioAnswer:
    """Do the same, with arguments as text."""
    told = [turn.text for turn in prompt.turns if turn.role == "tool"]
    if not told:
        calls = [LMStudioToolCall("population", json.dumps({"city": city})) for city in CITIES]
        return LMStudioAnswer(tool_calls=tuple(calls))
    return LMStudioAnswer(f"{sum(map(int, told))} in all.")


def ollama(path: str) -> EmulatedServer:
    model = OllamaModel(
        name="m:latest",
        capabilities=("completion", "tools"),
        path=path,  # type: ignore[arg-type]  # one of its two
        reply=by_ollama,
    )
    return OllamaEmulator(models=[model])


def lmstudio() -> EmulatedServer:
    model = LMStudioModel(key="m", loaded_context_length=4096, tools=True, reply=by_lmstudio)
    return LMStudioEmulator([model])


SERVERS: dict[str, Callable[[], EmulatedServer]] = {
    "ollama_rendered": lambda: ollama("rendered"),
    "ollama_native": lambda: ollama("native"),
    "lmstudio": lmstudio,
}


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[EmulatedServer]:
    async with SERVERS[request.param]() as running:
        yield running


async def test_a_model_asks_for_tools_gets_their_results_and_answers(
    server: EmulatedServer, config_for: ConfigFor
) -> None:
    request = CompletionRequest("m", ["How many live in Oslo and Bergen?"])
    async with LocalProvider(config_for(server)) as local:
        result = await local.run_tools(request, [population])
    assert result.text == "998000 in all."
    first, last = result.steps
    assert [each.value for each in first.results] == [709_000, 289_000]
    assert len({each.call.id for each in first.results}) == 2
    assert last.response.service == server.name
    assert [message.role for message in result.messages] == [
        *("user", "assistant", "tool", "tool", "assistant")
    ]


async def test_defaults_hold_for_every_answer(
    server: EmulatedServer, config_for: ConfigFor
) -> None:
    async with LocalProvider(config_for(server)) as local:
        bound = local.with_defaults(ModelDefaults(model="m", max_tokens=77))
        await bound.run_tools(bound.request(messages="How many?"), [population])
    asked = [seen.json for seen in server.requests if b"messages" in seen.body]
    assert [body.get("max_tokens") or body["options"]["num_predict"] for body in asked] == [77, 77]


async def test_it_stops_at_the_limit(config_for: ConfigFor) -> None:
    again = OllamaAnswer(tool_calls=(OllamaToolCall("population", {"city": "Oslo"}),))
    model = OllamaModel(name="m:latest", capabilities=("completion", "tools"), reply=again)
    request = CompletionRequest("m", ["How many?"])
    async with (
        OllamaEmulator(models=[model]) as server,
        LocalProvider(config_for(server)) as local,
    ):
        with pytest.raises(InvalidRequest, match="There are no tools"):
            await local.run_tools(request)
        with pytest.raises(ToolLoopLimit) as caught:
            await local.run_tools(request, [population], max_steps=2)
    assert caught.value.service == "ollama"
    assert [message.role for message in caught.value.messages] == [
        *("user", "assistant", "tool", "assistant", "tool")
    ]


@pytest.mark.engine
async def test_the_real_engine_calls_a_tool_and_gets_its_result() -> None:
    def add(left: int, right: int) -> int:
        """Add two numbers."""
        return left + right

    request = CompletionRequest(
        "patinox-tiny", ["What is 3 + 4?"], temperature=0.0, seed=1, max_tokens=64
    )
    async with EmbeddedProvider(config=EmbeddedConfig(context_length=512)) as engine:
        result = await run_tools(engine, request, [add])
    (called,) = result.steps[0].results
    assert (called.call.name, called.value) == ("add", 7)
    assert result.messages[2].content == "7"
    assert result.text


def test_where_nothing_is_async_it_is_the_same(config_for: ConfigFor) -> None:
    with (
        ollama("rendered").run_in_thread() as running,
        SyncLocalProvider(config_for(running)) as local,
    ):
        result = local.run_tools(CompletionRequest("m", ["How many?"]), [population])
    assert result.text == "998000 in all."
