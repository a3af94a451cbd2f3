"""The emulated Ollama, row by row against what is known of the real one (0.33)."""

import ast
import asyncio
import base64
import json
import math
import re
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
import ollama
import pytest

import patinox.testing
from patinox.testing import (
    OllamaAnswer,
    OllamaEmulator,
    OllamaError,
    OllamaModel,
    OllamaPrompt,
    OllamaToolCall,
)

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
SECOND = 10**9

TINY = OllamaModel(name="tiny", reply="Hi")
TOOLING = OllamaModel(name="tooling", capabilities=("completion", "tools"))
EMBEDDER = OllamaModel(
    name="nomic-embed-text", capabilities=("embedding",), family="nomic-bert", embedding_length=768
)
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
LONG = [{"role": "user", "content": "word" + " word" * 49}]


class Reply:
    """A reply, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.kind = headers.get("Content-Type")
        self.body = body

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever came
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        assert self.kind == NDJSON
        assert self.body.endswith(b"\n")
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]

    @property
    def events(self) -> list[Any]:
        assert self.kind == SSE
        *texts, end = self.body.decode().split("\n\n")
        assert end == ""
        payloads = [text.removeprefix("data: ") for text in texts]
        return [text if text == "[DONE]" else json.loads(text) for text in payloads]


class Client:
    def __init__(self, server: OllamaEmulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method, path, data=data, headers=headers, allow_redirects=False
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def get(self, path: str) -> Reply:
        return await self.call("GET", path)

    async def post(self, path: str, /, **body: object) -> Reply:
        return await self.call("POST", path, body)

    async def chat(self, model: str, /, **body: object) -> Reply:
        return await self.post("/api/chat", **{"model": model, "messages": ASK, **body})


@asynccontextmanager
async def serving(
    *models: OllamaModel,
    **settings: Any,  # noqa: ANN401 - see `OllamaEmulator`
) -> AsyncGenerator[Client]:
    """Serve some models, or the default ones."""
    if models:
        settings["models"] = models
    async with OllamaEmulator(**settings) as server, aiohttp.ClientSession(server.url) as session:
        yield Client(server, session)


def shape(value: object) -> object:
    """The fields, their order and the kinds of values, without the values."""
    match value:
        case dict():
            return [(name, shape(item)) for name, item in value.items()]
        case list():
            return [shape(item) for item in value]
        case _:
            return type(value).__name__


def shape_of(text: str) -> object:
    return shape(json.loads(text))


# --- routes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "body", "allow"),
    [
        ("GET", "/", 200, "text/plain; charset=utf-8", b"Ollama is running", None),
        ("HEAD", "/", 200, "text/plain; charset=utf-8", b"", None),
        ("GET", "/api/version", 200, JSON, b'{"version":"0.33.0"}', None),
        ("HEAD", "/api/version", 200, JSON, b"", None),
        ("HEAD", "/api/tags", 200, JSON, b"", None),
        ("GET", "/api/status", 200, JSON, b'{"cloud":{"disabled":false,"source":"none"}}', None),
        ("GET", "/api/ps", 200, JSON, b'{"models":[]}', None),
        ("HEAD", "/api/ps", 405, "text/plain", b"", "GET"),
        ("POST", "/api/tags", 405, "text/plain", b"405 method not allowed", "HEAD, GET"),
        ("GET", "/api/chat", 405, "text/plain", b"405 method not allowed", "POST"),
        ("POST", "/api/delete", 405, "text/plain", b"405 method not allowed", "DELETE"),
        ("HEAD", "/v1/models", 405, "text/plain", b"", "GET"),
        ("GET", "/health", 404, "text/plain", b"404 page not found", None),
        ("GET", "/metrics", 404, "text/plain", b"404 page not found", None),
        ("POST", "/api/stop", 404, "text/plain", b"404 page not found", None),
        ("GET", "/v1/models/a/b", 404, "text/plain", b"404 page not found", None),
        ("GET", "/api/chat/", 404, "text/plain", b"404 page not found", None),
    ],
)
async def test_a_route_answers(
    method: str, path: str, status: int, kind: str, body: bytes, allow: str | None
) -> None:
    async with serving() as client:
        reply = await client.call(method, path)
    assert (reply.status, reply.kind, reply.body) == (status, kind, body)
    assert reply.headers.get("Allow") == allow


@pytest.mark.parametrize(
    ("method", "path", "status", "location", "body"),
    [
        ("GET", "/api/tags/?a=1", 301, "/api/tags?a=1", b'<a href="/api/tags?a=1">Moved'),
        ("HEAD", "/api/tags/", 307, "/api/tags", b""),
        ("POST", "/api/chat/", 307, "/api/chat", b""),
        ("GET", "/v1/models/tiny/", 301, "/v1/models/tiny", b'<a href="/v1/models/tiny">Moved'),
    ],
)
async def test_a_trailing_slash_is_redirected(
    method: str, path: str, status: int, location: str, body: bytes
) -> None:
    async with serving() as client:
        reply = await client.call(method, path)
    assert (reply.status, reply.headers["Location"]) == (status, location)
    assert reply.body.startswith(body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:11434"}, 200),
        ({"Host": "box.local"}, 200),
        ({"Host": "192.168.1.7"}, 200),
        ({"Host": "0.0.0.0"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "models.example.com"}, 403),
        ({"Host": "8.8.8.8"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "vscode-webview://abc"}, 200),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "https://example.com", "Host": "example.com"}, 403),
        ({"Origin": "http://x.internal", "Host": "x.internal"}, 200),
    ],
)
async def test_foreign_hosts_and_origins_are_refused_without_a_word(
    headers: dict[str, str], status: int
) -> None:
    async with serving() as client:
        reply = await client.call("GET", "/api/version", **headers)
    assert reply.status == status
    assert (reply.body == b"") == (status == 403)


async def test_a_preflight_is_answered() -> None:
    async with serving() as client:
        reply = await client.call("OPTIONS", "/api/chat", Origin="http://localhost:3000")
        other = await client.call("OPTIONS", "/api/chat")
    assert (reply.status, reply.headers["Access-Control-Max-Age"]) == (204, "43200")
    assert other.status == 405


# --- lists --------------------------------------------------------------------------------------

TAGS = """{"models":[
{"name":"qwen3:4b","model":"qwen3:4b","modified_at":"2026-08-20T09:15:02.123456789+02:00",
"size":2620788019,"digest":"e55aed6fe643f9368b2f48f8aaa56ec787b75765da69f794c0a0c23bfe7c64b2",
"details":{"parent_model":"","format":"gguf","family":"qwen3","families":["qwen3"],
"parameter_size":"4.0B","quantization_level":"Q4_K_M","context_length":262144,
"embedding_length":2560},"capabilities":["completion","tools","thinking"]},
{"name":"gpt-oss:120b-cloud","model":"gpt-oss:120b-cloud","remote_model":"gpt-oss:120b",
"remote_host":"https://ollama.com:443","modified_at":"2026-07-01T08:00:00+02:00","size":384,
"digest":"569662207105c9e1b4a0b9a3a0b1f7f7f6f2c1d8a9b0c1d2e3f405162738495a","details":{
"parent_model":"","format":"","family":"gptoss","families":["gptoss"],"parameter_size":"116.8B",
"quantization_level":"MXFP4","context_length":131072},
"capabilities":["completion","tools","thinking"]}]}"""


def models_of(tags: str) -> list[OllamaModel]:
    """Models that a list was made of."""
    return [
        OllamaModel(
            name=entry["name"],
            capabilities=tuple(entry["capabilities"]),
            family=entry["details"]["family"],
            parameter_size=entry["details"]["parameter_size"],
            quantization=entry["details"]["quantization_level"],
            context_length=entry["details"]["context_length"],
            embedding_length=entry["details"].get("embedding_length", 0),
            size=entry["size"],
            digest=entry["digest"],
            remote_model=entry.get("remote_model"),
        )
        for entry in json.loads(tags)["models"]
    ]


async def test_tags_are_as_documented() -> None:
    async with serving(*models_of(TAGS)) as client:
        got = (await client.get("/api/tags")).json
    expected = json.loads(TAGS)
    assert shape(got) == shape(expected)
    times = [entry.pop("modified_at") for entry in got["models"]]
    assert times == sorted(times, reverse=True)
    for entry in expected["models"]:
        del entry["modified_at"]
    assert got == expected


async def test_tags_before_0_30_tell_no_capabilities_and_no_lengths() -> None:
    async with serving(THINKER, version="0.24.0") as client:
        assert (await client.get("/api/version")).json == {"version": "0.24.0"}
        (entry,) = (await client.get("/api/tags")).json["models"]
    assert "capabilities" not in entry
    assert not {"context_length", "embedding_length"} & entry["details"].keys()


async def test_tags_do_not_see_what_only_a_chat_template_tells() -> None:
    native = OllamaModel(
        name="n", path="native", capabilities=("completion", "tools", "thinking", "vision")
    )
    async with serving(native) as client:
        (entry,) = (await client.get("/api/tags")).json["models"]
        shown = (await client.post("/api/show", model="n")).json
    assert entry["capabilities"] == ["completion", "vision"]
    assert shown["capabilities"] == ["completion", "tools", "thinking", "vision"]
    assert "{%" in shown["template"]


async def test_a_list_of_nothing_is_empty_here_and_null_for_openai() -> None:
    async with serving(models=()) as client:
        assert (await client.get("/api/tags")).body == b'{"models":[]}'
        assert (await client.get("/v1/models")).body == b'{"object":"list","data":null}\n'


SHOW = r"""{"modelfile":"# Modelfile","parameters":"temperature                    0.6",
"template":"{{ .Prompt }}","details":{"parent_model":"","format":"gguf","family":"qwen3",
"families":["qwen3"],"parameter_size":"4.0B","quantization_level":"Q4_K_M"},
"model_info":{"general.architecture":"qwen3","general.file_type":15,
"general.parameter_count":4022468096,"qwen3.block_count":36,"qwen3.context_length":262144,
"qwen3.embedding_length":2560,"tokenizer.ggml.eos_token_id":151645,"tokenizer.ggml.model":"gpt2",
"tokenizer.ggml.tokens":null},
"tensors":[{"name":"token_embd.weight","type":"Q6_K","shape":[2560,151936]}],
"capabilities":["completion","tools","thinking"],
"modified_at":"2026-08-20T09:15:02.123456789+02:00"}"""


async def test_show_is_as_documented() -> None:
    async with serving() as client:
        reply = await client.post("/api/show", model="qwen3:4b")
        verbose = (await client.post("/api/show", name="qwen3:4b", verbose=True)).json
    got, expected = reply.json, json.loads(SHOW)
    assert list(got) == list(expected)
    assert got["details"] == expected["details"]
    kinds = {name: type(value) for name, value in got["model_info"].items()}
    assert kinds.items() >= {n: type(v) for n, v in expected["model_info"].items()}.items()
    assert shape(got["tensors"][:1]) == shape(expected["tensors"])
    assert got["model_info"]["tokenizer.ggml.tokens"] is None
    assert verbose["model_info"]["tokenizer.ggml.tokens"]
    assert got["parameters"].splitlines() == [
        "temperature                    0.6",
        'stop                           "<|im_start|>"',
        'stop                           "<|im_end|>"',
    ]
    assert rb"\u003c|im_start|\u003e" in reply.body


async def test_parameters_are_written_as_go_writes_them() -> None:
    parameters = {"num_ctx": 1048576, "seed": 42, "min_p": 0.05, "use_mmap": True}
    async with serving(OllamaModel(name="m", parameters=parameters)) as client:
        shown = (await client.post("/api/show", model="m")).json["parameters"]
    values = dict(line.split() for line in shown.splitlines())
    assert values == {"num_ctx": "1.048576e+06", "seed": "42", "min_p": "0.05", "use_mmap": "true"}


async def test_show_has_thinking_levels_and_a_name_for_copilot_only_where_asked_for() -> None:
    async with serving(THINKER, TINY, thinking_levels=("medium", "low")) as client:
        shown = (await client.post("/api/show", model="qwen3:4b")).json
        plain = (await client.post("/api/show", model="tiny", system="Be brief.")).json
        agent = {"User-Agent": "GitHubCopilotChat/1.0"}
        copilot = (await client.call("POST", "/api/show", {"model": "TINY"}, **agent)).json
        levelled = await client.chat("qwen3:4b", think="extreme")
    assert shown["thinking"] == {"values": ["medium", "low"], "default": "medium"}
    assert "thinking" not in plain
    assert plain["system"] == "Be brief."
    assert "general.basename" not in plain["model_info"]
    assert copilot["model_info"]["general.basename"] == "TINY"
    assert levelled.status == 200


PS = """{"models":[{"name":"qwen3:4b","model":"qwen3:4b","size":3518437208,"digest":"e55aed6f",
"details":{"parent_model":"","format":"gguf","family":"qwen3","families":["qwen3"],
"parameter_size":"4.0B","quantization_level":"Q4_K_M"},
"expires_at":"2026-08-22T12:05:00.513202+02:00","size_vram":0,"context_length":4096}]}"""


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 1_787_392_800 * SECOND

    def __call__(self) -> int:
        return self.ns


async def test_ps_is_as_documented() -> None:
    async with serving(msgspec.structs.replace(THINKER, loaded=True)) as client:
        assert shape((await client.get("/api/ps")).json) == shape_of(PS)
    async with serving(
        msgspec.structs.replace(THINKER, loaded=True), on_gpu=True, context_length=8192
    ) as client:
        (run,) = (await client.get("/api/ps")).json["models"]
    assert run["size_vram"] == run["size"] > THINKER.size
    assert run["context_length"] == 8192


async def test_a_model_stays_for_as_long_as_it_is_kept_alive() -> None:
    clock = Clock()

    async def running(client: Client) -> dict[str, timedelta]:
        now = datetime.fromtimestamp(clock.ns / SECOND, UTC)
        entries = (await client.get("/api/ps")).json["models"]
        return {e["name"]: datetime.fromisoformat(e["expires_at"]) - now for e in entries}

    async with serving(TINY, TOOLING, EMBEDDER, clock=clock) as client:
        assert await running(client) == {}
        await client.chat("tiny")
        await client.post("/api/embed", model="nomic-embed-text", input="a", keep_alive="1h30m")
        await client.post("/api/generate", model="tooling", prompt="", keep_alive=0.5)
        assert list((await running(client)).items()) == [
            ("nomic-embed-text:latest", timedelta(minutes=90)),
            ("tiny:latest", timedelta(minutes=5)),
            ("tooling:latest", timedelta(seconds=0.5)),
        ]
        clock.ns += 6 * 60 * SECOND
        assert list(await running(client)) == ["nomic-embed-text:latest"]
        await client.chat("tiny", keep_alive=-1)
        await client.chat("tiny")
        assert (await running(client))["tiny:latest"] > timedelta(days=290 * 365)
        await client.chat("tiny", keep_alive=0)
        assert "tiny:latest" not in await running(client)


async def test_another_context_loads_the_model_again() -> None:
    def cold(reply: Reply) -> bool:
        duration: int = reply.json["load_duration"]
        return duration > SECOND / 10

    async with serving(TINY) as client:
        first = await client.chat("tiny", stream=False)
        second = await client.chat("tiny", stream=False)
        third = await client.chat("tiny", stream=False, options={"num_ctx": 8192})
        (run,) = (await client.get("/api/ps")).json["models"]
    assert [cold(first), cold(second), cold(third)] == [True, False, True]
    assert run["context_length"] == 8192


async def test_a_client_that_leaves_lets_go_of_the_model() -> None:
    async with serving(chunk_delay=3600) as client:
        body = {"model": "llama3.2:3b", "messages": ASK, "keep_alive": 0}
        async with client.session.post("/api/chat", json=body) as reply:
            await reply.content.readline()
            assert len((await client.get("/api/ps")).json["models"]) == 1
        async with asyncio.timeout(5):
            while (await client.get("/api/ps")).json["models"]:
                pass
    assert client.server.client_gone == 1
    assert client.server.requests[0].json == body


# --- chat and generate --------------------------------------------------------------------------

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


async def test_a_stream_on_the_rendered_path_is_as_documented() -> None:
    async with serving(THINKER) as client:
        lines = (await client.chat("qwen3:4b", tools=TOOLS)).lines
    assert shape(lines) == shape_of(RENDERED)
    for line in lines:
        assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}(\.[0-9]{1,9})?Z", line.pop("created_at"))
    (call,) = lines[3]["message"]["tool_calls"]
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])
    expected = json.loads(RENDERED)
    assert [line["message"].get("thinking") for line in lines] == [
        line["message"].get("thinking") for line in expected
    ]
    assert call["function"] == expected[3]["message"]["tool_calls"][0]["function"]


async def test_a_stream_on_the_native_path_has_the_calls_on_its_last_line() -> None:
    calls = (OllamaToolCall("get_weather", {"city": "Paris"}), OllamaToolCall("get_time"))
    model = OllamaModel(
        name="tiny",
        path="native",
        capabilities=("completion", "tools"),
        reply=OllamaAnswer(tool_calls=calls),
    )
    async with serving(model) as client:
        (line,) = (await client.chat("tiny", tools=TOOLS)).lines
    assert shape([line]) == shape_of(NATIVE)
    ids = [call["id"] for call in line["message"]["tool_calls"]]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", item) for item in ids)
    async with serving(model, version="0.24.0") as client:
        assert len((await client.chat("tiny", tools=TOOLS)).lines) == 3


async def test_a_whole_answer_says_what_the_stream_said() -> None:
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


async def test_the_default_answer_repeats_the_question_word_by_word() -> None:
    async with serving() as client:
        lines = (await client.chat("llama3.2:3b")).lines
    assert [line["message"]["content"] for line in lines] == [
        "You",
        " said:",
        " hello",
        " there",
        "",
    ]
    assert (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (3, 4)


@pytest.mark.parametrize(
    ("think", "thinks"), [(None, True), (True, True), ("low", True), (False, False)]
)
async def test_a_thinking_model_thinks_unless_told_not_to(think: object, *, thinks: bool) -> None:
    async with serving(THINKER) as client:
        lines = (await client.chat("qwen3:4b", think=think)).lines
        generated = (
            await client.post("/api/generate", model="qwen3:4b", prompt="x", think=think)
        ).lines
    assert any("thinking" in line["message"] for line in lines) == thinks
    assert any("thinking" in line for line in generated) == thinks


async def test_what_is_html_is_escaped_and_other_characters_are_not() -> None:
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


async def test_an_answer_cut_by_num_predict_with_logprobs_is_as_documented() -> None:
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
    ("options", "text", "reason"),
    [
        ({}, "one two three", "stop"),
        ({"num_predict": -1}, "one two three", "stop"),
        ({"num_predict": 2.9}, "one two", "length"),
        ({"num_ctx": 5}, "one two", "length"),
        ({"stop": [" th", "two"]}, "one ", "stop"),
        ({"unknown": {}, "seed": None}, "one two three", "stop"),
    ],
)
async def test_options_end_the_answer(options: object, text: str, reason: str) -> None:
    async with serving(OllamaModel(name="m", reply="one two three")) as client:
        reply = (await client.chat("m", stream=False, options=options)).json
        parts = (await client.chat("m", options=options)).lines
    assert (reply["message"]["content"], reply["done_reason"]) == (text, reason)
    assert "".join(part["message"]["content"] for part in parts) == text


async def test_a_format_is_kept_by_the_default_answer() -> None:
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


async def test_a_reply_sees_the_prompt_as_the_model_does() -> None:
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


async def test_an_empty_request_loads_or_unloads_and_is_never_streamed() -> None:
    async with serving(TINY) as client:
        loaded = await client.chat("tiny", messages=[])
        assert len((await client.get("/api/ps")).json["models"]) == 1
        unloaded = await client.post("/api/generate", model="tiny", keep_alive=0)
        assert (await client.get("/api/ps")).json["models"] == []
        again = await client.post("/api/generate", model="tiny", keep_alive="0")
    assert loaded.kind == JSON
    assert shape([loaded.json, unloaded.json]) == shape_of(LOADS)
    assert loaded.json["done_reason"] == "load"
    assert unloaded.json["done_reason"] == again.json["done_reason"] == "unload"


GENERATED = """[{"model":"tiny","created_at":"t","response":"The","done":false},
{"model":"tiny","created_at":"t","response":"","done":true,"done_reason":"stop",
"context":[1,29871],"total_duration":174560334,"load_duration":101397084,"prompt_eval_count":11,
"prompt_eval_duration":13074791,"eval_count":18,"eval_duration":52479709}]"""


async def test_generate_is_as_documented() -> None:
    async with serving(TINY) as client:
        lines = (await client.post("/api/generate", model="tiny", prompt="x")).lines
        raw = (await client.post("/api/generate", model="tiny", prompt="x", raw=True)).lines
        body = {"prompt": "x", "context": lines[-1]["context"], "system": "Be kind."}
        more = (await client.post("/api/generate", model="tiny", **body)).lines
    assert shape(lines) == shape_of(GENERATED)
    assert "context" not in raw[-1]
    assert more[-1]["context"][:2] == lines[-1]["context"]
    assert more[-1]["prompt_eval_count"] == lines[-1]["prompt_eval_count"] + 2 + 3


async def test_an_error_within_a_stream_is_its_last_line() -> None:
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


async def test_an_answer_may_end_without_a_last_line() -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer(text=". . .", finished=False))
    async with serving(model, OllamaModel(name="n", reply=OllamaAnswer(finished=False))) as client:
        lines = (await client.chat("m")).lines
        whole = (await client.chat("m", stream=False)).json
        assert (await client.chat("n")).body == b""
    assert not any(line["done"] for line in lines)
    assert whole["done"] is False
    assert "done_reason" not in whole


async def test_a_reply_may_fail_in_a_way_of_its_own() -> None:
    def busy(_: OllamaPrompt) -> str:
        text = "server busy, please try again.  maximum pending requests exceeded"
        raise OllamaError(503, text)

    async with serving(OllamaModel(name="m", reply=busy)) as client:
        replies = [await client.chat("m", stream=stream) for stream in (True, False)]
        spoken = await client.post("/v1/chat/completions", model="m", messages=ASK)
    assert [reply.status for reply in replies] == [503, 503]
    assert [reply.kind for reply in replies] == [PLAIN_JSON, JSON]
    assert spoken.json["error"]["type"] == "api_error"


async def test_a_reply_that_is_wrong_is_told_at_the_stop() -> None:
    def wrong(_: OllamaPrompt) -> str:
        raise KeyError("mine")

    with pytest.raises(ExceptionGroup) as failed:
        async with serving(OllamaModel(name="m", reply=wrong)) as client:
            assert (await client.chat("m")).status == 500
    assert failed.group_contains(KeyError)


# --- contexts -----------------------------------------------------------------------------------


def overflow(tokens: int, context: int) -> str:
    said = f"request ({tokens} tokens) exceeds the available context size ({context} tokens)"
    return (
        f'{{"error":{{"code":400,"message":"{said}, try increasing it",'
        f'"type":"exceed_context_size_error","n_prompt_tokens":{tokens},"n_ctx":{context}}}}}'
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("rendered", {}, 200, None),
        ("native", {}, 400, overflow(51, 16)),
        ("rendered", {"truncate": False}, 400, overflow(51, 16)),
        ("rendered", {"shift": False}, 400, "the prompt is longer than the context length"),
    ],
)
async def test_a_prompt_beyond_the_context(
    path: Literal["rendered", "native"], body: dict[str, object], status: int, error: str | None
) -> None:
    async with serving(OllamaModel(name="m", path=path, reply="ok")) as client:
        replies = [
            await client.chat("m", messages=LONG, options={"num_ctx": 16}, stream=stream, **body)
            for stream in (True, False)
        ]
    assert [reply.status for reply in replies] == [status, status]
    if error is None:
        assert replies[1].json["prompt_eval_count"] == 10
    else:
        assert [reply.kind for reply in replies] == [PLAIN_JSON, JSON]
        assert all(reply.json["error"].startswith(error) for reply in replies)


async def test_the_oldest_messages_make_room_and_the_system_prompt_stays() -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return "ok"

    history = [{"role": "system", "content": "s"}, *LONG, {"role": "user", "content": "last"}]
    async with serving(OllamaModel(name="m", reply=reply)) as client:
        done = (await client.chat("m", messages=history, options={"num_ctx": 16})).lines[-1]
    assert [m.content for m in seen[0].messages] == ["s", "last"]
    assert done["prompt_eval_count"] == 4


@pytest.mark.parametrize(
    ("model", "settings", "options", "context"),
    [
        ({}, {}, {}, 4096),
        ({}, {"context_length": 32768}, {}, 32768),
        ({"parameters": {"num_ctx": 2048}}, {"context_length": 32768}, {}, 2048),
        ({"parameters": {"num_ctx": 2048}}, {}, {"num_ctx": 1024}, 1024),
        ({"context_length": 512}, {}, {"num_ctx": 1024}, 512),
        ({}, {}, {"num_ctx": 1}, 4),
    ],
)
async def test_the_context_is_the_first_one_said_and_what_the_model_can(
    model: dict[str, Any], settings: dict[str, Any], options: dict[str, int], context: int
) -> None:
    async with serving(OllamaModel(name="m", **model), **settings) as client:
        await client.chat("m", messages=[], options=options)
        (run,) = (await client.get("/api/ps")).json["models"]
    assert run["context_length"] == context


# --- refusals -----------------------------------------------------------------------------------

BUNDLE = (
    TINY,
    THINKER,
    EMBEDDER,
    STUB,
    OllamaModel(name="my-stub", remote_model="gpt-oss:120b"),
    OllamaModel(name="odd-stub", remote_model="x", remote_host="https://example.com"),
)


def read_table(text: str) -> list[object]:
    """Rows of two lines: a path and a body; a status and an error."""
    lines = text.replace("CHAT", '"model": "tiny", ASK').replace("ASK", MESSAGES).splitlines()
    rows = list[object]()
    for asked, said in zip(lines[::2], lines[1::2], strict=True):
        path, _, body = asked.partition(" ")
        status, _, error = said.strip().partition(" ")
        name = f"{len(rows)} {error}"
        rows.append(pytest.param(path, body.encode(), int(status), error, id=name))
    return rows


MESSAGES = f'"messages": {json.dumps(ASK)}'
REFUSED = r"""/api/chat
    400 missing request body
