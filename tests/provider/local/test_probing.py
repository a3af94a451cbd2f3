"""What is proof and what is not: every program that may sit on a port of ours."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.probing import Finding
from patinox.testing import EmulatedServer, Exchange, LMStudioEmulator, OllamaEmulator

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixtures `web_server` and `raw_server`
LLAMACPP = {"Server": "llama.cpp"}
OK = (200, b'{"status":"ok"}')
VERSION = (200, b'{"version":"0.33.0"}')
SETTINGS = '"default_generation_settings":{"n_ctx":4096},"total_slots":1,"chat_template":"x"'
BLOB = '"model_path":"/home/me/.ollama/models/blobs/sha256-3e4cb141"'


def props(*fields: str) -> tuple[int, bytes]:
    return 200, ("{" + ",".join((SETTINGS, *fields)) + "}").encode()


async def look(config: LocalProviderConfig) -> Finding:
    """Look once; nothing may come out of it but the finding."""
    discovery = ServiceDiscovery(config)
    try:
        found = await discovery.discover_services()
        (finding,) = discovery.findings
        assert len(found) == len(discovery.services) == (finding.proof is not None)
        return finding
    finally:
        await discovery.aclose()


async def echo(exchange: Exchange) -> None:
    await exchange.reply(200, f"{exchange.method} {exchange.path}".encode() + exchange.body)


async def always_like_lm_studio(exchange: Exchange) -> None:
    error = f'{{"error":"Unexpected endpoint or method. ({exchange.method} {exchange.path})"}}'
    await exchange.reply(200, error.encode())


async def redirect(exchange: Exchange) -> None:
    await exchange.reply(301, headers={"Location": "http://127.0.0.1:1/api/version"})


async def endless(exchange: Exchange) -> None:
    await exchange.start(200, content_type="application/json")
    while True:
        await exchange.send(b" " * 2**16)


IMPOSTORS: dict[str, tuple[Any, dict[str, str]]] = {
    "a web server": ({"/": (200, b"<html>It works!</html>")}, {"Server": "Apache"}),
    "200 and {} to everything": (b"{}", {}),
    "200 and true to everything": (b"true", {}),
    "200 and nothing to everything": (b"", {}),
    "an echo": (echo, {}),
    "200 with LM Studio's error to every path": (always_like_lm_studio, {}),
    "a redirect": (redirect, {}),
    "a body without an end": (endless, {}),
    "Ollama's version alone": ({"/api/version": VERSION}, {}),
    "Ollama's greeting alone": ({"/": (200, b"Ollama is running")}, {}),
    "Ollama's greeting in another page": (
        {"/api/version": VERSION, "/": (200, b"<p>Ollama is running</p>")},
        {},
    ),
    "Ollama's greeting and no version": (
        {"/api/version": (200, b'{"version":33}'), "/": (200, b"Ollama is running")},
        {},
    ),
    "LM Studio's greeting that is not true": (
        {"/lmstudio-greeting": (200, b'{"lmstudio":false}')},
        {},
    ),
    "LM Studio's greeting as a text": ({"/lmstudio-greeting": (200, b'{"lmstudio":"yes"}')}, {}),
    "401 to everything": ({"/lmstudio-greeting": (401, b"Unauthorized"), "/props": (401, b"")}, {}),
    "503 to everything": ({"/health": (503, b"busy"), "/props": (503, b"busy")}, {}),
    "llama.cpp's health alone": ({"/health": OK}, LLAMACPP),
    "llama.cpp's child of Ollama": (
        {"/health": OK, "/props": props('"build_info":"b10488-abc"', BLOB)},
        LLAMACPP,
    ),
    "llama-swap": (
        {
            "/health": (200, b"OK"),
            "/v1/models": (200, b'{"data":[{"id":"m","owned_by":"llama-swap"}]}'),
        },
        {},
    ),
    "koboldcpp": (
        {
            "/health": OK,
            "/props": props(),
            "/api/extra/version": (200, b'{"result":"KoboldCpp","version":"1.99"}'),
        },
        {},
    ),
    "LocalAI": ({"/readyz": (200, b"OK"), "/version": (200, b'{"version":"v3"}')}, {}),
}


@pytest.mark.parametrize("name", IMPOSTORS)
@pytest.mark.parametrize("expected", [None, "ollama", "lmstudio", "llamacpp"])
async def test_an_impostor_is_refused_and_told_so(
    name: str, expected: str | None, config_for: ConfigFor, web_server: Serve
) -> None:
    answers, headers = IMPOSTORS[name]
    async with web_server(answers, headers=headers) as server:
        finding = await look(config_for(EndpointConfig.parse(server.url, service=expected)))

        assert finding.proof is None
        assert finding.answered
        assert finding.reason == (
            "something answers, but did not prove to be any of: Ollama, LM Studio, llama.cpp"
        )
        assert {seen.method for seen in server.requests} == {"GET"}
        asked = [seen.path for seen in server.requests]
        assert len(asked) == len(set(asked)) == 6
        assert 0 < finding.seconds < 10


RAW = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x32",
    "binary": bytes(range(256)),
    "smtp": b"220 mail ESMTP\r\n",
    "http of another age": b"HTTP/9.9 200 OK\r\n\r\n",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000,
}


@pytest.mark.parametrize("said", RAW.values(), ids=RAW)
async def test_a_port_that_does_not_speak_http_is_refused(
    said: bytes, config_for: ConfigFor, raw_server: Serve
) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        await asyncio.Event().wait()

    async with raw_server(talk) as url:
        finding = await look(config_for(url, discovery={"discovery_timeout": 0.3}))
        assert finding.proof is None
        assert finding.place.endpoint.authority in finding.reason


async def test_a_port_that_closes_at_once_is_refused(
    config_for: ConfigFor, raw_server: Serve
) -> None:
    async def talk(*_: object) -> None:
        return

    async with raw_server(talk) as url:
        finding = await look(config_for(url))
        assert finding.proof is None
        assert "closed the connection without an answer" in finding.reason


GENUINE: dict[str, tuple[Any, dict[str, str], str, str | None]] = {
    "llama.cpp": ({"/props": props('"build_info":"b8681-Debian"')}, LLAMACPP, "llamacpp", "b8681"),
    "llama.cpp that was built at home": (
        {"/health": OK, "/props": props('"build_info":"b1-abc1234"')},
        LLAMACPP,
        "llamacpp",
        None,
    ),
    "llama.cpp behind a proxy": (
        {"/health": OK, "/props": props('"build_info":"b7000-abc1234"')},
        {"Server": "nginx"},
        "llamacpp",
        "b7000",
    ),
    "llama.cpp with a key": (
        {"/health": OK, "/props": (401, b'{"error":{"type":"authentication_error"}}')},
        LLAMACPP,
        "llamacpp",
        None,
    ),
    "llama.cpp's router": (
        {"/health": OK, "/props": props('"build_info":"b9000-ab"', '"role":"router"')},
        LLAMACPP,
        "llamacpp",
        "b9000",
    ),
    "Ollama": (
        {"/api/version": VERSION, "/": (200, b"Ollama is running")},
        {},
        "ollama",
        "0.33.0",
    ),
    "LM Studio with a status of another kind": (
        {"/lmstudio-greeting": (200, b'{"lmstudio":true}'), "/lms-status": (200, b'"up"')},
        {},
        "lmstudio",
        None,
    ),
}


@pytest.mark.parametrize("name", GENUINE)
async def test_the_real_one_is_taken_at_its_word(
    name: str, config_for: ConfigFor, web_server: Serve
) -> None:
    answers, headers, kind, version = GENUINE[name]
    async with web_server(answers, headers=headers) as server:
        discovery = ServiceDiscovery(config_for(server))
        await discovery.discover_services()
        (finding,) = discovery.findings

        assert finding.proof is not None
        assert finding.proof.spec.name == kind
        assert finding.proof.identity.version == version
        assert finding.reason.startswith(f"proved to be {finding.proof.spec.label}")
        await discovery.aclose()


@pytest.mark.parametrize(
    ("make", "expected"),
    [(OllamaEmulator, "ollama"), (LMStudioEmulator, "lmstudio")],
    ids=["ollama", "lmstudio"],
)
async def test_where_the_expected_one_answers_the_others_are_not_asked_for(
    make: Callable[[], EmulatedServer], expected: str, config_for: ConfigFor
) -> None:
    probes = {
        "ollama": {"/api/version", "/", "/api/tags", "/api/ps"},
        "lmstudio": {"/lmstudio-greeting", "/lms-status", "/api/v1/models"},
    }
    async with make() as server:
        await look(config_for(EndpointConfig.parse(server.url, service=expected)))
        assert {seen.path for seen in server.requests} == probes[expected]


async def test_a_server_that_answers_too_late_did_not_answer(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(latency=5.0) as slow:
        finding = await look(config_for(slow, discovery={"discovery_timeout": 0.1}))
        assert finding.proof is None
        assert not finding.answered
        assert finding.seconds < 1
