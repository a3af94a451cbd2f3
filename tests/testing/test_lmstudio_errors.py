"""What the emulated LM Studio takes, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

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
    ask: Ask, kind: Literal["llm", "vlm"], url: str, error: str | None
) -> None:
    model = LMStudioModel(key="m", kind=kind, loaded_context_length=100)
    native = said(type="image", data_url=url)
    async with LMStudioEmulator([model]) as server:
        got = await ask(server, CHAT, image(url))
        there = await ask(server, NATIVE, native | {"model": "m"})
    assert there.status == (200 if kind == "vlm" else 400)
    assert got.json.get("error") == error
    assert got.status == (200 if error is None else 400)


async def test_a_prompt_too_long_for_a_stream_is_an_error_event_after_200(ask: Ask) -> None:
    async with LMStudioEmulator([OWL], overflow="C") as server:
        whole = await ask(server, CHAT, TOO_LONG)
        stream = await ask(server, CHAT, {**TOO_LONG, "stream": True})
    assert (whole.status, whole.json) == (400, {"error": TOO_LONG_C})
    assert stream.status == 200
    assert stream.text.startswith("event: error\ndata: ")
    assert stream.chunks == [{"error": {"message": TOO_LONG_C}, "message": TOO_LONG_C}]


async def test_a_body_that_is_not_json_is_a_page_on_openai_routes_and_an_error_natively(
    ask: Ask,
) -> None:
    async with LMStudioEmulator() as server:
        openai = await ask(server, CHAT, b"{")
        native = await ask(server, NATIVE, b"{")
    assert (openai.status, native.status) == (400, 400)
    assert openai.headers["Content-Type"] == "text/html; charset=utf-8"
    assert native.json["error"]["code"] == "invalid_json"


LOAD, UNLOAD, DOWNLOAD = (f"/api/v1/models/{verb}" for verb in ("load", "unload", "download"))
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
    ask: Ask, target: str, body: object, status: int, error: object
) -> None:
    async with LMStudioEmulator([OWL, BROKEN_LOAD]) as server:
        got = await ask(server, target, body)
    assert (got.status, got.json) == (status, {"error": error})


async def test_the_native_chat_knows_no_embedding_models_and_no_cold_ones_without_jit(
    ask: Ask,
) -> None:
    asked = {"model": EMBED.key, "input": "x"}
    async with LMStudioEmulator([FINCH, EMBED], jit=False) as server:
        embeds = (await ask(server, NATIVE, asked)).json["error"]["message"]
        cold = (await ask(server, NATIVE, {**asked, "model": FINCH.key})).json["error"]["message"]
    async with LMStudioEmulator([EMBED]) as server:
        nothing = (await ask(server, NATIVE, asked)).json["error"]["message"]
    assert embeds == f"Model {EMBED.key} not found in downloaded models"
    assert cold == "Model finch-1b not found in downloaded models"
    assert nothing == "There are no downloaded llm models."