/api/show
    400 missing request body
/api/chat nope
    400 invalid character 'n' looking for beginning of value
/api/chat {"model":
    400 unexpected EOF
/api/chat {"model":"ti
    400 unexpected EOF
/api/chat {model:1}
    400 invalid character 'm' looking for beginning of object key string
/api/chat {"a" 1}
    400 invalid character '1' after object key
/api/chat {"a":1 "b"}
    400 invalid character '"' after object key:value pair
/api/chat {"a":NaN}
    400 invalid character 'N' looking for beginning of value
/api/chat null
    400 model is required
/api/chat "x"
    400 json: cannot unmarshal string into Go value of type api.ChatRequest
/api/chat true
    400 json: cannot unmarshal bool into Go value of type api.ChatRequest
/api/chat 3
    400 json: cannot unmarshal number into Go value of type api.ChatRequest
/api/chat [1]
    400 json: cannot unmarshal array into Go value of type api.ChatRequest
/api/chat {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "text"}]}]}
    400 json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string
/api/chat {"model": 5}
    400 json: cannot unmarshal number into Go struct field ChatRequest.model of type string
/api/chat {"messages": "hello"}
    400 json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message
/api/chat {CHAT, "stream": "yes"}
    400 json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool
/api/chat {CHAT, "top_logprobs": 1.5}
    400 json: cannot unmarshal number 1.5 into Go struct field ChatRequest.top_logprobs of type int
