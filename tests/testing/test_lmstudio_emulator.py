"""The emulated LM Studio, held to recorded payloads: same keys, same order, same bytes."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import aiohttp
import pytest

from patinox.testing.lmstudio import (
    MODEL_CRASHED,
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioPrompt,
    LMStudioSwitches,
    LMStudioToolCall,
)
from patinox.testing.lmstudio.state import Switches

if TYPE_CHECKING:
    from collections.abc import Mapping

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
FINCH = LMStudioModel(
    key="finch-1b",
    publisher="mlx-community",
    architecture="finch",
    quantization="4bit",
    format="mlx",
    max_context_length=32768,
)
EMBED = LMStudioModel(
    key="text-embedding-acme-v1",
    kind="embedding",
    publisher="acme",
    display_name="Acme Embed v1",
    architecture="nomic-bert",
    quantization="Q8_0",
    bits_per_weight=8,
    max_context_length=2048,
    size_bytes=146146432,
    dimensions=3,
)
WEATHER = LMStudioToolCall("get_weather", '{"city":"Oslo"}')
Generation = Literal["0.4", "0.3"]
TOKEN = "sk-lm-abcdefgh:abcdefghijklmnopqrst"
CHAT, CHAT_V0, NATIVE = "/v1/chat/completions", "/api/v0/chat/completions", "/api/v1/chat"
HELLO = [{"role": "user", "content": "hello big world"}]
GUARDRAIL = "Model loading was stopped due to insufficient system resources."
TOO_LONG = {"messages": [{"role": "user", "content": "word " * 9000}]}
TOO_LONG_A = (
    "The number of tokens to keep from the initial prompt is greater than the context length"
    " (n_keep: 9000>= n_ctx: 8192). Try to load the model with a larger context length,"
    " or provide a shorter input."
)
TOO_LONG_C = (
    "Engine protocol predict request returned 400: "
    '{"error":{"code":400,"message":"request (9000 tokens) exceeds the available context size'
    ' (8192 tokens), try increasing it","type":"exceed_context_size_error",'
    '"n_prompt_tokens":9000,"n_ctx":8192}}'
)


class Got(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - a reply of any shape
        return json.loads(self.text)

    @property
    def compact(self) -> str:
        """The reply with its order of keys, and identifiers and times made constant."""
        return blank(json.dumps(self.json, separators=(",", ":"), ensure_ascii=False))

    @property
    def chunks(self) -> list[Any]:
        frames = re.findall(r"^data: (\{.*)$", self.text, re.MULTILINE)
        return [json.loads(frame) for frame in frames]


def blank(text: str) -> str:
    text = re.sub(r'"(chatcmpl-|cmpl-|resp_|job_)[a-f0-9]{10,}"', r'"\1"', text)
    text = re.sub(r'"\d{9}"', '"123456789"', text)
    text = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"NOW"', text)
    return re.sub(r'("created(?:_at)?"|"completed_at"):\d+', r"\1:0", text)


async def ask(
    server: LMStudioEmulator,
    target: str,
    body: object = None,
    *,
    method: str | None = None,
    token: str | None = None,
) -> Got:
    method = method or ("GET" if body is None else "POST")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + target, data=data, headers=headers) as response,
    ):
        return Got(response.status, response.headers, await response.text())


def owl(reply: str | LMStudioAnswer) -> LMStudioModel:
    return LMStudioModel(key="acme/owl-4b", loaded_context_length=8192, tools=True, reply=reply)


def test_every_switch_is_an_argument() -> None:
    assert set(LMStudioSwitches.__annotations__) == set(Switches.__struct_fields__)


# Identity, transport, unknown routes


async def test_the_greeting_is_compact_and_bears_the_headers_of_express() -> None:
    async with LMStudioEmulator() as server:
        got = await ask(server, "/lmstudio-greeting")
    assert (got.status, got.text) == (200, '{"lmstudio":true}')
    assert got.headers["X-Powered-By"] == "Express"
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert got.headers["Keep-Alive"] == "timeout=5"
    assert re.fullmatch(r'W/"11-[A-Za-z0-9+/]{27}"', got.headers["ETag"])
    assert "Server" not in got.headers


async def test_lms_status_tells_the_version() -> None:
    async with LMStudioEmulator(version="0.4.11") as server:
        got = await ask(server, "/lms-status")
    assert got.text == '{"package":"lmstudio","version":"0.4.11"}'


@pytest.mark.parametrize(
    ("generation", "method", "target"),
    [
        ("0.4", "GET", "/health"),
        ("0.4", "GET", "/v1/models/acme?x=1&y=2"),
        ("0.4", "POST", "/v1/models"),
        ("0.4", "GET", "/v1/chat/completions"),
        ("0.4", "OPTIONS", "/v1/chat/completions"),
        ("0.4", "POST", "/v1/models/unload"),
        ("0.3", "GET", "/lms-status"),
        ("0.3", "GET", "/api/v1/models"),
        ("0.3", "POST", "/api/v1/chat"),
        ("0.3", "GET", "/api/v1/models/download/status/job_1"),
    ],
)
async def test_an_unexpected_endpoint_is_answered_with_200(
    generation: Generation,
    method: str,
    target: str,
) -> None:
    async with LMStudioEmulator(generation=generation) as server:
        got = await ask(server, target, method=method)
    error = f"Unexpected endpoint or method. ({method} {target})"
    assert (got.status, got.text) == (200, json.dumps({"error": error}, separators=(",", ":")))


async def test_unexpected_endpoints_and_lms_status_can_be_switched() -> None:
    async with LMStudioEmulator(unknown_route_status=404, lms_status=False) as server:
        got = await ask(server, "/lms-status")
    assert got.status == 404
    assert got.json == {"error": "Unexpected endpoint or method. (GET /lms-status)"}


@pytest.mark.parametrize(
    ("target", "body", "second_line"),
    [
        (CHAT, {"messages": HELLO}, '    "id"'),
        ("/v1/models", None, '    "data"'),
        ("/api/v1/models", None, '  "models"'),
        (NATIVE, {"model": "acme/owl-4b", "input": "x"}, '  "model_instance_id"'),
        ("/v1/responses", {"input": "x"}, '  "id"'),
    ],
)
async def test_openai_replies_are_indented_by_four_and_native_ones_by_two(
    target: str, body: object, second_line: str
) -> None:
    async with LMStudioEmulator([OWL]) as server:
        got = await ask(server, target, body)
    assert got.text.splitlines()[1].startswith(second_line)


# Tokens


@pytest.mark.parametrize(
    ("token", "status", "start"),
    [
        (None, 401, "An LM Studio API token is required to make requests to this server"),
        ("lm-studio-placeholder", 401, "Malformed LM Studio API token provided: lm-studio-***"),
        (TOKEN, 200, ""),
    ],
)
@pytest.mark.parametrize("target", ["/v1/models", "/api/v0/models", "/api/v1/models", "/health"])
async def test_every_route_asks_for_the_token(
    target: str, token: str | None, status: int, start: str
) -> None:
    async with LMStudioEmulator(token=TOKEN) as server:
        got = await ask(server, target, token=token)
        greeting = await ask(server, "/lmstudio-greeting")
    assert got.status == status
    if status == 401:
        assert list(got.json["error"]) == ["type", "code", "message"]
        assert got.json["error"]["type"] == "invalid_request"
        assert got.json["error"]["code"] == "invalid_api_key"
        assert got.json["error"]["message"].startswith(start)
    assert greeting.json == {"lmstudio": True}


async def test_the_greeting_can_ask_for_the_token_and_0_3_never_does() -> None:
    async with LMStudioEmulator(token=TOKEN, greeting_needs_token=True) as server:
        assert (await ask(server, "/lmstudio-greeting")).status == 401
    async with LMStudioEmulator(token=TOKEN, generation="0.3") as server:
        assert (await ask(server, "/v1/models")).status == 200


# Model lists

LIST_V1 = (
    '{"data":[{"id":"acme/owl-4b","object":"model","owned_by":"organization_owner"},'
    '{"id":"finch-1b","object":"model","owned_by":"organization_owner"},'
    '{"id":"text-embedding-acme-v1","object":"model","owned_by":"organization_owner"}],'
    '"object":"list"}'
)
OWL_V0 = (
    '{"id":"acme/owl-4b","object":"model","type":"vlm","publisher":"acme","arch":"owl3",'
    '"compatibility_type":"gguf","quantization":"Q4_K_M","state":"loaded",'
    '"max_context_length":131072,"loaded_context_length":8192,"capabilities":["tool_use"]}'
)
LIST_V0 = (
    '{"data":[' + OWL_V0 + ',{"id":"finch-1b","object":"model","type":"llm",'
    '"publisher":"mlx-community","arch":"finch","compatibility_type":"mlx","quantization":"4bit",'
    '"state":"not-loaded","max_context_length":32768},'
    '{"id":"text-embedding-acme-v1","object":"model","type":"embeddings","publisher":"acme",'
    '"arch":"nomic-bert","compatibility_type":"gguf","quantization":"Q8_0","state":"not-loaded",'
    '"max_context_length":2048}],"object":"list"}'
)
LIST_NATIVE = (
    '{"models":[{"type":"llm","publisher":"acme","key":"acme/owl-4b","display_name":"Owl 4B",'
    '"architecture":"owl3","quantization":{"name":"Q4_K_M","bits_per_weight":4},'
    '"size_bytes":2740937888,"params_string":"4B","loaded_instances":[{"id":"acme/owl-4b",'
    '"config":{"context_length":8192,"eval_batch_size":512,"parallel":4,"flash_attention":true,'
    '"offload_kv_cache_to_gpu":true},"remaining_ttl_seconds":3600}],"max_context_length":131072,'
    '"format":"gguf","capabilities":{"vision":true,"trained_for_tool_use":true,'
    '"reasoning":{"allowed_options":["off","on"],"default":"on"}},"description":null,'
    '"variants":["acme/owl-4b@q4_k_m"],"selected_variant":"acme/owl-4b@q4_k_m"},'
    '{"type":"embedding","publisher":"acme","key":"text-embedding-acme-v1",'
    '"display_name":"Acme Embed v1","quantization":{"name":"Q8_0","bits_per_weight":8},'
    '"size_bytes":146146432,"params_string":null,"loaded_instances":'
    '[{"id":"text-embedding-acme-v1","config":{"context_length":2048}}],'
    '"max_context_length":2048,"format":"gguf"}]}'
)


@pytest.mark.parametrize("generation", ["0.4", "0.3"])
async def test_model_lists_of_openai_and_v0(generation: Generation) -> None:
    async with LMStudioEmulator([OWL, FINCH, EMBED], generation=generation) as server:
        assert (await ask(server, "/v1/models")).compact == LIST_V1
        assert (await ask(server, "/api/v0/models")).compact == LIST_V0
        assert (await ask(server, "/api/v0/models/acme/owl-4b")).compact == OWL_V0
        assert (await ask(server, "/api/v0/models/acme%2Fowl-4b")).compact == OWL_V0
        unknown = await ask(server, "/api/v0/models/nope")
    assert unknown.json["error"]["code"] == "model_not_found"


async def test_the_native_list_shows_every_model_and_the_ttl_of_loads_by_request() -> None:
    cold = LMStudioModel(**{**fields(OWL), "loaded_context_length": None})
    warm = LMStudioModel(**{**fields(EMBED), "loaded_context_length": 2048})
    async with LMStudioEmulator([cold, warm], clock=lambda: 1.0) as server:
        body = {"model": "acme/owl-4b", "input": "x", "context_length": 8192}
        await ask(server, NATIVE, body)
        assert (await ask(server, "/api/v1/models")).compact == LIST_NATIVE


def fields(model: LMStudioModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__struct_fields__}


async def test_without_jit_only_loaded_models_are_listed_except_natively() -> None:
    async with LMStudioEmulator([OWL, FINCH], jit=False) as server:
        openai = (await ask(server, "/v1/models")).json
        native = (await ask(server, "/api/v1/models")).json
    assert [row["id"] for row in openai["data"]] == ["acme/owl-4b"]
    assert [row["key"] for row in native["models"]] == ["acme/owl-4b", "finch-1b"]


# Whole completions


async def test_a_whole_v0_chat() -> None:
    model = LMStudioModel(**{**fields(OWL), "reply": LMStudioAnswer(("Fo", "ur", "."))})
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


async def test_a_whole_chat_with_a_tool_call_has_empty_stats() -> None:
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


async def test_a_whole_chat_of_0_3_leaves_out_what_is_empty() -> None:
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


async def test_a_text_completion_whole_and_streamed() -> None:
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
    options: dict[str, object], text: str, finish: str, stopped: str
) -> None:
    async with LMStudioEmulator([owl("one two three")]) as server:
        got = (await ask(server, CHAT_V0, {"messages": HELLO, **options})).json
    choice = got["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)
    assert got["stats"]["stop_reason"] == stopped
    assert got["usage"]["completion_tokens"] == len(text.split())


async def test_generation_ends_where_the_context_does() -> None:
    model = LMStudioModel(key="m", loaded_context_length=5, reply="one two three")
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, CHAT_V0, {"messages": HELLO})).json
    assert got["choices"][0]["message"]["content"] == "one two"
    assert got["stats"]["stop_reason"] == "contextLengthReached"


async def test_usage_and_stats_can_be_missing() -> None:
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


async def test_by_default_a_model_repeats_the_user_and_reasons_if_it_can() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "ping"}]}]
    async with LMStudioEmulator() as server:
        plain = (await ask(server, CHAT, {"messages": messages})).json
        asked = {"model": "openai/gpt-oss-20b", "messages": messages}
        deep = (await ask(server, CHAT, asked)).json
    assert plain["choices"][0]["message"]["content"] == "You said: ping"
    assert plain["choices"][0]["message"]["reasoning_content"] == ""
    assert deep["choices"][0]["message"]["reasoning_content"]


async def test_a_reply_may_be_a_function_of_the_prompt() -> None:
    def reply(prompt: LMStudioPrompt) -> str:
        roles = " ".join(turn.role for turn in prompt.turns)
        return f"{prompt.model} {prompt.last_user_text} {prompt.body['seed']} {roles}"

    messages = [{"role": "system", "content": "be"}, *HELLO, {"role": "tool", "content": "4"}]
    model = LMStudioModel(key="m", loaded_context_length=100, reply=reply)
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, CHAT, {"messages": messages, "seed": 7})).json
    assert got["choices"][0]["message"]["content"] == "m hello big world 7 system user tool"


# Streams

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
    assert blank(got.text) == "".join(frames)
    assert got.headers["Content-Type"] == "text/event-stream"
    assert got.headers["Cache-Control"] == "no-cache"
    assert got.headers["Transfer-Encoding"] == "chunked"


async def test_a_v0_stream_may_tell_its_stats_in_the_chunk_that_ends() -> None:
    async with LMStudioEmulator([OWL], v0_stream_stats=True) as server:
        v0 = await ask(server, CHAT_V0, {"messages": HELLO, "stream": True})
        v1 = await ask(server, CHAT, {"messages": HELLO, "stream": True})
    assert v0.chunks[-1]["stats"]["stop_reason"] == "eosFound"
    assert not any("stats" in chunk for chunk in v1.chunks)


@pytest.mark.parametrize(
    "text", ["", "word", "You said: hi  there\nfriend ", '{"a": [1, 2]}', "é 😀"]
)
async def test_whole_and_stream_say_the_same_and_count_the_same(text: str) -> None:
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


# Which model answers


TWO = LMStudioModel(key="acme/two", loaded_context_length=100)
ALIAS = LMStudioModel(key="acme/wren", identifier="My-Wren", loaded_context_length=100)


@pytest.mark.parametrize(
    ("models", "jit", "asked", "answers"),
    [
        ([OWL, FINCH], True, {"model": "acme/owl-4b"}, "acme/owl-4b"),
        ([OWL, FINCH], True, {"model": "ACME/Owl-4B"}, "acme/owl-4b"),
        ([OWL, FINCH], True, {"model": "acme/owl-4b@q4_k_m"}, "acme/owl-4b"),
        ([OWL, FINCH], True, {"model": "finch-1b"}, "finch-1b"),
        ([OWL, FINCH], False, {"model": "finch-1b"}, "acme/owl-4b"),
        ([OWL, EMBED], True, {"model": "nope"}, "acme/owl-4b"),
        ([OWL, EMBED], True, {}, "acme/owl-4b"),
        ([ALIAS, OWL], True, {"model": "My-Wren"}, "My-Wren"),
        ([ALIAS, OWL], True, {"model": "acme/wren"}, "My-Wren"),
        ([OWL], True, {"model": ""}, "Invalid model identifier"),
        ([ALIAS, OWL], True, {"model": "my-wren"}, "Invalid model identifier"),
        ([OWL, TWO], True, {"model": "nope"}, "Invalid model identifier"),
        ([OWL, TWO], True, {}, "Multiple models are loaded."),
        ([FINCH], True, {"model": "nope"}, "Invalid model identifier"),
        ([FINCH], False, {"model": "nope"}, "No models loaded."),
        ([FINCH], True, {}, "No models loaded."),
        ([OWL, EMBED], True, {"model": EMBED.key}, "Invalid model identifier"),
    ],
)
@pytest.mark.parametrize("target", [CHAT, CHAT_V0])
async def test_which_model_answers_on_openai_and_v0_routes(
    target: str,
    models: list[LMStudioModel],
    asked: dict[str, str],
    answers: str,
    *,
    jit: bool,
) -> None:
    async with LMStudioEmulator(models, jit=jit) as server:
        got = await ask(server, target, {**asked, "messages": HELLO})
    if got.status == 200:
        assert got.json["model"] == answers
    else:
        assert got.status == 400
        assert got.json["error"]["message"].startswith(answers)


UNKNOWN_04 = {
    "message": 'Invalid model identifier "nope". Please specify a valid downloaded model '
    "(e.g., acme/owl-4b@q4_k_m, acme/owl-4b, acme/two@q4_k_m, acme/two).",
    "type": "invalid_request_error",
    "param": "model",
    "code": "model_not_found",
}
UNKNOWN_03 = {
    "message": 'Model "nope" not found. Please specify a valid model.\n\nYour models:\n\n'
    "acme/owl-4b\nacme/two",
    "type": "invalid_request_error",
    "param": "model",
    "code": "model_not_found",
}


@pytest.mark.parametrize(
    ("generation", "status", "error"), [("0.4", 400, UNKNOWN_04), ("0.3", 404, UNKNOWN_03)]
)
async def test_an_unknown_model_in_both_generations(
    generation: Generation,
    status: int,
    error: object,
) -> None:
    async with LMStudioEmulator([OWL, TWO], generation=generation) as server:
        got = await ask(server, CHAT, {"model": "nope", "messages": HELLO})
    assert (got.status, got.json) == (status, {"error": error})


async def test_requests_that_wait_for_one_model_load_it_once() -> None:
    body = {"model": "finch-1b", "messages": HELLO}
    async with LMStudioEmulator([FINCH], load_seconds=0.01) as server:
        await asyncio.gather(*(ask(server, CHAT, body) for _ in range(3)))
        assert server.loaded == ("finch-1b",)


@pytest.mark.parametrize(("auto_evict", "left"), [(True, ("b",)), (False, ("a", "b"))])
async def test_a_load_by_request_evicts_the_one_before_it_but_no_other(
    left: tuple[str, ...],
    *,
    auto_evict: bool,
) -> None:
    models = [OWL, LMStudioModel(key="a"), LMStudioModel(key="b")]
    async with LMStudioEmulator(models, auto_evict=auto_evict) as server:
        for name in "ab":
            await ask(server, CHAT, {"model": name, "messages": HELLO})
        assert server.loaded == ("acme/owl-4b", *left)


@pytest.mark.parametrize(("ttl", "seconds"), [(60, 60), (None, 3600), ("soon", 3600), (-1, 3600)])
async def test_a_model_loaded_by_request_goes_when_its_ttl_has_passed(
    ttl: object, seconds: int
) -> None:
    now = 0.0
    async with LMStudioEmulator([FINCH], clock=lambda: now) as server:
        body = {"model": "finch-1b", "messages": HELLO, "ttl": ttl}
        await ask(server, CHAT, body)
        now = seconds - 1
        rows = (await ask(server, "/api/v1/models")).json["models"]
        assert rows[0]["loaded_instances"][0]["remaining_ttl_seconds"] == 1
        await ask(server, CHAT, body)
        now += seconds - 1
        assert server.loaded == ("finch-1b",)
        now += 1
        assert len(server.loaded) == 0


# What is taken, and how it fails


def said(**item: object) -> dict[str, object]:
    return {"model": "acme/owl-4b", "input": [item]}


def image(url: str) -> dict[str, object]:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("kind", "url", "error"),
    [
        ("vlm", "data:image/png;base64,AAAA", None),
        ("vlm", "data:image/jpeg;base64,AAAA", None),
        ("vlm", "data:image/webp;base64,AAAA", "'url' field must be a base64 encoded image."),
        ("vlm", "https://example.org/a.png", "'url' field must be a base64 encoded image."),
        (
            "llm",
            "data:image/png;base64,AAAA",
            "Model does not support images. Please use a model that does.",
        ),
    ],
)
async def test_which_images_are_taken(
    kind: Literal["llm", "vlm"], url: str, error: str | None
) -> None:
    model = LMStudioModel(key="m", kind=kind, loaded_context_length=100)
    native = said(type="image", data_url=url)
    async with LMStudioEmulator([model]) as server:
        got = await ask(server, CHAT, image(url))
        there = await ask(server, NATIVE, native | {"model": "m"})
    assert there.status == (200 if kind == "vlm" else 400)
    assert got.json.get("error") == error
    assert got.status == (200 if error is None else 400)


async def test_a_prompt_too_long_for_a_stream_is_an_error_event_after_200() -> None:
    async with LMStudioEmulator([OWL], overflow="C") as server:
        whole = await ask(server, CHAT, TOO_LONG)
        stream = await ask(server, CHAT, {**TOO_LONG, "stream": True})
    assert (whole.status, whole.json) == (400, {"error": TOO_LONG_C})
    assert stream.status == 200
    assert stream.text.startswith("event: error\ndata: ")
    assert stream.chunks == [{"error": {"message": TOO_LONG_C}, "message": TOO_LONG_C}]


async def test_a_body_that_is_not_json_is_a_page_on_openai_routes_and_an_error_natively() -> None:
    async with LMStudioEmulator() as server:
        openai = await ask(server, CHAT, b"{")
        native = await ask(server, NATIVE, b"{")
    assert (openai.status, native.status) == (400, 400)
    assert openai.headers["Content-Type"] == "text/html; charset=utf-8"
    assert native.json["error"]["code"] == "invalid_json"


# Embeddings


@pytest.mark.parametrize("target", ["/v1/embeddings", "/api/v0/embeddings"])
async def test_embeddings_are_unit_vectors_of_the_text_and_count_nothing(target: str) -> None:
    body = {"model": EMBED.key, "input": ["b", "a", "b"], "dimensions": 2}
    async with LMStudioEmulator([EMBED]) as server:
        got = await ask(server, target, body)
        single = (await ask(server, target, {**body, "input": "a"})).json
    rows = got.json.pop("data")
    assert re.sub(r'"embedding":\[[^]]+\]', '"embedding":[]', got.compact) == (
        '{"object":"list","data":[{"object":"embedding","embedding":[],"index":0},'
        '{"object":"embedding","embedding":[],"index":1},{"object":"embedding","embedding":[],'
        '"index":2}],"model":"text-embedding-acme-v1",'
        '"usage":{"prompt_tokens":0,"total_tokens":0}}'
    )
    vectors = [row["embedding"] for row in rows]
    assert vectors[0] == vectors[2] != vectors[1] == single["data"][0]["embedding"]
    assert all(len(vector) == 3 and math.isclose(math.hypot(*vector), 1) for vector in vectors)


async def test_a_text_longer_than_the_context_is_cut_in_silence() -> None:
    model = LMStudioModel(key="e", kind="embedding", loaded_context_length=2, dimensions=4)
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, "/v1/embeddings", {"input": ["a b c", "a b d", "a c"]})).json
    vectors = [row["embedding"] for row in got["data"]]
    assert vectors[0] == vectors[1] != vectors[2]


# Responses


async def test_responses_answer_whole_and_go_on() -> None:
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


async def test_responses_stream_named_events() -> None:
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
async def test_responses_break_off(answer: LMStudioAnswer, last: str) -> None:
    async with LMStudioEmulator([owl(answer)]) as server:
        got = await ask(server, "/v1/responses", {"input": "hello", "stream": True})
    assert got.chunks[-1]["type"] == last


async def test_responses_take_tool_results_as_input() -> None:
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
async def test_refusals_of_responses(body: object, status: int, code: str) -> None:
    async with LMStudioEmulator([OWL]) as server:
        got = await ask(server, "/v1/responses", body)
    assert (got.status, got.json["error"]["code"]) == (status, code)


# The native API


async def test_a_native_chat_whole() -> None:
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
async def test_a_native_stream_event_by_event(model: LMStudioModel, events: list[str]) -> None:
    async with LMStudioEmulator([model]) as server:
        body = {"model": "acme/owl-4b", "input": "hello", "stream": True}
        got = await ask(server, NATIVE, body)
    assert blank(got.text) == "".join(events)
    assert got.headers["Content-Type"] == "text/event-stream"


async def test_a_native_text_item_may_be_called_message() -> None:
    async with LMStudioEmulator([OWL], native_text_item="message") as server:
        right = await ask(server, NATIVE, said(type="message", content="x"))
        wrong = await ask(server, NATIVE, said(type="text", content="x"))
        image = await ask(server, NATIVE, said(type="image", data_url="data:image/png;base64,AA"))
    assert (right.status, image.status) == (200, 200)
    assert wrong.json["error"]["message"].endswith("Expected 'message' | 'image'")


# Loading, unloading, downloading

LOAD, UNLOAD, DOWNLOAD = (f"/api/v1/models/{verb}" for verb in ("load", "unload", "download"))
OWL_CONFIG = (
    '{"context_length":8192,"eval_batch_size":512,"parallel":4,"flash_attention":false,'
    '"offload_kv_cache_to_gpu":true}'
)


async def test_a_load_echoes_what_was_loaded_and_an_unload_undoes_it() -> None:
    cold = LMStudioModel(**{**fields(OWL), "loaded_context_length": None})
    body = {"model": "ACME/owl-4b", "context_length": 8192, "flash_attention": False}
    async with LMStudioEmulator([cold]) as server:
        loaded = await ask(server, LOAD, {**body, "echo_load_config": True})
        again = (await ask(server, LOAD, body)).json
        listed = [row["id"] for row in (await ask(server, "/v1/models")).json["data"]]
        unloaded = await ask(server, UNLOAD, {"instance_id": "acme/owl-4b"})
        assert server.loaded == ("acme/owl-4b:2",)
    assert loaded.compact == (
        '{"type":"llm","instance_id":"acme/owl-4b","load_time_seconds":0.0,"status":"loaded",'
        f'"load_config":{OWL_CONFIG}}}'
    )
    assert again["instance_id"] == "acme/owl-4b:2"
    assert "load_config" not in again
    assert listed == ["acme/owl-4b", "acme/owl-4b:2"]
    assert unloaded.compact == '{"instance_id":"acme/owl-4b"}'


async def test_a_load_may_ignore_the_context_it_is_asked_for() -> None:
    body = {"model": "finch-1b", "context_length": 9999, "echo_load_config": True}
    async with LMStudioEmulator([FINCH], load_ignores_context=True) as server:
        got = await ask(server, LOAD, body)
    assert got.json["load_config"] == {"context_length": 4096}


async def test_a_download_goes_on_until_the_model_is_there() -> None:
    body = {"model": "https://huggingface.co/acme/Wren-1B", "quantization": "Q8_0"}
    async with LMStudioEmulator([OWL]) as server:
        begun = await ask(server, DOWNLOAD, body)
        status = f"{DOWNLOAD}/status/{begun.json['job_id']}"
        half, done, still = [(await ask(server, status)).json for _ in range(3)]
        keys = [row["key"] for row in (await ask(server, "/api/v1/models")).json["models"]]
        known = await ask(server, DOWNLOAD, body)
    assert begun.compact == (
        '{"job_id":"job_","status":"downloading","total_size_bytes":2497280736,"started_at":"NOW"}'
    )
    assert (half["status"], half["downloaded_bytes"]) == ("downloading", 1248640368)
    assert done["status"] == "completed"
    assert done["downloaded_bytes"] == done["total_size_bytes"]
    assert still == done
    assert keys == ["acme/owl-4b", "acme/wren-1b"]
    assert known.compact == '{"status":"already_downloaded"}'


# Refusals

BROKEN_LOAD = LMStudioModel(key="acme/owl-70b", load_error=GUARDRAIL)
LOAD_REFUSED = f'Failed to load model "acme/owl-70b". Error: {GUARDRAIL}'
ASK = {"model": "acme/owl-4b", "input": "x"}


def of_openai(message: str, code: str | None = None) -> dict[str, object]:
    return {"message": message, "type": "invalid_request_error", "param": "model", "code": code}


def native(code: str, message: str, param: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"message": message, "type": "invalid_request", "code": code}
    return error if param is None else {**error, "param": param}


def missing(kind: str, message: str) -> dict[str, object]:
    return {"type": kind, "message": message}


def internal(message: str) -> dict[str, object]:
    return {"message": message, "type": "internal_error", "code": "unknown", "param": None}


def chat(**options: object) -> dict[str, object]:
    return {"messages": HELLO, **options}


REFUSALS: list[tuple[str, object, int, object]] = [
    (CHAT, {}, 400, "'messages' field is required"),
    (CHAT, {"messages": 5}, 400, "_0x48eeaf is not iterable"),
    ("/v1/completions", {}, 400, "'prompt' field is required"),
    ("/v1/embeddings", {}, 400, "'input' field is required"),
    (
        "/v1/embeddings",
        {"input": [[1, 2]]},
        400,
        "'input' field must be a string or an array of strings",
    ),
    (
        CHAT,
        chat(tool_choice={"type": "function"}),
        400,
        "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
    ),
    (
        CHAT_V0,
        chat(response_format={"type": "json_object"}),
        400,
        "'response_format.type' must be 'json_schema' or 'text'",
    ),
    (CHAT, TOO_LONG, 400, TOO_LONG_A),
    (CHAT, chat(model="acme/owl-70b"), 400, of_openai(LOAD_REFUSED)),
    (
        "/v1/embeddings",
        ASK,
        400,
        of_openai('Model "acme/owl-4b" is not an embedding model.'),
    ),
    (
        CHAT,
        chat(model=""),
        400,
        of_openai(
            'Invalid model identifier "". Please specify a valid downloaded model (e.g.,'
            " acme/owl-4b@q4_k_m, acme/owl-4b, acme/owl-70b@q4_k_m, acme/owl-70b).",
            "model_not_found",
        ),
    ),
    (NATIVE, {}, 400, native("missing_required_parameter", "'model' is required", "model")),
    (
        NATIVE,
        {"model": "acme/owl-4b"},
        400,
        native("missing_required_parameter", "'input' is required", "input"),
    ),
    (
        NATIVE,
        {**ASK, "ttl": 5, "tools": []},
        400,
        native("unrecognized_keys", "Unrecognized key(s) in object: 'ttl', 'tools'"),
    ),
    (
        NATIVE,
        {**ASK, "model": "nope"},
        404,
        native("model_not_found", "Model nope not found in downloaded models", "model"),
    ),
    (NATIVE, {**ASK, "model": "acme/owl-70b"}, 500, internal(LOAD_REFUSED)),
    (
        NATIVE,
        {**ASK, "reasoning": "high"},
        400,
        native(
            "invalid_value",
            "Reasoning setting 'high' is not supported by model 'acme/owl-4b'."
            " Supported settings: 'off', 'on'.",
            "reasoning",
        ),
    ),
    (
        NATIVE,
        {**ASK, "previous_response_id": "resp_0"},
        400,
        native(
            "invalid_value",
            "Could not find stored response for previous_response_id 'resp_0'.",
            "previous_response_id",
        ),
    ),
    (
        NATIVE,
        {**ASK, "integrations": ["mcp/x"]},
        403,
        {
            "message": "Permission denied to use plugin 'mcp/x'. Ensure that the server"
            " configuration allows plugin usage and, if using an API token, it has the"
            " necessary permissions.",
            "type": "invalid_request",
            "param": "integrations",
            "code": None,
        },
    ),
    (
        NATIVE,
        said(type="message", content="x"),
        400,
        native("invalid_union", "Invalid discriminator value. Expected 'text' | 'image'", "input"),
    ),
    (
        NATIVE,
        said(type="text", text="x"),
        400,
        native(
            "invalid_union",
            "'input.0.content' is required, Unrecognized key(s) in object: 'text'",
            "input",
        ),
    ),
    (
        NATIVE,
        {**ASK, "temperature": 1.5},
        400,
        native("invalid_value", "'temperature' must be between 0 and 1", "temperature"),
    ),
    (NATIVE, {**ASK, "input": "word " * 9000}, 500, internal(TOO_LONG_A)),
    (
        LOAD,
        {"model": "nope"},
        404,
        missing("model_not_found", "Model nope not found in downloaded models"),
    ),
    (
        LOAD,
        {"model": "acme/owl-4b@q4_k_m"},
        404,
        missing("model_not_found", "Model acme/owl-4b@q4_k_m not found in downloaded models"),
    ),
    (
        LOAD,
        {"model": "acme/owl-4b", "ttl": 60, "identifier": "x"},
        400,
        native("unrecognized_keys", "Unrecognized key(s) in object: 'ttl', 'identifier'"),
    ),
    (LOAD, {"model": "acme/owl-70b"}, 500, internal(LOAD_REFUSED)),
    (
        UNLOAD,
        {"instance_id": "ACME/owl-4b"},
        404,
        missing("model_not_found", "Model with instance identifier 'ACME/owl-4b' is not loaded."),
    ),
    (
        UNLOAD,
        {"instance_id": 5},
        400,
        native("invalid_value", "'instance_id' must be a string", "instance_id"),
    ),
    (
        f"{DOWNLOAD}/status/job_0",
        None,
        404,
        missing("job_not_found", "Download job with id 'job_0' not found."),
    ),
]


@pytest.mark.parametrize(("target", "body", "status", "error"), REFUSALS)
async def test_a_refusal_has_its_status_and_body(
    target: str, body: object, status: int, error: object
) -> None:
    async with LMStudioEmulator([OWL, BROKEN_LOAD]) as server:
        got = await ask(server, target, body)
    assert (got.status, got.json) == (status, {"error": error})


async def test_the_native_chat_knows_no_embedding_models_and_no_cold_ones_without_jit() -> None:
    asked = {"model": EMBED.key, "input": "x"}
    async with LMStudioEmulator([FINCH, EMBED], jit=False) as server:
        embeds = (await ask(server, NATIVE, asked)).json["error"]["message"]
        cold = (await ask(server, NATIVE, {**asked, "model": FINCH.key})).json["error"]["message"]
    async with LMStudioEmulator([EMBED]) as server:
        nothing = (await ask(server, NATIVE, asked)).json["error"]["message"]
    assert embeds == f"Model {EMBED.key} not found in downloaded models"
    assert cold == "Model finch-1b not found in downloaded models"
    assert nothing == "There are no downloaded llm models."
