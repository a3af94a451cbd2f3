"""The emulated llama.cpp: a server with one model, and a router of several."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from patinox.testing import LlamaCppEmulator, LlamaCppModel

TINY = LlamaCppModel(
    id="patinox-tiny",
    aliases=("tiny",),
    context_length=512,
    trained_length=2048,
    size_bytes=927232,
    parameters=869504,
)
OWL = LlamaCppModel(id="acme/owl-GGUF:Q4_K_M", loaded=True, reply="Hoo.")
BAD = LlamaCppModel(id="bad", exit_code=1)
ASK = [{"role": "user", "content": "one two three"}]
Serve = Callable[..., AbstractAsyncContextManager[Any]]


class Reply:
    """A reply, read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:  # noqa: ANN401
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever came
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        told = self.json["error"]
        assert told["code"] == self.status
        return self.status, told["type"], told["message"]


class Client:
    """A client of one emulated server, whose clock stands still."""

    def __init__(self, server: LlamaCppEmulator, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session
        self.now = 1000.0

    async def get(self, path: str, method: str = "GET") -> Reply:
        async with self._session.request(method, self.server.url + path) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def post(self, path: str, /, body: bytes = b"", **fields: object) -> Reply:
        data = body or json.dumps(fields).encode()
        async with self._session.post(self.server.url + path, data=data) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def states(self) -> dict[str, Any]:
        models = (await self.get("/models")).json["data"]
        return {entry["id"]: entry["status"] for entry in models}


@pytest.fixture
def serving() -> Serve:
    @asynccontextmanager
    async def serve(*models: LlamaCppModel, **switches: Any) -> AsyncGenerator[Client]:  # noqa: ANN401
        clients = list[Client]()
        server = LlamaCppEmulator(
            models, clock=lambda: clients[0].now if clients else 1000.0, **switches
        )
        async with server, aiohttp.ClientSession() as session:
            clients.append(Client(server, session))
            yield clients[0]

    return serve


# One model.


async def test_it_names_itself_on_every_reply(serving: Serve) -> None:
    async with serving(TINY, router=False) as client:
        health = await client.get("/health")
        missing = await client.get("/api/tags")
        wrong = await client.get("/v1/chat/completions")
        options = await client.get("/", method="OPTIONS")
        head = await client.get("/v1/health", method="HEAD")
    for reply in (health, missing, wrong, options, head):
        assert reply.headers["Server"] == "llama.cpp"
    assert (health.status, health.body) == (200, b'{"status":"ok"}')
    assert health.headers["Keep-Alive"] == "timeout=5, max=100"
    assert missing.headers["Connection"] == "close"
    assert missing.error == wrong.error == (404, "not_found_error", "File Not Found")
    assert (options.status, options.body, head.status) == (200, b"", 200)


async def test_one_model_is_described(serving: Serve) -> None:
    async with serving(TINY, router=False, build_info="b9-0") as client:
        props = (await client.get("/props")).json
        models = (await client.get("/v1/models")).json
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert (props["total_slots"], props["model_alias"]) == (1, "patinox-tiny")
    assert (props["build_info"], props["is_sleeping"]) == ("b9-0", False)
    assert "role" not in props
    (entry,) = models["data"]
    assert list(entry) == [
        *["id", "aliases", "tags", "object", "architecture", "created", "owned_by", "meta"]
    ]
    assert (entry["meta"]["n_ctx"], entry["meta"]["n_ctx_train"]) == (512, 2048)
    assert models["models"][0]["name"] == "patinox-tiny"


async def test_until_it_is_loaded_everything_is_503(serving: Serve) -> None:
    async with serving(TINY, router=False, load_seconds=3.0) as client:
        for path in ("/health", "/props", "/nothing"):
            reply = await client.get(path)
            assert reply.error == (503, "unavailable_error", "Loading model")
        assert (await client.get("/", method="OPTIONS")).status == 200
        assert client.server.loaded == ()
        client.now += 3.0
        assert (await client.get("/health")).status == 200
        assert client.server.loaded == ("patinox-tiny",)


async def test_one_that_sleeps_is_woken_by_a_post(serving: Serve) -> None:
    async with serving(TINY, router=False, sleeping=True) as client:
        asleep = (await client.get("/props")).json["is_sleeping"]
        listed = (await client.get("/v1/models")).status
        woken = (await client.post("/tokenize", content="one two")).json
        awake = (await client.get("/props")).json["is_sleeping"]
    assert (asleep, listed, awake) == (True, 200, False)
    assert woken == {"tokens": [0, 1]}


async def test_one_model_is_no_router(serving: Serve) -> None:
    async with serving(TINY, OWL, router=False) as client:
        for verb in ("load", "unload"):
            reply = await client.post(f"/models/{verb}", model="patinox-tiny")
            assert reply.error == (404, "not_found_error", "File Not Found")
        assert len((await client.get("/models")).json["data"]) == 1


# A router.


async def test_a_router_lists_its_models_with_their_state(serving: Serve) -> None:
    async with serving(TINY, OWL) as client:
        props = (await client.get("/props")).json
        models = (await client.get("/models")).json
    assert (props["role"], props["model_path"]) == ("router", "none")
    assert props["default_generation_settings"] == {"params": {}, "n_ctx": 0}
    assert list(models) == ["data", "object"]
    tiny, owl = models["data"]
    assert (tiny["status"]["value"], owl["status"]["value"]) == ("unloaded", "loaded")
    assert "meta" not in tiny
    assert owl["meta"]["n_ctx"] == 4096
    assert (tiny["aliases"], tiny["can_remove"]) == (["tiny"], True)


async def test_a_load_is_answered_at_once_and_goes_on(serving: Serve) -> None:
    async with serving(TINY, load_seconds=4.0) as client:
        begun = await client.post("/models/load", model="tiny")
        client.now += 1.0
        (loading,) = (await client.states()).values()
        again = await client.post("/models/load", model="tiny")
        client.now += 3.0
        (loaded,) = (await client.states()).values()
        gone = await client.post("/models/unload", model="tiny")
        (unloaded,) = (await client.states()).values()
    assert begun.json == {"success": True}
    assert loading["value"] == "loading"
    assert loading["progress"] == {
        "stages": ["text_model"],
        "current": "text_model",
        "value": 0.25,
    }
    assert again.error == (400, "invalid_request_error", "model is already running")
    assert (loaded["value"], unloaded["value"]) == ("loaded", "unloaded")
    assert "progress" not in loaded
    assert gone.json == {"success": True}


async def test_a_load_that_fails_is_seen_in_the_list(serving: Serve) -> None:
    async with serving(BAD, load_seconds=1.0) as client:
        await client.post("/models/load", model="bad")
        client.now += 1.0
        (status,) = (await client.states()).values()
    async with serving(BAD) as client:
        reply = await client.post("/v1/chat/completions", model="bad", messages=ASK)
    assert (status["value"], status["failed"], status["exit_code"]) == ("unloaded", True, 1)
    assert reply.error == (500, "server_error", "model failed to load")


async def test_what_a_router_does_not_know_it_refuses(serving: Serve) -> None:
    async with serving(TINY, autoload=False) as client:
        errors = [
            (await client.post("/models/load", model="nope")).error,
            (await client.post("/models/load")).error,
            (await client.post("/models/unload", model="nope")).error,
            (await client.post("/models/unload", model="tiny")).error,
            (await client.post("/v1/chat/completions", messages=ASK)).error,
            (await client.post("/v1/chat/completions", model="nope", messages=ASK)).error,
            (await client.post("/v1/chat/completions", model="tiny", messages=ASK)).error,
            (await client.get("/props?model=tiny&autoload=false")).error,
        ]
    missing = "model name is missing from the request"
    assert errors == [
        (404, "not_found_error", "model is not found"),
        (400, "invalid_request_error", missing),
        (400, "invalid_request_error", "model is not running"),
        (400, "invalid_request_error", "model is not running"),
        (400, "invalid_request_error", missing),
        (400, "invalid_request_error", "model 'nope' not found"),
        (400, "invalid_request_error", "model is not loaded"),
        (400, "invalid_request_error", "model is not loaded"),
    ]


async def test_a_request_loads_its_model_and_the_one_unused_for_longest_goes(
    serving: Serve,
) -> None:
    async with serving(TINY, OWL, most=1) as client:
        reply = await client.post("/v1/chat/completions", model="tiny", messages=ASK)
        assert client.server.loaded == ("patinox-tiny",)
        props = (await client.get("/props?model=acme%2Fowl-GGUF%3AQ4_K_M")).json
        assert client.server.loaded == ("acme/owl-GGUF:Q4_K_M",)
    assert reply.json["model"] == "patinox-tiny"
    assert props["default_generation_settings"]["n_ctx"] == 4096


# Chat.


async def test_a_whole_answer(serving: Serve) -> None:
    async with serving(OWL, TINY) as client:
        told = (await client.post("/v1/chat/completions", model=OWL.id, messages=ASK)).json
        echo = (await client.post("/chat/completions", model="tiny", messages=ASK)).json
    assert list(told) == [
        *["choices", "created", "model", "system_fingerprint", "id", "object", "usage", "timings"]
    ]
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hoo."}
    assert choice["finish_reason"] == "stop"
    assert told["usage"]["total_tokens"] == 4
    assert echo["choices"][0]["message"]["content"] == "You said: one two three"


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream(serving: Serve, *, usage: bool) -> None:
    async with serving(TINY, router=False) as client:
        reply = await client.post(
            "/v1/chat/completions",
            messages=ASK,
            stream=True,
            max_tokens=2,
            stream_options={"include_usage": usage},
        )
    *frames, end = reply.body.decode().removesuffix("\n\n").split("\n\n")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert end == "data: [DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": None},
        {"content": "You"},
        {"content": " said:"},
        {},
    ]
    assert ["usage" in chunk for chunk in chunks] == [False] * 4 + [True] * usage
    assert ["timings" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[3]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("stop", "text"),
    [(" two", "You said: one"), (["x", "one"], "You said:"), (7, "You said: one two three")],
)
async def test_a_stop_text_is_left_out_with_all_after_it(
    serving: Serve, stop: object, text: str
) -> None:
    async with serving(TINY, router=False) as client:
        told = (await client.post("/v1/chat/completions", messages=ASK, stop=stop)).json
    assert told["choices"][0]["message"]["content"] == text
    assert told["choices"][0]["finish_reason"] == "stop"


