"""Routes of the emulated LM Studio: identity, transport, tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from patinox.testing.lmstudio import LMStudioEmulator, LMStudioModel, LMStudioSwitches
from patinox.testing.lmstudio.state import Switches

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
Generation = Literal["0.4", "0.3"]
TOKEN = "sk-lm-abcdefgh:abcdefghijklmnopqrst"
CHAT, CHAT_V0, NATIVE = "/v1/chat/completions", "/api/v0/chat/completions", "/api/v1/chat"
HELLO = [{"role": "user", "content": "hello big world"}]


def test_every_switch_is_an_argument() -> None:
    assert set(LMStudioSwitches.__annotations__) == set(Switches.__struct_fields__)


async def test_the_greeting_is_compact_and_bears_the_headers_of_express(ask: Ask) -> None:
    async with LMStudioEmulator() as server:
        got = await ask(server, "/lmstudio-greeting")
    assert (got.status, got.text) == (200, '{"lmstudio":true}')
    assert got.headers["X-Powered-By"] == "Express"
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert got.headers["Keep-Alive"] == "timeout=5"
    assert re.fullmatch(r'W/"11-[A-Za-z0-9+/]{27}"', got.headers["ETag"])
    assert "Server" not in got.headers


async def test_lms_status_tells_the_version(ask: Ask) -> None:
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
    ask: Ask,
    generation: Generation,
    method: str,
    target: str,
) -> None:
    async with LMStudioEmulator(generation=generation) as server:
        got = await ask(server, target, method=method)
    error = f"Unexpected endpoint or method. ({method} {target})"
    assert (got.status, got.text) == (200, json.dumps({"error": error}, separators=(",", ":")))


async def test_unexpected_endpoints_and_lms_status_can_be_switched(ask: Ask) -> None:
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
    ask: Ask, target: str, body: object, second_line: str
) -> None:
    async with LMStudioEmulator([OWL]) as server:
        got = await ask(server, target, body)
    assert got.text.splitlines()[1].startswith(second_line)


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
    ask: Ask, target: str, token: str | None, status: int, start: str
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


async def test_the_greeting_can_ask_for_the_token_and_0_3_never_does(ask: Ask) -> None:
    async with LMStudioEmulator(token=TOKEN, greeting_needs_token=True) as server:
        assert (await ask(server, "/lmstudio-greeting")).status == 401
    async with LMStudioEmulator(token=TOKEN, generation="0.3") as server:
        assert (await ask(server, "/v1/models")).status == 200
