"""Chat and generate of the emulated Ollama, line by line."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import pytest

from patinox.testing import OllamaAnswer, OllamaError, OllamaModel, OllamaPrompt, OllamaToolCall

Serving = Callable[..., AbstractAsyncContextManager[Any]]
Shape = Callable[[object], object]
JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
TINY = OllamaModel(name="tiny", reply="Hi")
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
RENDERED = """[
{"model":"qwen3:4b","created_at":"t","message":{"role":"assistant","content":"",
"thinking":"Need the "},"done":false},
{"model":"qwen3:4b","created_at":"t","message":{"role":"assistant","content":"",
"thinking":"weather."},"done":false},
{"model":"qwen3:4b","created_at":"t","message":{"role":"assistant","content":"Checking."},
"done":false},
{"model":"qwen3:4b","created_at":"t","message":{"role":"assistant","content":"","tool_calls":[
{"id":"call_p7o2gz50","function":{"index":0,"name":"get_weather",
"arguments":{"city":"Paris","days":2}}}]},"done":false},
{"model":"qwen3:4b","created_at":"t","message":{"role":"assistant","content":""},"done":true,
"done_reason":"stop","total_duration":1883583458,"load_duration":1334875,"prompt_eval_count":164,
"prompt_eval_duration":342546000,"eval_count":27,"eval_duration":1535599000}]"""
NATIVE = """[
{"model":"tiny","created_at":"t","message":{"role":"assistant","content":"","tool_calls":[
{"id":"Zk3vP0m1Q9bT7xLc2RwYd8HsFgJnAe4U","function":{"index":0,"name":"get_weather",
"arguments":{"city":"Paris"}}},
{"id":"a8HsFgJnAe4UZk3vP0m1Q9bT7xLc2RwY","function":{"index":1,"name":"get_time","arguments":{}}}]},
"done":true,"done_reason":"stop","total_duration":900000000,"load_duration":2000000,
"prompt_eval_count":210,"prompt_eval_duration":300000000,"eval_count":40,
"eval_duration":500000000}]"""


async def test_a_stream_on_the_rendered_path_is_as_documented(
    serving: Serving, shape: Shape
) -> None:
    async with serving(THINKER) as client:
        lines = (await client.chat("qwen3:4b", tools=TOOLS)).lines
    assert shape(lines) == shape(json.loads(RENDERED))
    for line in lines:
        assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]{1,9})?Z", line.pop("created_at"))
    (call,) = lines[3]["message"]["tool_calls"]
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])
    expected = json.loads(RENDERED)
    assert [line["message"].get("thinking") for line in lines] == [
        line["message"].get("thinking") for line in expected
    ]
    assert call["function"] == expected[3]["message"]["tool_calls"][0]["function"]


async def test_a_stream_on_the_native_path_has_the_calls_on_its_last_line(
    serving: Serving, shape: Shape
) -> None:
    calls = (OllamaToolCall("get_weather", {"city": "Paris"}), OllamaToolCall("get_time"))
    model = OllamaModel(
        name="tiny",
        path="native",
        capabilities=("completion", "tools"),
        reply=OllamaAnswer(tool_calls=calls),
    )
    async with serving(model) as client:
        (line,) = (await client.chat("tiny", tools=TOOLS)).lines
    assert shape([line]) == shape(json.loads(NATIVE))
    ids = [call["id"] for call in line["message"]["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", item) for item in ids)
    async with serving(model, version="0.24.0") as client:
        assert len((await client.chat("tiny", tools=TOOLS)).lines) == 3


async def test_a_whole_answer_says_what_the_stream_said(serving: Serving) -> None:
    async with serving(THINKER) as client:
        lines = (await client.chat("qwen3:4b", tools=TOOLS)).lines
        reply = await client.chat("qwen3:4b", tools=TOOLS, stream=False)
    whole, last = reply.json, lines[-1]
    assert reply.kind == JSON
    assert whole["message"]["content"] == "Checking."
    assert whole["message"]["thinking"] == "Need the weather."
    assert [call["function"]["name"] for call in whole["message"]["tool_calls"]] == ["get_weather"]
    for count in ("prompt_eval_count", "eval_count"):
        assert whole[count] == last[count]
    assert whole["done"] is True


async def test_the_default_answer_repeats_the_question_word_by_word(serving: Serving) -> None:
    async with serving() as client:
        lines = (await client.chat("llama3.2:3b")).lines
    assert [line["message"]["content"] for line in lines] == [
        "You",
        " said:",
        " hello",
        " there",
        "",
    ]
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (3, 5)


@pytest.mark.parametrize(
    ("think", "thinks"), [(None, True), (True, True), ("low", True), (False, False)]
)
async def test_a_thinking_model_thinks_unless_told_not_to(
    serving: Serving, think: object, *, thinks: bool
) -> None:
    async with serving(THINKER) as client:
        lines = (await client.chat("qwen3:4b", think=think)).lines
        generated = (
            await client.post("/api/generate", model="qwen3:4b", prompt="x", think=think)
        ).lines
    assert any("thinking" in line["message"] for line in lines) == thinks
    assert any("thinking" in line for line in generated) == thinks


async def test_what_is_html_is_escaped_and_other_characters_are_not(serving: Serving) -> None:
    content = rb"<b>&\u2028\u0085\u00e9\ud800"
    body = b'{"model":"m","stream":false,"messages":[{"role":"user","content":"%b"}]}' % content
    async with serving(OllamaModel(name="m")) as client:
        reply = await client.call("POST", "/api/chat", body)
    assert "\\u003cb\\u003e\\u0026\\u2028\x85\xe9\ufffd".encode() in reply.body


CUT = """{"model":"tiny","created_at":"2026-08-22T10:00:02Z","message":{"role":"assistant",
"content":"Hi"},"done":true,"done_reason":"length","logprobs":[{"token":"Hi","logprob":-0.5,
"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]},
{"token":"Hello","logprob":-1.2,"bytes":[72,101,108,108,111]}]}],"total_duration":90000000,
"load_duration":1000000,"prompt_eval_count":11,"prompt_eval_duration":30000000,"eval_count":1,
"eval_duration":20000000}"""


async def test_an_answer_cut_by_num_predict_with_logprobs_is_as_documented(
    serving: Serving, shape: Shape
) -> None:
    async with serving(OllamaModel(name="tiny", reply="Hi there you")) as client:
        body = {"options": {"num_predict": 1}, "logprobs": True, "top_logprobs": 2}
        whole = (await client.chat("tiny", stream=False, **body)).json
        plain = (await client.chat("tiny", stream=False)).json
        lines = (await client.chat("tiny", logprobs=True)).lines
    got, expected = whole, json.loads(CUT)
    for both in (got, expected):
        both["logprobs"][0]["top_logprobs"][1]["bytes"] = []
    assert shape(got) == shape(expected)
    assert (got["message"], got["done_reason"]) == (expected["message"], "length")
    assert "logprobs" not in plain
    assert [line["logprobs"][0]["token"] for line in lines[:-1]] == ["Hi", " there", " you"]


@pytest.mark.parametrize(
    ("options", "text", "reason", "count"),
    [
        ({}, "one two three", "stop", 4),
        ({"num_predict": -1}, "one two three", "stop", 4),
        ({"num_predict": 0}, "one two three", "stop", 4),
        ({"num_predict": 4}, "one two three", "stop", 4),
        ({"num_predict": 3}, "one two three", "length", 3),
        ({"num_predict": 2.9}, "one two", "length", 2),
        ({"num_ctx": 5}, "one two", "length", 2),
        ({"stop": [" th", "two"]}, "one ", "stop", 2),
        ({"stop": ["o thr"]}, "one tw", "stop", 3),
        ({"stop": ["one"]}, "", "stop", 1),
        ({"unknown": {}, "seed": None}, "one two three", "stop", 4),
    ],
)
async def test_options_end_the_answer(
    serving: Serving, options: object, text: str, reason: str, count: int
) -> None:
    async with serving(OllamaModel(name="m", reply="one two three")) as client:
        reply = (await client.chat("m", stream=False, options=options)).json
        parts = (await client.chat("m", options=options)).lines
    assert (reply["message"]["content"], reply["done_reason"]) == (text, reason)
    assert reply["eval_count"] == count
    assert "".join(part["message"]["content"] for part in parts) == text


@pytest.mark.parametrize(
    ("version", "num_predict", "timed"),
    [("0.33.0", 1, True), ("0.24.0", 1, False), ("0.24.0", 2, True)],
)
async def test_the_first_token_takes_no_time_before_0_30(
    serving: Serving, version: str, num_predict: int, *, timed: bool
) -> None:
    async with serving(TINY, version=version) as client:
        options = {"num_predict": num_predict}
        reply = (await client.chat("tiny", stream=False, options=options)).json
    assert ("eval_duration" in reply) is timed
    assert reply["eval_count"] == num_predict


CALLER = OllamaModel(
    name="m",
    capabilities=("completion", "tools"),
    reply=OllamaAnswer(tool_calls=(OllamaToolCall("get_weather", {"city": "Paris"}),)),
)


async def test_a_call_cut_by_num_predict_is_lost(serving: Serving) -> None:
    async with serving(CALLER) as client:
        (line,) = (await client.chat("m", tools=TOOLS, options={"num_predict": 8})).lines
    assert line["message"] == {"role": "assistant", "content": ""}
    assert (line["done_reason"], line["eval_count"]) == ("length", 8)


async def test_the_tokens_of_a_call_show_in_logprobs_only(serving: Serving) -> None:
    async with serving(CALLER) as client:
        *lines, done = (await client.chat("m", tools=TOOLS, logprobs=True)).lines
        plain = (await client.chat("m", tools=TOOLS)).lines
        whole = (await client.chat("m", tools=TOOLS, logprobs=True, stream=False)).json
    assert {line["message"]["content"] for line in lines} == {""}
    tokens = [line["logprobs"][0]["token"] for line in lines]
    calls = [position for position, line in enumerate(lines) if "tool_calls" in line["message"]]
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}'
    assert "".join(tokens[: calls[0] + 1]) == text
    assert "".join(tokens[calls[0] + 1 :]) == "\n</tool_call>"
    assert "logprobs" not in done
    assert done["eval_count"] == len(tokens) + 1
    assert len(plain) == 2
    assert [entry["token"] for entry in whole["logprobs"]] == tokens


@pytest.mark.parametrize(
    ("path", "ends"), [("rendered", False), ("native", True)], ids=["rendered", "native"]
)
async def test_an_answer_that_repeats_a_token_just_ends(
    serving: Serving, path: Literal["rendered", "native"], *, ends: bool
) -> None:
    loop = OllamaAnswer(text=('"', *("a",) * 31, " a", '"'))
    no_loop = OllamaAnswer(text=("a",) * 31)
    looping = OllamaModel(name="m", path=path, reply=loop)
    async with serving(looping, OllamaModel(name="n", path=path, reply=no_loop)) as client:
        lines = (await client.chat("m")).lines
        whole = (await client.chat("m", stream=False)).json
        other = (await client.chat("n")).lines
        cut = (await client.chat("m", options={"num_predict": 32})).lines
    assert lines[-1]["done"] is whole["done"] is ends
    assert len(lines) == (35 if ends else 32)
    assert other[-1]["done_reason"] == "stop"
    assert cut[-1]["done_reason"] == "length"


async def test_images_that_a_model_cannot_see_are_ignored_before_0_30(serving: Serving) -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return "ok"

    messages = [
        {"role": "user", "content": "one", "images": ["AAAA", "AAAA"]},
        {"role": "user", "content": "two", "images": ["AAAA"]},
    ]
    blind = OllamaModel(name="blind", reply=reply)
    sees = OllamaModel(name="sees", reply=reply, capabilities=("completion", "vision"))
    async with serving(blind, sees, version="0.24.0") as client:
        replies = [await client.chat(name, messages=messages) for name in ("blind", "sees")]
        body = {"prompt": "hi", "images": ["AAAA"], "stream": False}
        replies.append(await client.post("/api/generate", model="blind", **body))
    assert [reply.status for reply in replies] == [200] * 3
    assert [[(m.content, len(m.images)) for m in prompt.messages] for prompt in seen] == [
        [("[img-0][img-1]one", 0), ("[img-2]two", 0)],
        [("one", 2), ("two", 1)],
        [("[img-0]hi", 0)],
    ]


async def test_a_format_is_kept_by_the_default_answer(serving: Serving) -> None:
    schema = {
        "type": "object",
        "properties": {
            "who": {"type": "string"},
            "how": {"enum": ["well", "badly"]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
            "kind": {"const": 7},
            "none": {"type": "null"},
            "left": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]},
        },
        "$defs": {"part": {"type": ["boolean", "null"]}},
    }
    async with serving() as client:
        shaped = (await client.chat("llama3.2:3b", stream=False, format=schema)).json
        free = (await client.chat("llama3.2:3b", stream=False, format="json")).json
        unset = (await client.chat("llama3.2:3b", stream=False, format="")).json
    text = "You said: hello there"
    assert json.loads(shaped["message"]["content"]) == {
        "who": text,
        "how": "well",
        "parts": [True],
        "kind": 7,
        "none": None,
        "left": 3,
    }
    assert json.loads(free["message"]["content"]) == {"answer": text}
    assert unset["message"]["content"] == text


async def test_a_reply_sees_the_prompt_as_the_model_does(serving: Serving) -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return prompt.last_user_text.upper()

    model = OllamaModel(
        name="m", capabilities=("completion", "tools"), system="Be kind.", reply=reply
    )
    city = {"type": "string", "default": "Rome", "enum": ["Rome"]}
    function = {"name": "f", "parameters": {"properties": {"city": city}, "title": "T"}}
    async with serving(model) as client:
        await client.post(
            "/api/chat",
            Model="m",
            Messages=[{"Role": "USER", "content": "hi", "tool_calls": None}],
            tools=[{"type": "function", "function": function}],
            stream=False,
        )
        generated = await client.post("/api/generate", model="m", prompt="yo", stream=False)
    assert [(m.role, m.content) for m in seen[0].messages] == [
        ("system", "Be kind."),
        ("user", "hi"),
    ]
    properties = seen[0].tools[0].function.parameters
    assert properties is not None
    assert properties.properties is not None
    assert properties.properties["city"].enum == ("Rome",)
    assert not hasattr(properties.properties["city"], "default")
    assert generated.json["response"] == "YO"


LOADS = """[{"model":"tiny","created_at":"2026-08-22T10:00:03Z",
"message":{"role":"assistant","content":""},"done":true,"done_reason":"load"},
{"model":"tiny","created_at":"2026-08-22T10:00:04Z","response":"","done":true,
"done_reason":"unload"}]"""


async def test_an_empty_request_loads_or_unloads_and_is_never_streamed(
    serving: Serving, shape: Shape
) -> None:
    async with serving(TINY) as client:
        loaded = await client.chat("tiny", messages=[])
        assert len((await client.get("/api/ps")).json["models"]) == 1
        unloaded = await client.post("/api/generate", model="tiny", keep_alive=0)
        assert (await client.get("/api/ps")).json["models"] == []
        again = await client.post("/api/generate", model="tiny", keep_alive="0")
    assert loaded.kind == JSON
    assert shape([loaded.json, unloaded.json]) == shape(json.loads(LOADS))
    assert loaded.json["done_reason"] == "load"
    assert unloaded.json["done_reason"] == again.json["done_reason"] == "unload"


GENERATED = """[{"model":"tiny","created_at":"t","response":"The","done":false},
{"model":"tiny","created_at":"t","response":"","done":true,"done_reason":"stop",
"context":[1,29871],"total_duration":174560334,"load_duration":101397084,"prompt_eval_count":11,
"prompt_eval_duration":13074791,"eval_count":18,"eval_duration":52479709}]"""


async def test_generate_is_as_documented(serving: Serving, shape: Shape) -> None:
    async with serving(TINY) as client:
        lines = (await client.post("/api/generate", model="tiny", prompt="x")).lines
        raw = (await client.post("/api/generate", model="tiny", prompt="x", raw=True)).lines
        body = {"prompt": "x", "context": lines[-1]["context"], "system": "Be kind."}
        more = (await client.post("/api/generate", model="tiny", **body)).lines
    assert shape(lines) == shape(json.loads(GENERATED))
    assert "context" not in raw[-1]
    assert more[-1]["context"][:2] == lines[-1]["context"]
    assert more[-1]["prompt_eval_count"] == lines[-1]["prompt_eval_count"] + 2 + 3


async def test_an_error_within_a_stream_is_its_last_line(serving: Serving) -> None:
    text = "an error was encountered while running the model: unexpected EOF"
    model = OllamaModel(name="m", reply=OllamaAnswer(text="Once", error=text))
    async with serving(model, OllamaModel(name="n", reply=OllamaAnswer(error=text))) as client:
        streamed = await client.chat("m")
        whole = await client.chat("m", stream=False)
        at_once = await client.chat("n")
    assert streamed.status == 200
    assert [line.get("error") for line in streamed.lines] == [None, text]
    assert list(streamed.lines[-1]) == ["error"]
    assert (whole.status, whole.kind, whole.json) == (500, JSON, {"error": text})
    assert (at_once.status, at_once.kind, at_once.json) == (500, PLAIN_JSON, {"error": text})


async def test_an_answer_may_end_without_a_last_line(serving: Serving) -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer(text=". . .", finished=False))
    async with serving(model, OllamaModel(name="n", reply=OllamaAnswer(finished=False))) as client:
        lines = (await client.chat("m")).lines
        whole = (await client.chat("m", stream=False)).json
        assert (await client.chat("n")).body == b""
    assert not any(line["done"] for line in lines)
    assert whole["done"] is False
    assert "done_reason" not in whole


async def test_a_reply_may_fail_in_a_way_of_its_own(serving: Serving) -> None:
    def busy(_: OllamaPrompt) -> str:
        text = "server busy, please try again.  maximum pending requests exceeded"
        raise OllamaError(503, text)

    async with serving(OllamaModel(name="m", reply=busy)) as client:
        replies = [await client.chat("m", stream=stream) for stream in (True, False)]
        spoken = await client.post("/v1/chat/completions", model="m", messages=ASK)
    assert [reply.status for reply in replies] == [503, 503]
    assert [reply.kind for reply in replies] == [PLAIN_JSON, JSON]
    assert spoken.json["error"]["type"] == "api_error"


async def test_a_reply_that_is_wrong_is_told_at_the_stop(serving: Serving) -> None:
    def wrong(_: OllamaPrompt) -> str:
        raise KeyError("mine")

    with pytest.raises(ExceptionGroup) as failed:
        async with serving(OllamaModel(name="m", reply=wrong)) as client:
            assert (await client.chat("m")).status == 500
    assert failed.group_contains(KeyError)
