"""Chat and completion of the emulated LM Studio, whole and frame by frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import pytest

from patinox.testing.lmstudio import (
    MODEL_CRASHED,
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioPrompt,
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
HELLO = [{"role": "user", "content": "hello big world"}]


def owl(reply: str | LMStudioAnswer) -> LMStudioModel:
    return LMStudioModel(key="acme/owl-4b", loaded_context_length=8192, tools=True, reply=reply)


async def test_a_whole_v0_chat(ask: Ask) -> None:
    model = msgspec.structs.replace(OWL, reply=LMStudioAnswer(("Fo", "ur", ".")))
    async with LMStudioEmulator([model]) as server:
        got = await ask(server, CHAT_V0, {"model": "acme/owl-4b", "messages": HELLO})
    assert got.compact == (
        '{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"acme/owl-4b","choices":'
        '[{"index":0,"logprobs":null,"finish_reason":"stop","message":{"role":"assistant",'
        '"content":"Four.","reasoning_content":"","tool_calls":[]}}],"usage":{"prompt_tokens":3,'
        '"completion_tokens":3,"total_tokens":6},"stats":{"tokens_per_second":50.0,'
        '"time_to_first_token":0.1,"generation_time":0.06,"stop_reason":"eosFound"},'
        '"model_info":{"arch":"owl3","quant":"Q4_K_M","format":"gguf","context_length":8192},'
        '"runtime":{"name":"llama.cpp-linux-x86_64-nvidia-cuda12-avx2","version":"1.51.0",'
        '"supported_formats":["gguf"]}}'
    )


async def test_a_whole_chat_with_a_tool_call_has_empty_stats(ask: Ask) -> None:
    answer = LMStudioAnswer(reasoning="Need the weather.", tool_calls=(WEATHER,))
    async with LMStudioEmulator([owl(answer)]) as server:
        got = await ask(server, CHAT, {"model": "acme/owl-4b", "messages": HELLO})
    assert got.compact == (
        '{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"acme/owl-4b","choices":'
        '[{"index":0,"message":{"role":"assistant","content":"","reasoning_content":'
        '"Need the weather.","tool_calls":[{"type":"function","id":"123456789","function":{"name":'
        '"get_weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]},"logprobs":null,"finish_reason":'
        '"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,'
        '"completion_tokens_details":{"reasoning_tokens":3}},"stats":{},'
        '"system_fingerprint":"acme/owl-4b"}'
    )


async def test_a_whole_chat_of_0_3_leaves_out_what_is_empty(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], generation="0.3") as server:
        got = (await ask(server, CHAT, {"messages": HELLO})).json
    assert got["choices"][0]["message"] == {"role": "assistant", "content": "Hi there."}
    assert got["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("reasoning_content", {"content": "Hi", "reasoning_content": "Hm", "tool_calls": []}),
        ("reasoning", {"content": "Hi", "reasoning": "Hm", "tool_calls": []}),
        (
            "inline",
            {"content": "<think>Hm</think>Hi", "reasoning_content": "", "tool_calls": []},
        ),
    ],
)
async def test_reasoning_stands_where_the_switch_says(
    ask: Ask,
    key: Literal["reasoning_content", "reasoning", "inline"],
    message: dict[str, object],
) -> None:
    model = owl(LMStudioAnswer("Hi", reasoning="Hm"))
    async with LMStudioEmulator([model], reasoning_key=key) as server:
        whole = await ask(server, CHAT, {"messages": HELLO})
        stream = await ask(server, CHAT, {"messages": HELLO, "stream": True})
    assert whole.json["choices"][0]["message"] == {"role": "assistant", **message}
    joined: dict[str, str] = {}
    for chunk in stream.chunks:
        for name, piece in chunk["choices"][0]["delta"].items():
            joined[name] = joined.get(name, "") + piece
    assert joined == {name: part for name, part in message.items() if part} | {"role": "assistant"}


async def test_a_text_completion_whole_and_streamed(ask: Ask) -> None:
    asked = {"prompt": "hello big world", "max_tokens": -1}
    answer = LMStudioAnswer("Hi there.", reasoning="Hm", tool_calls=(WEATHER,))
    async with LMStudioEmulator([owl(answer)]) as server:
        whole = await ask(server, "/v1/completions", asked)
        v0 = (await ask(server, "/api/v0/completions", asked)).json
        stream = await ask(server, "/v1/completions", {**asked, "stream": True})
    assert whole.compact == (
        '{"id":"cmpl-","object":"text_completion","created":0,"model":"acme/owl-4b","choices":'
        '[{"index":0,"text":"Hi there.","logprobs":null,"finish_reason":"stop"}],"usage":'
        '{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,'
        '"completion_tokens_details":{"reasoning_tokens":0}},"stats":{},'
        '"system_fingerprint":"acme/owl-4b"}'
    )
    assert v0["stats"]["stop_reason"] == "eosFound"
    assert [chunk["choices"][0]["text"] for chunk in stream.chunks] == ["Hi", " there.", ""]


@pytest.mark.parametrize(
    ("options", "text", "finish", "stopped"),
    [
        ({}, "one two three", "stop", "eosFound"),
        ({"max_tokens": 2}, "one two", "length", "maxPredictedTokensReached"),
        ({"max_tokens": -1}, "one two three", "stop", "eosFound"),
        ({"stop": "wo"}, "one t", "stop", "stopStringFound"),
        ({"stop": ["zzz", " t"]}, "one", "stop", "stopStringFound"),
    ],
)
async def test_generation_ends_where_it_is_told_to(
    ask: Ask, options: dict[str, object], text: str, finish: str, stopped: str
) -> None:
    async with LMStudioEmulator([owl("one two three")]) as server:
        got = (await ask(server, CHAT_V0, {"messages": HELLO, **options})).json
    choice = got["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)
    assert got["stats"]["stop_reason"] == stopped
    assert got["usage"]["completion_tokens"] == len(text.split())


async def test_generation_ends_where_the_context_does(ask: Ask) -> None:
    model = LMStudioModel(key="m", loaded_context_length=5, reply="one two three")
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, CHAT_V0, {"messages": HELLO})).json
    assert got["choices"][0]["message"]["content"] == "one two"
    assert got["stats"]["stop_reason"] == "contextLengthReached"


async def test_usage_and_stats_can_be_missing(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], usage=False, stats=False) as server:
        v0 = (await ask(server, CHAT_V0, {"messages": HELLO})).json
        native = (await ask(server, NATIVE, {"model": "acme/owl-4b", "input": "x"})).json
        stream = await ask(
            server,
            CHAT,
            {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
        )
    assert v0["stats"] == native["stats"] == {}
    assert "usage" not in v0
    assert "runtime" not in v0
    assert not any("usage" in chunk for chunk in stream.chunks)


async def test_by_default_a_model_repeats_the_user_and_reasons_if_it_can(ask: Ask) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "ping"}]}]
    async with LMStudioEmulator() as server:
        plain = (await ask(server, CHAT, {"messages": messages})).json
        asked = {"model": "openai/gpt-oss-20b", "messages": messages}
        deep = (await ask(server, CHAT, asked)).json
    assert plain["choices"][0]["message"]["content"] == "You said: ping"
    assert plain["choices"][0]["message"]["reasoning_content"] == ""
    assert deep["choices"][0]["message"]["reasoning_content"]


async def test_a_reply_may_be_a_function_of_the_prompt(ask: Ask) -> None:
    def reply(prompt: LMStudioPrompt) -> str:
        roles = " ".join(turn.role for turn in prompt.turns)
        return f"{prompt.model} {prompt.last_user_text} {prompt.body['seed']} {roles}"

    messages = [{"role": "system", "content": "be"}, *HELLO, {"role": "tool", "content": "4"}]
    model = LMStudioModel(key="m", loaded_context_length=100, reply=reply)
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, CHAT, {"messages": messages, "seed": 7})).json
    assert got["choices"][0]["message"]["content"] == "m hello big world 7 system user tool"


P = (
    '"id":"chatcmpl-","object":"chat.completion.chunk","created":0,'
    '"model":"acme/owl-4b","system_fingerprint":"acme/owl-4b"'
)


def frame(delta: str, finish: str = "null") -> str:
    choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'
    return f'data: {{{P},"choices":[{choice}]}}\n\n'


USAGE_FRAME = (
    f'data: {{{P},"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,'
    '"completion_tokens_details":{"reasoning_tokens":1}}}\n\n'
)
THOUGHT = LMStudioAnswer(("Hi",), reasoning=("Think",))
THOUGHT_FRAMES = [
    frame('{"role":"assistant","reasoning_content":"Think"}'),
    frame('{"content":"Hi"}'),
    frame("{}", '"stop"'),
]
CALL_FRAMES = [
    frame(
        '{"role":"assistant","tool_calls":[{"index":0,"id":"123456789","type":"function",'
        '"function":{"name":"get_weather","arguments":""}}]}'
    ),
    frame('{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]}'),
    frame('{"tool_calls":[{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]}'),
    frame("{}", '"tool_calls"'),
]
BROKEN_FRAMES = [
    frame('{"role":"assistant","content":"Par"}'),
    (
        f'event: error\ndata: {{"error":{{"message":"{MODEL_CRASHED}"}},'
        f'"message":"{MODEL_CRASHED}"}}\n\n'
    ),
]
DONE = "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("answer", "options", "done_marker", "frames"),
    [
        (THOUGHT, {}, True, [*THOUGHT_FRAMES, DONE]),
        (THOUGHT, {"include_usage": True}, True, [*THOUGHT_FRAMES, USAGE_FRAME, DONE]),
        (THOUGHT, {"include_usage": True}, False, [*THOUGHT_FRAMES, USAGE_FRAME]),
        (LMStudioAnswer(tool_calls=(WEATHER,)), {}, True, [*CALL_FRAMES, DONE]),
        (LMStudioAnswer("Par", error=MODEL_CRASHED), {}, True, BROKEN_FRAMES),
        (LMStudioAnswer("Par", finished=False), {}, True, BROKEN_FRAMES[:1]),
        (LMStudioAnswer(), {}, True, [frame("{}", '"stop"'), DONE]),
    ],
)
@pytest.mark.parametrize("target", [CHAT, CHAT_V0])
async def test_a_stream_frame_by_frame(
    ask: Ask,
    target: str,
    answer: LMStudioAnswer,
    options: dict[str, bool],
    frames: list[str],
    *,
    done_marker: bool,
) -> None:
    async with LMStudioEmulator([owl(answer)], done_marker=done_marker) as server:
        body = {"messages": HELLO, "stream": True, "stream_options": options}
        got = await ask(server, target, body)
    assert got.blank == "".join(frames)
    assert got.headers["Content-Type"] == "text/event-stream"
    assert got.headers["Cache-Control"] == "no-cache"
    assert got.headers["Transfer-Encoding"] == "chunked"


async def test_a_v0_stream_may_tell_its_stats_in_the_chunk_that_ends(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], v0_stream_stats=True) as server:
        v0 = await ask(server, CHAT_V0, {"messages": HELLO, "stream": True})
        v1 = await ask(server, CHAT, {"messages": HELLO, "stream": True})
    assert v0.chunks[-1]["stats"]["stop_reason"] == "eosFound"
    assert not any("stats" in chunk for chunk in v1.chunks)


@pytest.mark.parametrize(
    "text", ["", "word", "You said: hi  there\nfriend ", '{"a": [1, 2]}', "é 😀"]
)
async def test_whole_and_stream_say_the_same_and_count_the_same(ask: Ask, text: str) -> None:
    answer = LMStudioAnswer(text, reasoning="let me see", tool_calls=(WEATHER, WEATHER))
    body = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    async with LMStudioEmulator([owl(answer)]) as server:
        whole = (await ask(server, CHAT, {"messages": HELLO})).json
        chunks = (await ask(server, CHAT, body)).chunks
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == text
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    arguments = "".join(call["function"]["arguments"] for call in calls if call["index"] == 1)
    assert arguments == WEATHER.arguments
    assert whole["choices"][0]["message"]["content"] == text
    assert chunks[-1]["usage"] == whole["usage"]


def native(code: str, message: str, param: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"message": message, "type": "invalid_request", "code": code}
    return error if param is None else {**error, "param": param}


async def test_an_answer_by_a_schema_is_json_that_fits_it(ask: Ask) -> None:
    schema = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    question = {"model": "qwen/qwen3-4b-2507", "messages": HELLO, "response_format": wanted}
    async with LMStudioEmulator() as server:
        got = await ask(server, CHAT, question)
        free = await ask(server, CHAT, {**question, "response_format": {"type": "text"}})
    content = got.json["choices"][0]["message"]["content"]
    assert content == '{"said": "You said: hello big world"}'
    assert free.json["choices"][0]["message"]["content"] == "You said: hello big world"