/api/chat {CHAT, "options": []}
    400 json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}
/api/chat {CHAT, "keep_alive": "300"}
    400 time: missing unit in duration "300"
/api/chat {CHAT, "keep_alive": "5x"}
    400 time: unknown unit "x" in duration "5x"
/api/chat {CHAT, "keep_alive": "soon"}
    400 time: invalid duration "soon"
/api/embed {"model": "tiny", "keep_alive": true}
    400 Unsupported type: 'bool'
/api/chat {CHAT, "keep_alive": {}}
    400 Unsupported type: 'map[string]interface {}'
/api/chat {CHAT, "keep_alive": []}
    400 Unsupported type: '[]interface {}'
/api/chat {CHAT, "think": "extreme"}
    400 invalid think value: "extreme" (must be "high", "medium", "low", "max", true, or false)
/api/chat {CHAT, "think": 5}
    400 think must be a boolean or string ("high", "medium", "low", "max", true, or false)
/api/chat {CHAT, "top_logprobs": 21}
    400 top_logprobs must be between 0 and 20
/api/generate {"top_logprobs": -1}
    400 top_logprobs must be between 0 and 20
/api/generate {"model": "tiny", "prompt": "x", "images": ["data:image/png;base64,AAAA"]}
    400 illegal base64 data at input byte 4
