"""Routes of the emulated Ollama, and who may use them, as the real one has them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

Serving = Callable[..., AbstractAsyncContextManager[Any]]


JSON = "application/json; charset=utf-8"


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
    serving: Serving, method: str, path: str, status: int, kind: str, body: bytes, allow: str | None
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
    serving: Serving, method: str, path: str, status: int, location: str, body: bytes
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
    serving: Serving, headers: dict[str, str], status: int
) -> None:
    async with serving() as client:
        reply = await client.call("GET", "/api/version", **headers)
    assert reply.status == status
    assert (reply.body == b"") == (status == 403)


async def test_a_preflight_is_answered(serving: Serving) -> None:
    async with serving() as client:
        reply = await client.call("OPTIONS", "/api/chat", Origin="http://localhost:3000")
        other = await client.call("OPTIONS", "/api/chat")
    assert (reply.status, reply.headers["Access-Control-Max-Age"]) == (204, "43200")
    assert other.status == 405
