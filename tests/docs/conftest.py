"""A machine with an Ollama and an LM Studio on it, and nothing else."""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.testing import (
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
from patinox.testing.lmstudio import DEFAULT_MODELS as LMSTUDIO_MODELS
from patinox.testing.ollama import DEFAULT_MODELS as OLLAMA_MODELS
from patinox.testing.ollama.text import answer

PLUGIN = "patinox.testing.pytest_plugin"
# What the models give for the arguments that the tools of pages and examples need.
ARGUMENTS = {"city": "Oslo", "path": "notes.txt", "width": 3, "height": 4}


def calling(model: OllamaModel) -> OllamaModel:
    """Have a model call the first tool that it is given, and tell what that said."""

    def reply(prompt: OllamaPrompt) -> OllamaAnswer:
        told = [message.content for message in prompt.messages if message.role == "tool"]
        if told or not prompt.tools:
            return OllamaAnswer(f"The tool said: {told[-1]}") if told else answer(model, prompt)
        name, parameters = prompt.tools[0].function.name, prompt.tools[0].function.parameters
        assert parameters is not None
        given = {key: ARGUMENTS[key] for key in parameters.required or ()}
        return OllamaAnswer(tool_calls=(OllamaToolCall(name, given),))

    return replace(model, reply=reply)


def calling_too(model: LMStudioModel) -> LMStudioModel:
    """Have it do the same in the words of LM Studio."""

    def reply(prompt: LMStudioPrompt) -> LMStudioAnswer:
        told = [turn.text for turn in prompt.turns if turn.role == "tool"]
        tools: Any = prompt.body.get("tools")
        if told or not tools:
            return LMStudioAnswer(f"The tool said: {told[-1]}") if told else model.answer(prompt)
        function = tools[0]["function"]
        given = {key: ARGUMENTS[key] for key in function["parameters"]["required"]}
        return LMStudioAnswer(tool_calls=(LMStudioToolCall(function["name"], json.dumps(given)),))

    return replace(model, reply=reply)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Start both; return the environment that leads to them, which is that of the test too."""
    with (
        OllamaEmulator(models=map(calling, OLLAMA_MODELS)).run_in_thread() as ollama,
        LMStudioEmulator(map(calling_too, LMSTUDIO_MODELS)).run_in_thread() as lmstudio,
    ):
        environ = {
            "OLLAMA_ENDPOINT": ollama.url,
            "LMSTUDIO_ENDPOINT": lmstudio.url,
            "LOCAL_AUTO_DISCOVER": "false",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield environ


@pytest.fixture
def fixture_plugin() -> list[str]:
    """Return what makes a pytest of our own have the fixtures, as that of a user has them."""
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    return ["-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN])]