/api/chat {"model": "tiny", "messages": [{"role": "user", "images": ["AAAAA"]}]}
    400 illegal base64 data at input byte 4
/api/chat {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]}
    400 Value looks like object, but can't find closing '}' symbol
/api/chat {}
    400 model is required
/api/embeddings {}
    400 model is required
/api/show {"model": ""}
    400 model is required
/api/generate {}
    404 model '' not found
/api/embed {}
    404 model '' not found
/api/pull {}
    400 invalid model name
/api/chat {"model": "Bad Name!"}
    400 invalid model name
/api/show {"model": "a@sha256:b"}
    400 invalid model name
/api/chat {"model": "x:local:cloud"}
    400 use either :local or :cloud, not both: "x:local:cloud"
/api/chat {"model": "Nope", ASK}
    404 model 'Nope' not found
/api/generate {"model": "nope:1b"}
    404 model 'nope:1b' not found
/api/show {"model": "nope"}
    404 model 'nope:latest' not found
/api/embed {"model": "nope"}
    404 model "nope" not found, try pulling it first
/api/embeddings {"model": "nope"}
    404 model "nope" not found, try pulling it first
/api/embeddings {"model": "TINY"}
    404 model "TINY" not found, try pulling it first
/api/copy {"source": "nope", "destination": "b"}
    404 model "nope" not found
