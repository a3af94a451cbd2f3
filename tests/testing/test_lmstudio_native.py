"""The native chat of the emulated LM Studio, event by event."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.testing.lmstudio import (
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioToolCall,
)

Ask = Callable[..., Awaitable[Any]]
OWL = LMStudioModel(
    key="acme/owl-4b",
    kind="vlm",
    publisher="acme",
    display_name="Owl 4B",
    architecture="owl3",
    max_context_length=131072,
    loaded_context_length=8192,
    tools=True,
    reasoning=("off", "on"),
    size_bytes=2740937888,
    params_string="4B",
    reply="Hi there.",
)
WEATHER = LMStudioToolCall("get_weather", '{"city":"Oslo"}')
CHAT, CHAT_V0, NATIVE = "/v1/chat/completions", "/api/v0/chat/completions", "/api/v1/chat"
GUARDRAIL = "Model loading was stopped due to insufficient system resources."


def said(**item: object) -> dict[str, object]:
    return {"model": "acme/owl-4b", "input": [item]}


def image(url: str) -> dict[str, object]:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": content}]}


async def test_a_native_chat_whole(ask: Ask) -> None:
    answer = LMStudioAnswer("Hi.", reasoning="Greet.", tool_calls=(WEATHER,))
    model = LMStudioModel(key="acme/owl-4b", reply=answer)
    asked = {"model": "acme/owl-4b", "input": "hello you"}
    async with LMStudioEmulator([model]) as server:
        cold = await ask(server, NATIVE, asked)
        warm = (await ask(server, NATIVE, {**asked, "store": False})).json
        more = {**asked, "previous_response_id": cold.json["response_id"], "system_prompt": "be"}
        later = (await ask(server, NATIVE, more)).json
    assert cold.compact == (
        '{"model_instance_id":"acme/owl-4b","output":[{"type":"reasoning","content":"Greet."},'
        '{"type":"message","content":"Hi."}],"stats":{"input_tokens":2,"total_output_tokens":2,'
        '"reasoning_output_tokens":1,"tokens_per_second":50.0,"time_to_first_token_seconds":0.1,'
        '"model_load_time_seconds":0.0},"response_id":"resp_"}'
    )
    assert re.fullmatch("resp_[0-9a-f]{48}", cold.json["response_id"])
    assert "response_id" not in warm
    assert "model_load_time_seconds" not in warm["stats"]
    assert later["stats"]["input_tokens"] == 1 + 2 + 1 + 2


def event(name: str, rest: str = "") -> str:
    return f'event: {name}\ndata: {{"type":"{name}"{rest}}}\n\n'


INSTANCE = ',"model_instance_id":"acme/owl-4b"'
LOAD_EVENTS = [
    event("chat.start", INSTANCE),
    event("model_load.start", INSTANCE),
    event("model_load.progress", f'{INSTANCE},"progress":0.5'),
]
PROMPT_EVENTS = [
    event("model_load.end", f'{INSTANCE},"load_time_seconds":0.0'),
    event("prompt_processing.start"),
    event("prompt_processing.progress", ',"progress":0.5'),
    event("prompt_processing.end"),
]
SAID_EVENTS = [
    event("message.start"),
    event("message.delta", ',"content":"Hi"'),
    event("message.delta", ',"content":" there."'),
    event("message.end"),
]


def ended(output: str, prompt: int, tokens: int) -> str:
    return event(
        "chat.end",
        f',"result":{{"model_instance_id":"acme/owl-4b","output":[{output}],"stats":'
        f'{{"input_tokens":{prompt},"total_output_tokens":{tokens},"reasoning_output_tokens":0,'
        '"tokens_per_second":50.0,"time_to_first_token_seconds":0.1,'
        '"model_load_time_seconds":0.0},"response_id":"resp_"}',
    )


def failed(message: str) -> str:
    error = f'{{"type":"internal_error","message":"{message}","code":"unknown"}}'
    return event("error", f',"error":{error}')


HI = '{"type":"message","content":"Hi there."}'


@pytest.mark.parametrize(
    ("model", "events"),
    [
        (
            LMStudioModel(key="acme/owl-4b", reply="Hi there."),
            [*LOAD_EVENTS, *PROMPT_EVENTS, *SAID_EVENTS, ended(HI, 1, 2)],
        ),
        (
            LMStudioModel(key="acme/owl-4b", reply=LMStudioAnswer("Hi there.", error="Gone")),
            [*LOAD_EVENTS, *PROMPT_EVENTS, *SAID_EVENTS, failed("Gone"), ended(HI, 1, 2)],
        ),
        (
            LMStudioModel(key="acme/owl-4b", reply=LMStudioAnswer("Hi there.", finished=False)),
            [*LOAD_EVENTS, *PROMPT_EVENTS, *SAID_EVENTS],
        ),
        (
            LMStudioModel(key="acme/owl-4b", load_error=GUARDRAIL),
            [
                *LOAD_EVENTS,
                failed(f'Failed to load model \\"acme/owl-4b\\". Error: {GUARDRAIL}'),
                ended("", 0, 0),
            ],
        ),
    ],
)
async def test_a_native_stream_event_by_event(
    ask: Ask, model: LMStudioModel, events: list[str]
) -> None:
    async with LMStudioEmulator([model]) as server:
        body = {"model": "acme/owl-4b", "input": "hello", "stream": True}
        got = await ask(server, NATIVE, body)
    assert got.blank == "".join(events)
    assert got.headers["Content-Type"] == "text/event-stream"


async def test_a_native_text_item_may_be_called_message(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], native_text_item="message") as server:
        right = await ask(server, NATIVE, said(type="message", content="x"))
        wrong = await ask(server, NATIVE, said(type="text", content="x"))
        image = await ask(server, NATIVE, said(type="image", data_url="data:image/png;base64,AA"))
    assert (right.status, image.status) == (200, 200)
    assert wrong.json["error"]["message"].endswith("Expected 'message' | 'image'")
