"""The OpenAI routes of the emulated Ollama, event by event."""

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from patinox.testing import OllamaAnswer, OllamaModel, OllamaPrompt, OllamaToolCall

Serving = Callable[..., AbstractAsyncContextManager[Any]]
Shape = Callable[[object], object]
PLAIN_JSON = "application/json"
SECOND = 10**9
SSE = "text/event-stream"
WEATHER = OllamaAnswer(
    text="Checking.",
    thinking=("Need the ", "weather."),
    tool_calls=(OllamaToolCall("get_weather", {"city": "Paris", "days": 2}),),
)
THINKER = OllamaModel(
    name="qwen3:4b", capabilities=("completion", "tools", "thinking"), family="qwen3", reply=WEATHER
)
STUB = OllamaModel(
    name="gpt-oss:120b-cloud", family="gptoss", remote_model="gpt-oss:120b", embedding_length=0
)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
ASK = [{"role": "user", "content": "hello there"}]
NAMED = (
    OllamaModel(name="Llama3.2"),
    OllamaModel(name="me/Model:7b"),
    OllamaModel(name="hf.co/org/Repo-GGUF:Q4_K_M"),
    OllamaModel(name="host:5000/ns/m"),
)
EVENTS = """[
{"id":"chatcmpl-431","object":"chat.completion.chunk","created":1787392800,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"",
"reasoning":"Need"},"finish_reason":null}]},
{"id":"chatcmpl-431","object":"chat.completion.chunk","created":1787392800,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":"","tool_calls":[{
"id":"call_p7o2gz50","index":0,"type":"function","function":{"name":"get_weather",
"arguments":"{}"}}]},"finish_reason":null}]},
{"id":"chatcmpl-431","object":"chat.completion.chunk","created":1787392800,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]},
{"id":"chatcmpl-431","object":"chat.completion.chunk","created":1787392800,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[],
"usage":{"prompt_tokens":164,"completion_tokens":27,"total_tokens":191}}]"""


async def test_openai_events_are_as_documented(serving: Serving, shape: Shape) -> None:
    answer = OllamaAnswer(thinking=("Need",), tool_calls=WEATHER.tool_calls)
    async with serving(msgspec.structs.replace(THINKER, reply=answer)) as client:
        body = {"model": "qwen3:4b", "messages": ASK, "tools": TOOLS}
        usage = {"stream_options": {"include_usage": True}}
        reply = await client.post("/v1/chat/completions", **body, stream=True, **usage)
        native = (await client.post("/api/chat", **body)).lines[-1]
        whole = await client.post("/v1/chat/completions", **body)
    *events, end = reply.events
    assert shape(events) == shape(json.loads(EVENTS))
    assert end == "[DONE]"
    assert {(event["id"], event["created"]) for event in events} == {
        (events[0]["id"], events[0]["created"])
    }
    call = events[1]["choices"][0]["delta"]["tool_calls"][0]["function"]
    assert json.loads(call["arguments"]) == {"city": "Paris", "days": 2}
    counts = native["prompt_eval_count"], native["eval_count"]
    assert (*events[-1]["usage"].values(),) == (*counts, sum(counts))
    assert whole.kind == PLAIN_JSON
    assert whole.body.endswith(b"\n")
    assert whole.json["usage"] == events[-1]["usage"]
    (choice,) = whole.json["choices"]
    assert list(choice["message"]) == ["role", "content", "reasoning", "tool_calls"]
    assert choice["finish_reason"] == "tool_calls"


EARLIER = """[
{"id":"chatcmpl-631","object":"chat.completion.chunk","created":1,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"",
"reasoning":"Need"},"finish_reason":null}]},
{"id":"chatcmpl-631","object":"chat.completion.chunk","created":1,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"",
"tool_calls":[{"id":"call_hz5jryan","index":0,"type":"function","function":{"name":"get_weather",
"arguments":"{}"}}]},"finish_reason":null}]},
{"id":"chatcmpl-631","object":"chat.completion.chunk","created":1,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},
"finish_reason":"tool_calls"}]},
{"id":"chatcmpl-631","object":"chat.completion.chunk","created":1,"model":"qwen3:4b",
"system_fingerprint":"fp_ollama","choices":[],
"usage":{"prompt_tokens":139,"completion_tokens":32,"total_tokens":171}}]"""