/api/copy {"source": "!", "destination": "b"}
    400 source "!" is invalid
/api/copy {"source": "tiny", "destination": ""}
    400 destination "" is invalid
/api/chat {"model": "nomic-embed-text", ASK}
    400 "nomic-embed-text" does not support chat
/api/generate {"model": "nomic-embed-text", "prompt": "x"}
    400 "nomic-embed-text" does not support generate
/api/chat {CHAT, "tools": [{}]}
    400 registry.ollama.ai/library/tiny:latest does not support tools
/api/generate {"model": "tiny", "prompt": "x", "suffix": "y"}
    400 registry.ollama.ai/library/tiny:latest does not support insert
/api/chat {CHAT, "think": "high"}
    400 "tiny" does not support thinking
/api/generate {"model": "tiny", "prompt": "x", "raw": true, "system": "s"}
    400 raw mode does not support template, system, or context
/api/chat {"model": "tiny", "messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}
    500 {"error":{"code":500,"message":"image input is not supported - hint: if this is unexpected, you may need to provide the mmproj","type":"server_error"}}
/api/chat {CHAT, "options": {"temperature": "hot"}}
    500 option "temperature" must be of type float32
/api/chat {CHAT, "options": {"num_ctx": true}}
    500 option "num_ctx" must be of type integer
/api/generate {"model": "tiny", "options": {"stop": "x"}}
    500 option "stop" must be of type array
/api/chat {CHAT, "options": {"stop": [1]}}
    500 option "stop" must be of an array of strings
/api/embed {"model": "tiny", "options": {"use_mmap": 1}}
    500 option "use_mmap" must be of type boolean
/api/chat {CHAT, "format": "xml"}
    500 invalid format: "\"xml\""; expected "json" or a valid JSON Schema object
/api/embed {"model": "tiny", "input": "x"}
    501 This server does not support embeddings. Start it with `--embeddings`
/api/embeddings {"model": "tiny", "prompt": "x"}
    500 This server does not support embeddings. Start it with `--embeddings`
/api/embed {"model": "nomic-embed-text", "input": [1]}
    400 invalid input type
/api/embed {"model": "nomic-embed-text", "input": 1}
    400 invalid input type
/api/embed {"model": "nomic-embed-text", "input": "a b c d e", "truncate": false, "options": {"num_ctx": 4}}
    400 the input length exceeds the context length
/api/chat {"model": "odd-stub:local", ASK}
    404 model 'odd-stub:local' not found
/api/chat {"model": "my-stub", ASK}
    401 unauthorized
/api/chat {"model": "gpt-oss:120b:cloud", ASK}
    401 unauthorized
/api/embeddings {"model": "gpt-oss:120b-cloud"}
    401 unauthorized
/api/embed {"model": "anything:cloud", "input": "x"}
    401 unauthorized"""  # noqa: E501 - texts as they are


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        *read_table(REFUSED),
        ("/api/chat", b" \n", 400, "missing request body"),
        ("/api/chat", b'{"a":"\n"}', 400, r"invalid character '\n' in string literal"),
        (
            "/api/chat",
            b"\xef\xbb\xbf{}",
            400,
            "invalid character '\xef' looking for beginning of value",
        ),
        pytest.param("/api/chat", b"[" * 200_000, 400, "exceeded max depth", id="depth"),
        pytest.param(
            "/api/chat",
            b'{"seed":' + b"9" * 5000 + b"}",
            400,
            f"json: cannot unmarshal number {'9' * 5000} into Go value of type float64",
            id="digits",
        ),
    ],
)
async def test_a_request_is_refused(path: str, body: bytes, status: int, error: str) -> None:
    async with serving(*BUNDLE) as client:
        reply = await client.call("POST", path, body)
    assert (reply.status, reply.json["error"]) == (status, error)
    assert list(reply.json) == (["error", "signin_url"] if status == 401 else ["error"])
    late = status == 500 and path == "/api/chat" and "option" not in error
    assert reply.kind == (PLAIN_JSON if late else JSON)


async def test_the_cloud_can_be_signed_in_to_switched_off_or_silent() -> None:
    async with serving(*BUNDLE, cloud="signed-in") as client:
        stub = (await client.chat("my-stub", stream=False)).json
        named = (await client.chat("gpt-oss:120b-cloud")).lines
        unknown = await client.chat("unknown:cloud")
        foreign = await client.chat("odd-stub")
        assert (await client.get("/api/ps")).json == {"models": []}
    assert (stub["model"], stub["remote_model"]) == ("my-stub", "gpt-oss:120b")
    assert stub["remote_host"] == "https://ollama.com:443"
    assert (named[0]["model"], "remote_model" in named[0]) == ("gpt-oss:120b", False)
    assert (unknown.status, unknown.json) == (404, {"error": "model 'unknown' not found"})
    assert (foreign.status, foreign.json["error"]) == (
        400,
        "this server cannot run this remote model",
    )
    async with serving(*BUNDLE, cloud="disabled") as client:
        inference = await client.chat("gpt-oss:120b-cloud")
        details = await client.post("/api/show", model="my-stub")
        status = (await client.get("/api/status")).json
    assert (inference.status, inference.json["error"]) == (
        403,
        "ollama cloud is disabled: remote model is unavailable",
    )
    assert (details.status, details.json["error"]) == (
        403,
        "ollama cloud is disabled: remote model details are unavailable",
    )
    assert status == {"cloud": {"disabled": True, "source": "env"}}
    async with serving(*BUNDLE, signin_url=None) as client:
        assert (await client.chat("my-stub")).json == {"error": "unauthorized"}


async def test_a_stub_shows_where_it_runs() -> None:
    async with serving(*BUNDLE) as client:
        shown = (await client.post("/api/show", model="gpt-oss:120b-cloud")).json
    assert (shown["remote_model"], shown["remote_host"]) == (
        "gpt-oss:120b",
        "https://ollama.com:443",
    )
    assert shown["model_info"] == {
        "general.architecture": "gptoss",
        "gptoss.context_length": 131072,
    }
    assert not {"tensors", "template"} & shown.keys()


# --- names --------------------------------------------------------------------------------------

NAMED = (
    OllamaModel(name="Llama3.2"),
    OllamaModel(name="me/Model:7b"),
    OllamaModel(name="hf.co/org/Repo-GGUF:Q4_K_M"),
    OllamaModel(name="host:5000/ns/m"),
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("llama3.2", "Llama3.2:latest"),
        (" LLAMA3.2:LATEST ", "Llama3.2:latest"),
        ("library/llama3.2", "Llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:latest", "Llama3.2:latest"),
        ("https://registry.ollama.ai/library/llama3.2", "Llama3.2:latest"),
        ("llama3.2:local", "Llama3.2:latest"),
        ("llama3.2:3b", None),
        ("me/model:7B", "me/Model:7b"),
        ("me/model", None),
        ("model:7b", None),
        ("HF.co/org/repo-gguf:q4_k_m", "hf.co/org/Repo-GGUF:Q4_K_M"),
        ("host:5000/ns/m", "host:5000/ns/m:latest"),
    ],
)
async def test_names_match_in_any_case_and_with_their_defaults(
    asked: str, found: str | None
) -> None:
    async with serving(*NAMED) as client:
        reply = await client.chat(asked, messages=[])
        running = [run["name"] for run in (await client.get("/api/ps")).json["models"]]
    assert reply.status == (200 if found else 404)
    assert running == ([found] if found else [])
    if found:
        assert reply.json["model"] == asked


@pytest.mark.parametrize("name", ["", "a/b/c/d", "m:", "/m", "m@d", "-m", "n.s/m", "m" * 81, "a b"])
def test_a_model_cannot_have_a_malformed_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        OllamaModel(name=name)


# --- embeddings ---------------------------------------------------------------------------------


def similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_embeddings_are_unit_vectors_made_of_the_text() -> None:
    texts = ["the red car", "the red house", "nothing shared"]
    async with serving(EMBEDDER) as client:
        reply = (await client.post("/api/embed", model="nomic-embed-text", input=texts)).json
        again = (await client.post("/api/embed", model="nomic-embed-text", input=texts[1])).json
        old = (await client.post("/api/embeddings", model="nomic-embed-text", prompt=texts[1])).json
    one, two, three = reply["embeddings"]
    assert {len(vector) for vector in (one, two, three)} == {768}
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in (one, two, three))
    assert again["embeddings"] == [two] == [old["embedding"]]
    assert similarity(one, two) > 0.5
    assert similarity(one, three) < 0.2
    assert list(reply) == [
        "model",
        "embeddings",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
    ]
    assert reply["prompt_eval_count"] == 8


async def test_embeddings_are_shortened_and_long_texts_are_cut() -> None:
    async with serving(EMBEDDER) as client:
        ask = {"model": "nomic-embed-text", "input": "a b c d"}
        full = (await client.post("/api/embed", **ask)).json["embeddings"][0]
        short = (await client.post("/api/embed", **ask, dimensions=3)).json["embeddings"][0]
        large = (await client.post("/api/embed", **ask, dimensions=9999)).json["embeddings"][0]
        cut = (await client.post("/api/embed", **ask, options={"num_ctx": 4})).json
        more = (
            await client.post(
                "/api/embed", model="nomic-embed-text", input="a b c d e f", options={"num_ctx": 4}
            )
        ).json
    length = math.hypot(*full[:3])
    assert short == pytest.approx([value / length for value in full[:3]], abs=1e-6)
    assert large == full
    assert more["embeddings"] == cut["embeddings"]
    assert more["prompt_eval_count"] == 4


@pytest.mark.parametrize("given", [None, "", []])
async def test_no_input_only_loads(given: object) -> None:
    async with serving(EMBEDDER, TINY) as client:
        reply = await client.post("/api/embed", model="tiny", input=given)
        old = await client.post("/api/embeddings", model="nomic-embed-text", prompt="")
        assert len((await client.get("/api/ps")).json["models"]) == 2
    assert reply.json == {"model": "tiny", "embeddings": []}
    assert old.json == {"embedding": []}


# --- pull, copy, delete -------------------------------------------------------------------------


async def test_a_pull_tells_its_progress_and_installs() -> None:
    async with serving(TINY) as client:
        lines = (await client.post("/api/pull", model="llama3.2:3b")).lines
        assert len((await client.get("/api/tags")).json["models"]) == 2
        whole = await client.post("/api/pull", name="TINY", stream=False)
        newest = (await client.get("/api/tags")).json["models"][0]["name"]
    statuses = [line["status"] for line in lines]
    pulling = statuses[1]
    assert re.fullmatch(r"pulling [0-9a-f]{12}", pulling)
    assert statuses == [
        "pulling manifest",
        *[pulling] * 5,
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert list(lines[1]) == ["status", "digest", "total"]
    assert list(lines[2]) == ["status", "digest", "total", "completed"]
    assert lines[5]["completed"] == lines[5]["total"]
    assert (whole.kind, whole.json) == (PLAIN_JSON, {"status": "success"})
    assert newest == "tiny:latest"


async def test_a_pull_of_what_is_not_there_fails_after_its_first_line() -> None:
    error = "pull model manifest: file does not exist"
    async with serving(TINY) as client:
        streamed = await client.post("/api/pull", model="nope")
        whole = await client.post("/api/pull", model="nope", stream=False)
        stub = await client.post("/api/pull", model="gpt-oss:120b:cloud")
    assert (streamed.status, streamed.lines) == (
        200,
        [{"status": "pulling manifest"}, {"error": error}],
    )
    assert (whole.status, whole.kind, whole.json) == (500, PLAIN_JSON, {"error": error})
    assert stub.lines[-1] == {"status": "success"}


async def test_models_are_copied_and_deleted() -> None:
    async with serving(TINY) as client:
        copied = await client.post("/api/copy", source="tiny", destination="me/Other:v1")
        listed = (await client.get("/api/tags")).json["models"]
        await client.chat("me/other:v1")
        deleted = await client.call("DELETE", "/api/delete", {"model": "ME/other:v1"})
        gone = await client.call("DELETE", "/api/delete", {"name": "me/other:v1"})
        missing = await client.call("DELETE", "/api/delete", {})
        invalid = await client.call("DELETE", "/api/delete", {"model": "a b"})
        assert (await client.get("/api/ps")).json == {"models": []}
        assert (await client.chat("tiny", stream=False)).json["message"]["content"] == "Hi"
    assert (copied.status, copied.kind, copied.body) == (200, None, b"")
    assert [entry["name"] for entry in listed] == ["me/Other:v1", "tiny:latest"]
    assert listed[0]["digest"] == listed[1]["digest"]
    assert (deleted.status, deleted.body) == (200, b"")
    assert (gone.status, gone.json["error"]) == (404, "model 'me/other:v1' not found")
    assert (missing.status, missing.json["error"]) == (400, "model is required")
    assert (invalid.status, invalid.json["error"]) == (400, 'name "a b" is invalid')


# --- /v1 ----------------------------------------------------------------------------------------

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


async def test_openai_events_are_as_documented() -> None:
    answer = OllamaAnswer(thinking=("Need",), tool_calls=WEATHER.tool_calls)
    async with serving(msgspec.structs.replace(THINKER, reply=answer)) as client:
        body = {"model": "qwen3:4b", "messages": ASK, "tools": TOOLS}
        usage = {"stream_options": {"include_usage": True}}
        reply = await client.post("/v1/chat/completions", **body, stream=True, **usage)
        native = (await client.post("/api/chat", **body)).lines[-1]
        whole = await client.post("/v1/chat/completions", **body)
    *events, end = reply.events
    assert shape(events) == shape_of(EVENTS)
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


async def test_an_openai_request_is_mapped_and_what_ollama_ignores_is_ignored() -> None:
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


OPENAI_REFUSED = r"""chat/completions
    400 invalid_request_error EOF
chat/completions {"messages": []}
    400 invalid_request_error [] is too short - 'messages'
chat/completions {"model": "nope", ASK}
    404 not_found_error model 'nope' not found
chat/completions {"model": "", ASK}
    400 invalid_request_error model is required
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": 5}]}
    400 invalid_request_error invalid message content type: float64
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": true}]}
    400 invalid_request_error invalid message content type: bool
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": {}}]}
    400 invalid_request_error invalid message content type: map[string]interface {}
chat/completions {"model": "tiny", "messages": [{"role": "user"}]}
    400 invalid_request_error invalid message content type: <nil>
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/y.png"}]}]}
    400 invalid_request_error image URLs are not currently supported, please use base64 encoded data instead
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:text/plain,x"}]}]}
    400 invalid_request_error invalid image input
chat/completions {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "poem"}]}]}
    400 invalid_request_error invalid message format
