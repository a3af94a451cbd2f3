"""Models of the emulated LM Studio: lists, which one answers, load, unload and download."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import pytest

from patinox.testing.lmstudio import LMStudioEmulator, LMStudioModel

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
Generation = Literal["0.4", "0.3"]
CHAT, CHAT_V0, NATIVE = "/v1/chat/completions", "/api/v0/chat/completions", "/api/v1/chat"
HELLO = [{"role": "user", "content": "hello big world"}]
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
async def test_model_lists_of_openai_and_v0(ask: Ask, generation: Generation) -> None:
    async with LMStudioEmulator([OWL, FINCH, EMBED], generation=generation) as server:
        assert (await ask(server, "/v1/models")).compact == LIST_V1
        assert (await ask(server, "/api/v0/models")).compact == LIST_V0
        assert (await ask(server, "/api/v0/models/acme/owl-4b")).compact == OWL_V0
        assert (await ask(server, "/api/v0/models/acme%2Fowl-4b")).compact == OWL_V0
        unknown = await ask(server, "/api/v0/models/nope")
    assert unknown.json["error"]["code"] == "model_not_found"


async def test_the_native_list_shows_every_model_and_the_ttl_of_loads_by_request(ask: Ask) -> None:
    cold = msgspec.structs.replace(OWL, loaded_context_length=None)
    warm = msgspec.structs.replace(EMBED, loaded_context_length=2048)
    async with LMStudioEmulator([cold, warm], clock=lambda: 1.0) as server:
        body = {"model": "acme/owl-4b", "input": "x", "context_length": 8192}
        await ask(server, NATIVE, body)
        assert (await ask(server, "/api/v1/models")).compact == LIST_NATIVE


async def test_without_jit_only_loaded_models_are_listed_except_natively(ask: Ask) -> None:
    async with LMStudioEmulator([OWL, FINCH], jit=False) as server:
        openai = (await ask(server, "/v1/models")).json
        native = (await ask(server, "/api/v1/models")).json
    assert [row["id"] for row in openai["data"]] == ["acme/owl-4b"]
    assert [row["key"] for row in native["models"]] == ["acme/owl-4b", "finch-1b"]


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
    ask: Ask,
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
    ask: Ask,
    generation: Generation,
    status: int,
    error: object,
) -> None:
    async with LMStudioEmulator([OWL, TWO], generation=generation) as server:
        got = await ask(server, CHAT, {"model": "nope", "messages": HELLO})
    assert (got.status, got.json) == (status, {"error": error})


async def test_requests_that_wait_for_one_model_load_it_once(ask: Ask) -> None:
    body = {"model": "finch-1b", "messages": HELLO}
    async with LMStudioEmulator([FINCH], load_seconds=0.01) as server:
        await asyncio.gather(*(ask(server, CHAT, body) for _ in range(3)))
        assert server.loaded == ("finch-1b",)


@pytest.mark.parametrize(("auto_evict", "left"), [(True, ("b",)), (False, ("a", "b"))])
async def test_a_load_by_request_evicts_the_one_before_it_but_no_other(
    ask: Ask,
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
    ask: Ask, ttl: object, seconds: int
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


LOAD, UNLOAD, DOWNLOAD = (f"/api/v1/models/{verb}" for verb in ("load", "unload", "download"))
OWL_CONFIG = (
    '{"context_length":8192,"eval_batch_size":512,"parallel":4,"flash_attention":false,'
    '"offload_kv_cache_to_gpu":true}'
)


async def test_a_load_echoes_what_was_loaded_and_an_unload_undoes_it(ask: Ask) -> None:
    cold = msgspec.structs.replace(OWL, loaded_context_length=None)
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


async def test_a_load_may_ignore_the_context_it_is_asked_for(ask: Ask) -> None:
    body = {"model": "finch-1b", "context_length": 9999, "echo_load_config": True}
    async with LMStudioEmulator([FINCH], load_ignores_context=True) as server:
        got = await ask(server, LOAD, body)
    assert got.json["load_config"] == {"context_length": 4096}


async def test_a_download_goes_on_until_the_model_is_there(ask: Ask) -> None:
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


def native(code: str, message: str, param: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"message": message, "type": "invalid_request", "code": code}
    return error if param is None else {**error, "param": param}


async def test_a_download_takes_as_many_looks_as_it_is_told(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], download_steps=4) as server:
        begun = await ask(server, DOWNLOAD, {"model": "acme/wren-1b"})
        status = f"{DOWNLOAD}/status/{begun.json['job_id']}"
        looks = [(await ask(server, status)).json for _ in range(4)]
    assert [look["status"] for look in looks] == ["downloading"] * 3 + ["completed"]
    assert [4 * look["downloaded_bytes"] // look["total_size_bytes"] for look in looks] == [
        *[1, 2, 3, 4]
    ]
    assert list(looks[0])[-2:] == ["bytes_per_second", "estimated_completion"]


@pytest.mark.parametrize("end", ["paused", "failed"])
async def test_a_download_may_never_be_complete(ask: Ask, end: Literal["paused", "failed"]) -> None:
    async with LMStudioEmulator([OWL], download_end=end) as server:
        begun = await ask(server, DOWNLOAD, {"model": "acme/wren-1b"})
        status = f"{DOWNLOAD}/status/{begun.json['job_id']}"
        looks = [(await ask(server, status)).json for _ in range(3)]
        keys = [row["key"] for row in (await ask(server, "/api/v1/models")).json["models"]]
    assert begun.json["status"] == "downloading"
    assert {look["status"] for look in looks} == {end}
    assert "completed_at" not in looks[-1]
    assert keys == ["acme/owl-4b"]
