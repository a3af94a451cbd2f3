"""The official client, talking to the emulated Ollama."""

import ollama
import pytest

from patinox.testing import OllamaAnswer, OllamaEmulator, OllamaModel, OllamaToolCall

WEATHER = OllamaAnswer(
    text="Checking.",
    thinking=("Need the ", "weather."),
    tool_calls=(OllamaToolCall("get_weather", {"city": "Paris", "days": 2}),),
)
THINKER = OllamaModel(
    name="qwen3:4b", capabilities=("completion", "tools", "thinking"), family="qwen3", reply=WEATHER
)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
ASK = [{"role": "user", "content": "hello there"}]


@pytest.mark.parametrize("version", ["0.33.0", "0.24.0"])
async def test_the_official_client_understands_the_emulator(version: str) -> None:
    async with (
        OllamaEmulator(version=version) as server,
        ollama.AsyncClient(host=server.url) as client,
    ):
        listed = await client.list()
        shown = await client.show("qwen3:4b")
        answer = await client.chat("qwen3:4b", [{"role": "user", "content": "hi"}])
        parts = [part async for part in await client.chat("llama3.2:3b", messages=ASK, stream=True)]
        generated = await client.generate("llama3.2:3b", "hi", options={"num_predict": 1})
        vectors = await client.embed("nomic-embed-text", ["a", "b"])
        running = await client.ps()
        steps = [step.status async for step in await client.pull("llava:7b", stream=True)]
        with pytest.raises(ollama.ResponseError) as missing:
            await client.chat("nope", messages=ASK)
        await client.copy("llama3.2:3b", "mine")
        deleted = await client.delete("mine")
    assert [model.model for model in listed.models][:2] == ["llama3.2:3b", "qwen3:4b"]
    assert listed.models[0].modified_at is not None
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen3.context_length"] == 262144
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert (answer.message.content, answer.message.thinking) == (
        "You said: hi",
        "The user said something.",
    )
    assert "".join(part.message.content or "" for part in parts) == "You said: hello there"
    assert parts[-1].done_reason == "stop"
    assert (generated.response, generated.done_reason) == ("You", "length")
    assert [len(vector) for vector in vectors.embeddings] == [768, 768]
    assert {model.name for model in running.models} == {
        "qwen3:4b",
        "llama3.2:3b",
        "nomic-embed-text:latest",
    }
    assert (steps[0], steps[-1]) == ("pulling manifest", "success")
    assert (missing.value.status_code, missing.value.error) == (404, "model 'nope' not found")
    assert deleted.status == "success"


def test_the_official_blocking_client_calls_a_tool_and_sees_an_error_within_a_stream() -> None:
    broken = OllamaModel(name="broken", reply=OllamaAnswer(text="Once", error="unexpected EOF"))
    with (
        OllamaEmulator(models=[THINKER, broken]).run_in_thread() as server,
        ollama.Client(host=server.url) as client,
    ):
        answer = client.chat("qwen3:4b", messages=ASK, tools=TOOLS)
        with pytest.raises(ollama.ResponseError, match="unexpected EOF") as failed:
            list(client.chat("broken", messages=ASK, stream=True))
    assert answer.message.tool_calls is not None
    assert answer.message.tool_calls[0].function.arguments == {"city": "Paris", "days": 2}
    assert failed.value.status_code == -1