chat/completions {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]}
    400 invalid_request_error invalid tool call arguments
chat/completions {CHAT, "reasoning_effort": "much"}
    400 invalid_request_error invalid reasoning value: "much" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none")
chat/completions {CHAT, "reasoning": {"effort": "high"}}
    400 invalid_request_error "tiny" does not support thinking
chat/completions {"model": "tiny", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "[]"}}]}]}
    400 invalid_request_error invalid tool call arguments
completions {"model": "tiny", "prompt": ["a"]}
    400 invalid_request_error json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string
embeddings {"model": "tiny", "input": [[1, 2]]}
    400 invalid_request_error invalid input type
embeddings {"model": "tiny", "input": []}
    400 invalid_request_error invalid input
embeddings {"model": "tiny", "input": "x"}
    501 api_error This server does not support embeddings. Start it with `--embeddings`
embeddings {"model": "tiny", "input": "x", "encoding_format": "hex"}
    400 invalid_request_error Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."""  # noqa: E501 - texts as they are


@pytest.mark.parametrize(("path", "body", "status", "error"), read_table(OPENAI_REFUSED))
async def test_an_openai_request_is_refused(
    path: str, body: bytes, status: int, error: str
) -> None:
    async with serving(*BUNDLE) as client:
        reply = await client.call("POST", f"/v1/{path}", body)
    kind, _, message = error.partition(" ")
    assert reply.status == status
    assert reply.json == {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def test_an_error_of_the_cloud_keeps_its_shape_under_v1() -> None:
    async with serving(STUB, cloud="disabled") as client:
        reply = await client.post("/v1/chat/completions", model=STUB.name, messages=ASK)
    assert (reply.status, reply.json) == (
        403,
        {"error": "ollama cloud is disabled: remote model is unavailable"},
    )


async def test_an_error_within_openai_events_is_swallowed() -> None:
    model = OllamaModel(name="m", reply=OllamaAnswer(text="Once", error="unexpected EOF"))
    async with serving(model) as client:
        body = {"model": "m", "messages": ASK, "stream": True}
        first, last = (await client.post("/v1/chat/completions", **body)).events
        old = (await client.post("/v1/completions", model="m", prompt="x", stream=True)).events
        whole = await client.post("/v1/chat/completions", model="m", messages=ASK)
    assert first["choices"][0]["delta"]["content"] == "Once"
    assert [event["model"] for event in old] == ["m", ""]
    assert last["model"] == ""
    assert last["choices"] == [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]
    assert (whole.status, whole.json["error"]["type"]) == (500, "api_error")


async def test_openai_events_may_end_without_an_end() -> None:
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


async def test_openai_requests_may_ask_for_any_json_and_bring_sound() -> None:
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


async def test_openai_completions_have_a_usage_of_zeros_before_the_real_one() -> None:
    async with serving(OllamaModel(name="m", reply="a b")) as client:
        body: dict[str, object] = {"model": "m", "prompt": "x y", "logprobs": 2}
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        *events, end = (await client.post("/v1/completions", **body, **stream)).events
        whole = (await client.post("/v1/completions", **body)).json
        loaded = (await client.post("/v1/completions", model="m")).json
    assert end == "[DONE]"
    assert [event["usage"]["total_tokens"] for event in events] == [0, 0, 0, 5]
    assert [choice["text"] for event in events for choice in event["choices"]] == ["a", " b", ""]
    assert events[-1]["choices"] == []
    assert whole["choices"] == [{"text": "a b", "index": 0, "finish_reason": "stop"}]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert loaded["choices"] == [{"text": "", "index": 0, "finish_reason": "load"}]


async def test_openai_embeddings_come_as_numbers_or_as_base64() -> None:
    async with serving(EMBEDDER) as client:
        ask = {"model": "nomic-embed-text", "input": ["a", "b c"], "dimensions": 5}
        plain = (await client.post("/v1/embeddings", **ask)).json
        packed = (await client.post("/v1/embeddings", **ask, encoding_format="base64")).json
        native = (await client.post("/api/embed", **ask)).json
    assert [item["embedding"] for item in plain["data"]] == native["embeddings"]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    for numbers, text in zip(plain["data"], packed["data"], strict=True):
        unpacked = struct.unpack("<5f", base64.b64decode(text["embedding"]))
        assert struct.pack("<5f", *numbers["embedding"]) == struct.pack("<5f", *unpacked)


async def test_openai_models_have_an_owner_and_a_date() -> None:
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


# --- the official client ------------------------------------------------------------------------


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


# --- fixtures -----------------------------------------------------------------------------------

PLUGIN_TEST = """
import urllib.request, json

def test_blocking(ollama_emulator, lmstudio_emulator):
    for emulator, path in ((ollama_emulator, "/api/tags"), (lmstudio_emulator, "/v1/models")):
        with urllib.request.urlopen(emulator.url + path) as reply:
            assert json.load(reply)
        assert [seen.path for seen in emulator.requests] == [path]
"""


def test_the_fixtures_work_in_a_project_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLUGIN_TEST)
    found = any(point.name == "patinox" for point in entry_points(group="pytest11"))
    plugin = [] if found else ["-p", "patinox.testing.pytest_plugin"]
    options = ["-q", "-p", "no:cacheprovider", *plugin]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_no_emulator_until_a_fixture_is_used() -> None:
    code = (
        "import sys, patinox.testing.pytest_plugin as p\n"
        "print([m for m in sys.modules if m.startswith('patinox.') or m in ('aiohttp', 'msgspec')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert loaded == {"patinox._version", "patinox.testing", "patinox.testing.pytest_plugin"}


def test_every_public_name_is_there() -> None:
    assert all(getattr(patinox.testing, name) for name in patinox.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'VLLMEmulator'"):
        _ = patinox.testing.VLLMEmulator