async def test_what_a_chat_may_not_be(serving: Serve) -> None:
    long = [{"role": "user", "content": "word " * 600}]
    async with serving(TINY, router=False) as client:
        errors = [
            (await client.post("/v1/chat/completions", b"{")).error[1],
            (await client.post("/v1/chat/completions")).error[2],
            (await client.post("/v1/chat/completions", messages="x")).error[2],
            (await client.post("/v1/embeddings", input="")).error[1],
        ]
        overflow = (await client.post("/v1/chat/completions", messages=long)).json["error"]
    assert errors == [
        "invalid_request_error",
        "'messages' is required",
        "Expected 'messages' to be an array",
        "not_supported_error",
    ]
    assert overflow["type"] == "exceed_context_size_error"
    assert (overflow["n_prompt_tokens"], overflow["n_ctx"]) == (600, 512)


async def test_an_answer_by_a_schema_is_json_that_fits_it(serving: Serve) -> None:
    schema = {"type": "object", "properties": {"said": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    async with serving(TINY, router=False) as client:
        fits = await client.post("/v1/chat/completions", messages=ASK, response_format=wanted)
        free = await client.post("/v1/chat/completions", messages=ASK, response_format=None)
    assert fits.json["choices"][0]["message"]["content"] == '{"said": "You said: one two three"}'
    assert free.json["choices"][0]["message"]["content"] == "You said: one two three"
