"""Models of the emulators that call tools, see, think and fill in: deterministic, like the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from patinox.testing import (
    LlamaCppModel,
    LMStudioAnswer,
    LMStudioModel,
    LMStudioToolCall,
    OllamaAnswer,
    OllamaModel,
    OllamaToolCall,
)
from patinox.testing.lmstudio.models import LMStudioPrompt
from patinox.testing.ollama.models import OllamaPrompt

CALL = {"a": 3, "b": 4}


def _ollama_calls(prompt: OllamaPrompt) -> OllamaAnswer:
    if prompt.tools and prompt.messages[-1].role == "user":
        return OllamaAnswer(text="Adding.", tool_calls=(OllamaToolCall("add", CALL),))
    return OllamaAnswer(text=f"{prompt.messages[-1].content} it is.")


def _ollama_sees(prompt: OllamaPrompt) -> str:
    return f"I see {sum(len(message.images) for message in prompt.messages)} pictures."


OLLAMA = (
    OllamaModel(name="caller:rendered", capabilities=("completion", "tools"), reply=_ollama_calls),
    OllamaModel(
        name="caller:native",
        capabilities=("completion", "tools"),
        path="native",
        reply=_ollama_calls,
    ),
    OllamaModel(name="seer:1", capabilities=("completion", "vision"), reply=_ollama_sees),
    OllamaModel(
        name="filler:1",
        capabilities=("completion", "insert"),
        reply=lambda prompt: f"{prompt.last_user_text} _ {prompt.suffix}",
    ),
)


def _lmstudio_calls(prompt: LMStudioPrompt) -> LMStudioAnswer:
    if prompt.body.get("tools") and prompt.turns[-1].role == "user":
        call = LMStudioToolCall("add", json.dumps(CALL))
        return LMStudioAnswer(text="Adding.", tool_calls=(call,))
    return LMStudioAnswer(f"{prompt.turns[-1].text} it is.")


def _lmstudio_sees(prompt: LMStudioPrompt) -> str:
    messages: Any = prompt.body["messages"]
    parts: list[Mapping[str, object]] = [
        part for message in messages for part in message["content"] if isinstance(part, dict)
    ]
    return f"I see {sum(part['type'] == 'image_url' for part in parts)} pictures."


LMSTUDIO = (
    LMStudioModel(key="caller", tools=True, loaded_context_length=4096, reply=_lmstudio_calls),
    LMStudioModel(key="seer", kind="vlm", loaded_context_length=4096, reply=_lmstudio_sees),
    LMStudioModel(key="thinker", reasoning=("off", "low", "on"), loaded_context_length=4096),
)

LLAMACPP = (
    LlamaCppModel(
        id="filler",
        infill=True,
        reply=lambda prompt: f"{prompt.text} _ {prompt.body.get('input_suffix')}",
    ),
)