async def test_openai_events_before_0_30_have_the_role_and_a_time_of_their_own(
    serving: Serving, shape: Shape
) -> None:
    ticks = itertools.count(SECOND, SECOND)
    answer = OllamaAnswer(thinking=("Need",), tool_calls=WEATHER.tool_calls)
    model = msgspec.structs.replace(THINKER, reply=answer)
    async with serving(model, version="0.24.0", clock=lambda: next(ticks)) as client:
        body = {"model": "qwen3:4b", "messages": ASK, "tools": TOOLS, "stream": True}
        usage = {"stream_options": {"include_usage": True}}
        *events, end = (await client.post("/v1/chat/completions", **body, **usage)).events
        whole = (await client.post("/v1/chat/completions", **{**body, "stream": False})).json
    assert shape(events) == shape(json.loads(EARLIER))
    assert end == "[DONE]"
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [
        None,
        None,
        "tool_calls",
    ]
    created = [event["created"] for event in events]
    assert created == sorted(set(created))
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("version", "role"), [("0.33.0", {}), ("0.24.0", {"role": "assistant"})])
async def test_what_stands_in_for_an_error_within_openai_events(
    serving: Serving, version: str, role: dict[str, str]
) -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer(text="Once", error="unexpected EOF"))
    async with serving(model, version=version) as client:
        body = {"model": "m", "messages": ASK, "stream": True}
        _, last = (await client.post("/v1/chat/completions", **body)).events
    delta = {**role, "content": ""}
    assert last["model"] == ""
    assert last["choices"] == [{"index": 0, "delta": delta, "finish_reason": None}]


@pytest.mark.parametrize(
    ("stop", "text"),
    [(None, "a b"), (1, "a b"), ({}, "a b"), ("b", "a "), ([1, "b"], "a "), ([], "a b")],
)
async def test_an_openai_stop_is_a_text_or_a_list_and_anything_else_is_ignored(
    serving: Serving, stop: object, text: str
) -> None:
    async with serving(OllamaModel(name="m", reply="a b")) as client:
        reply = await client.post("/v1/chat/completions", model="m", messages=ASK, stop=stop)
    assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, text)


async def test_an_openai_request_is_mapped_and_what_ollama_ignores_is_ignored(
    serving: Serving,
) -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return "one two three"

    model = OllamaModel(
        name="m", capabilities=("completion", "vision", "tools", "thinking"), reply=reply
    )
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    called = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    ]
    async with serving(model) as client:
        reply_ = await client.post(
            "/v1/chat/completions",
            model="m",
            messages=messages,
            max_tokens=2,
            max_completion_tokens=1,
            num_ctx=1,
            options={"num_ctx": 1},
            stop="never",
            reasoning_effort="minimal",
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
            logprobs=True,
        )
    (prompt,) = seen
    assert [(m.role, m.content, len(m.images)) for m in prompt.messages] == [
        ("user", "look", 0),
        ("user", "", 1),
        ("assistant", "", 0),
        ("tool", "42", 0),
    ]
    assert prompt.messages[2].tool_calls[0].function.arguments == {"a": 1}
    assert (prompt.messages[3].tool_name, prompt.messages[3].tool_call_id) == ("f", "call_1")
    assert prompt.options == {"num_predict": 2, "stop": ["never"], "temperature": 1.0, "top_p": 1.0}
    assert (prompt.think, prompt.format) == ("low", {"type": "object"})
    (choice,) = reply_.json["choices"]
    assert choice["message"]["content"] == "one two"
    assert choice["finish_reason"] == "length"
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["one", " two"]


