"""Models of the emulated Ollama: lists, details, names, pull, copy and delete."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from patinox.testing import OllamaAnswer, OllamaModel, OllamaToolCall

Serving = Callable[..., AbstractAsyncContextManager[Any]]
Shape = Callable[[object], object]
PLAIN_JSON = "application/json"
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
ASK = [{"role": "user", "content": "hello there"}]
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


async def test_tags_are_as_documented(serving: Serving, shape: Shape) -> None:
    async with serving(*models_of(TAGS)) as client:
        got = (await client.get("/api/tags")).json
    expected = json.loads(TAGS)
    assert shape(got) == shape(expected)
    times = [entry.pop("modified_at") for entry in got["models"]]
    assert times == sorted(times, reverse=True)
    for entry in expected["models"]:
        del entry["modified_at"]
    assert got == expected


async def test_tags_before_0_30_tell_no_capabilities_and_no_lengths(serving: Serving) -> None:
    async with serving(THINKER, version="0.24.0") as client:
        assert (await client.get("/api/version")).json == {"version": "0.24.0"}
        (entry,) = (await client.get("/api/tags")).json["models"]
    assert "capabilities" not in entry
    assert not {"context_length", "embedding_length"} & entry["details"].keys()


@pytest.mark.parametrize(("version", "listed"), [("0.33.0", "base:1b"), ("0.24.0", "")])
async def test_what_a_model_was_made_from_is_shown(
    serving: Serving, version: str, listed: str
) -> None:
    made = OllamaModel(name="made", parent_model="base:1b", loaded=True)
    async with serving(made, version=version) as client:
        (entry,) = (await client.get("/api/tags")).json["models"]
        (run,) = (await client.get("/api/ps")).json["models"]
        shown = (await client.post("/api/show", model="made")).json
    parents = [reply["details"]["parent_model"] for reply in (shown, entry, run)]
    assert parents == ["base:1b", listed, ""]


async def test_tags_do_not_see_what_only_a_chat_template_tells(serving: Serving) -> None:
    native = OllamaModel(
        name="n", path="native", capabilities=("completion", "tools", "thinking", "vision")
    )
    async with serving(native) as client:
        (entry,) = (await client.get("/api/tags")).json["models"]
        shown = (await client.post("/api/show", model="n")).json
    assert entry["capabilities"] == ["completion", "vision"]
    assert shown["capabilities"] == ["completion", "tools", "thinking", "vision"]
    assert "{%" in shown["template"]


async def test_a_list_of_nothing_is_empty_here_and_null_for_openai(serving: Serving) -> None:
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


async def test_show_is_as_documented(serving: Serving, shape: Shape) -> None:
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


async def test_parameters_are_written_as_go_writes_them(serving: Serving) -> None:
    parameters = {"num_ctx": 1048576, "seed": 42, "min_p": 0.05, "use_mmap": True}
    async with serving(OllamaModel(name="m", parameters=parameters)) as client:
        shown = (await client.post("/api/show", model="m")).json["parameters"]
    values = dict(line.split() for line in shown.splitlines())
    assert values == {"num_ctx": "1.048576e+06", "seed": "42", "min_p": "0.05", "use_mmap": "true"}


async def test_show_has_thinking_levels_and_a_name_for_copilot_only_where_asked_for(
    serving: Serving,
) -> None:
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


async def test_ps_is_as_documented(serving: Serving, shape: Shape) -> None:
    async with serving(msgspec.structs.replace(THINKER, loaded=True)) as client:
        assert shape((await client.get("/api/ps")).json) == shape(json.loads(PS))
    async with serving(
        msgspec.structs.replace(THINKER, loaded=True), on_gpu=True, context_length=8192
    ) as client:
        (run,) = (await client.get("/api/ps")).json["models"]
    assert run["size_vram"] == run["size"] > THINKER.size
    assert run["context_length"] == 8192


async def test_a_model_stays_for_as_long_as_it_is_kept_alive(serving: Serving) -> None:
    clock = Clock()

    async def running(listed: Awaitable[Any]) -> dict[str, timedelta]:
        now = datetime.fromtimestamp(clock.ns / SECOND, UTC)
        entries = (await listed).json["models"]
        return {e["name"]: datetime.fromisoformat(e["expires_at"]) - now for e in entries}

    async with serving(TINY, TOOLING, EMBEDDER, clock=clock) as client:
        assert await running(client.get("/api/ps")) == {}
        await client.chat("tiny")
        await client.post("/api/embed", model="nomic-embed-text", input="a", keep_alive="1h30m")
        await client.post("/api/generate", model="tooling", prompt="", keep_alive=0.5)
        assert list((await running(client.get("/api/ps"))).items()) == [
            ("nomic-embed-text:latest", timedelta(minutes=90)),
            ("tiny:latest", timedelta(minutes=5)),
            ("tooling:latest", timedelta(seconds=0.5)),
        ]
        clock.ns += 6 * 60 * SECOND
        assert list(await running(client.get("/api/ps"))) == ["nomic-embed-text:latest"]
        await client.chat("tiny", keep_alive=-1)
        await client.chat("tiny")
        assert (await running(client.get("/api/ps")))["tiny:latest"] > timedelta(days=290 * 365)
        await client.chat("tiny", keep_alive=0)
        assert "tiny:latest" not in await running(client.get("/api/ps"))


async def test_another_context_loads_the_model_again(serving: Serving) -> None:
    def cold(reply: Mapping[str, int]) -> bool:
        return reply["load_duration"] > SECOND / 10

    async with serving(TINY) as client:
        first = await client.chat("tiny", stream=False)
        second = await client.chat("tiny", stream=False)
        third = await client.chat("tiny", stream=False, options={"num_ctx": 8192})
        (run,) = (await client.get("/api/ps")).json["models"]
    assert [cold(reply.json) for reply in (first, second, third)] == [True, False, True]
    assert run["context_length"] == 8192


async def test_a_client_that_leaves_lets_go_of_the_model(serving: Serving) -> None:
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
    serving: Serving, asked: str, found: str | None
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


async def test_a_pull_tells_its_progress_and_installs(serving: Serving) -> None:
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


async def test_a_pull_of_what_is_not_there_fails_after_its_first_line(serving: Serving) -> None:
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


async def test_models_are_copied_and_deleted(serving: Serving) -> None:
    async with serving(TINY) as client:
        copied = await client.post("/api/copy", source="tiny", destination="me/Other:v1")
        listed = (await client.get("/api/tags")).json["models"]
        await client.chat("me/other:v1")
        deleted = await client.call("DELETE", "/api/delete", {"model": "ME/other:v1"})
        gone = await client.call("DELETE", "/api/delete", {"name": "me/other:v1"})
        missing = await client.call("DELETE", "/api/delete", {})
        invalid = await client.call("DELETE", "/api/delete", {"model": "a b"})
        # It stays in memory, where the original uses it under the name of the copy.
        (left,) = (await client.get("/api/ps")).json["models"]
        assert (await client.chat("tiny", stream=False)).json["message"]["content"] == "Hi"
        assert [run["name"] for run in (await client.get("/api/ps")).json["models"]] == [
            left["name"]
        ]
    assert (copied.status, copied.kind, copied.body) == (200, None, b"")
    assert [entry["name"] for entry in listed] == ["me/Other:v1", "tiny:latest"]
    assert listed[0]["digest"] == listed[1]["digest"] == left["digest"]
    assert left["name"] == "me/Other:v1"
    assert (deleted.status, deleted.body) == (200, b"")
    assert (gone.status, gone.json["error"]) == (404, "model 'me/other:v1' not found")
    assert (missing.status, missing.json["error"]) == (400, "model is required")
    assert (invalid.status, invalid.json["error"]) == (400, 'name "a b" is invalid')
