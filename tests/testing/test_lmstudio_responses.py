"""Responses of the emulated LM Studio."""

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


def owl(reply: str | LMStudioAnswer) -> LMStudioModel:
    return LMStudioModel(key="acme/owl-4b", loaded_context_length=8192, tools=True, reply=reply)


async def test_responses_answer_whole_and_go_on(ask: Ask) -> None:
    async with LMStudioEmulator([owl(LMStudioAnswer("Hi there.", reasoning="Greet."))]) as server:
        first = (await ask(server, "/v1/responses", {"input": "hello"})).json
        parts = [{"type": "input_text", "text": "and more"}]
        second = (
            await ask(
                server,
                "/v1/responses",
                {
                    "input": [{"role": "user", "content": parts}],
                    "previous_response_id": first["id"],
                },
            )
        ).json
    assert re.fullmatch("resp_[0-9a-f]{48}", first["id"])
    assert [item["type"] for item in first["output"]] == ["reasoning", "message"]
    assert first["output"][1]["content"] == [
        {"type": "output_text", "text": "Hi there.", "annotations": [], "logprobs": []}
    ]
    assert (first["top_p"], first["frequency_penalty"]) == (False, 1.1)
    assert first["usage"]["input_tokens"] == 1
    assert second["usage"]["input_tokens"] == 1 + 2 + 2
    assert second["previous_response_id"] == first["id"]


async def test_responses_stream_named_events(ask: Ask) -> None:
    answer = LMStudioAnswer("Hi there.", tool_calls=(WEATHER,))
    async with LMStudioEmulator([owl(answer)]) as server:
        got = await ask(server, "/v1/responses", {"input": "hello", "stream": True})
    names = re.findall(r"^event: (.+)$", got.text, re.MULTILINE)
    assert names == [
        "response.created",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.completed",
    ]
    assert [event["type"] for event in got.chunks] == names
    assert got.chunks[-1]["response"]["output"][1]["arguments"] == WEATHER.arguments


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (LMStudioAnswer("Par", error="Gone"), "error"),
        (LMStudioAnswer("Par", finished=False), "response.output_text.delta"),
    ],
)
async def test_responses_break_off(ask: Ask, answer: LMStudioAnswer, last: str) -> None:
    async with LMStudioEmulator([owl(answer)]) as server:
        got = await ask(server, "/v1/responses", {"input": "hello", "stream": True})
    assert got.chunks[-1]["type"] == last


async def test_responses_take_tool_results_as_input(ask: Ask) -> None:
    output = {"type": "function_call_output", "call_id": "1", "output": "4 degrees"}
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    async with LMStudioEmulator([OWL]) as server:
        got = await ask(server, "/v1/responses", {"input": [call, output]})
    assert got.json["usage"]["input_tokens"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": 5}, 400, "invalid_union"),
        ({"input": [{"type": "item_reference"}]}, 400, "invalid_union"),
        ({"input": "x", "previous_response_id": "resp_0"}, 400, "previous_response_not_found"),
        ({"input": "x", "text": {}}, 400, "missing_required_parameter"),
        ({"input": [{"content": [{"type": "input_image"}]}]}, 400, "invalid_union"),
        ({"input": "word " * 9000}, 500, "unknown"),
    ],
)
async def test_refusals_of_responses(ask: Ask, body: object, status: int, code: str) -> None:
    async with LMStudioEmulator([OWL]) as server:
        got = await ask(server, "/v1/responses", body)
    assert (got.status, got.json["error"]["code"]) == (status, code)


def event(name: str, rest: str = "") -> str:
    return f'event: {name}\ndata: {{"type":"{name}"{rest}}}\n\n'