async def test_an_error_within_openai_events_is_swallowed(serving: Serving) -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer(text="Once", error="unexpected EOF"))
    async with serving(model) as client:
        body = {"model": "m", "messages": ASK, "stream": True}
        first, last = (await client.post("/v1/chat/completions", **body)).events
        old = (await client.post("/v1/completions", model="m", prompt="x", stream=True)).events
        whole = await client.post("/v1/chat/completions", model="m", messages=ASK)
    assert first["choices"][0]["delta"]["content"] == "Once"
    assert [event["model"] for event in old] == ["m", ""]
    assert last["model"] == ""
    assert (whole.status, whole.json["error"]["type"]) == (500, "api_error")


async def test_openai_events_may_end_without_an_end(serving: Serving) -> None:
    ends = OllamaModel(name="m", reply=OllamaAnswer(text=".", finished=False))
    empty = OllamaModel(name="n", reply=OllamaAnswer(finished=False))
    async with serving(ends, empty) as client:
        body = {"messages": ASK, "stream": True}
        (event,) = (await client.post("/v1/chat/completions", model="m", **body)).events
        nothing = await client.post("/v1/chat/completions", model="n", **body)
        whole = (await client.post("/v1/chat/completions", model="m", messages=ASK)).json
    assert event["choices"][0]["finish_reason"] is None
    assert (nothing.status, nothing.kind, nothing.body) == (200, SSE, b"")
    assert whole["choices"][0]["finish_reason"] is None


async def test_openai_requests_may_ask_for_any_json_and_bring_sound(serving: Serving) -> None:
    parts = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
    messages = [{"role": "user", "content": parts}]
    async with serving() as client:
        answer = await client.post(
            "/v1/chat/completions",
            model="llama3.2:3b",
            messages=ASK,
            response_format={"type": "json_object"},
        )
        heard = await client.post("/v1/chat/completions", model="llava:7b", messages=messages)
    content = answer.json["choices"][0]["message"]["content"]
    assert json.loads(content) == {"answer": "You said: hello there"}
    assert heard.json["usage"]["prompt_tokens"] == 769


async def test_openai_completions_have_a_usage_of_zeros_before_the_real_one(
    serving: Serving,
) -> None:
    async with serving(OllamaModel(name="m", reply="a b")) as client:
        body: dict[str, object] = {"model": "m", "prompt": "x y", "logprobs": 2}
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        *events, end = (await client.post("/v1/completions", **body, **stream)).events
        whole = (await client.post("/v1/completions", **body)).json
        loaded = (await client.post("/v1/completions", model="m")).json
    assert end == "[DONE]"
    assert [event["usage"]["total_tokens"] for event in events] == [0, 0, 0, 6]
    assert [choice["text"] for event in events for choice in event["choices"]] == ["a", " b", ""]
    assert events[-1]["choices"] == []
    assert whole["choices"] == [{"text": "a b", "index": 0, "finish_reason": "stop"}]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert loaded["choices"] == [{"text": "", "index": 0, "finish_reason": "load"}]


async def test_openai_models_have_an_owner_and_a_date(serving: Serving) -> None:
    async with serving(*NAMED, STUB) as client:
        listed = (await client.get("/v1/models")).json
        one = (await client.get("/v1/models/LLAMA3.2")).json
        stub = await client.get("/v1/models/gpt-oss:120b-cloud")
        none = await client.get("/v1/models/none")
    assert [(entry["id"], entry["owned_by"]) for entry in listed["data"][:2]] == [
        ("Llama3.2:latest", "library"),
        ("me/Model:7b", "me"),
    ]
    assert one == {**listed["data"][0], "id": "LLAMA3.2"}
    assert stub.status == 200
    assert (none.status, none.json["error"]["message"]) == (404, "model 'none:latest' not found")
    async with serving(*NAMED, version="0.24.0") as client:
        none = await client.get("/v1/models/none")
    assert (none.status, none.json["error"]["message"]) == (404, "model 'none' not found")
