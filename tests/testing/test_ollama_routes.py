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
        ("GET", "//", 307, "/", b'<a href="/">Temporary Redirect</a>.\n\n'),
        ("GET", "//api/tags?a=1", 307, "/api/tags?a=1", b'<a href="/api/tags?a=1">Temporary'),
        ("POST", "/api//chat", 307, "/api/chat", b""),
        ("GET", "//nowhere/", 307, "/nowhere/", b'<a href="/nowhere/">Temporary'),
    ],
)
async def test_a_slash_too_many_is_redirected(
    serving: Serving, method: str, path: str, status: int, location: str, body: bytes
) -> None:
    async with serving() as client:
        reply = await client.call(method, path)
    assert (reply.status, reply.headers["Location"]) == (status, location)
    assert reply.body.startswith(body)
    page = "text/html; charset=utf-8"
    assert reply.kind == (None if method == "POST" else page)


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
        ({"Origin": "app://x"}, 200),
        ({"Origin": "chrome-extension://abc"}, 403),
        ({"Origin": "null"}, 403),
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


ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,"
    "X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,"
    "X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
LOCAL = "http://localhost:3000"


@pytest.mark.parametrize(
    ("method", "path", "origin", "status", "told"),
    [
        ("GET", "/api/version", None, 200, {}),
        ("GET", "/api/version", LOCAL, 200, {"Allow-Origin": LOCAL, "Vary": "Origin"}),
        ("GET", "/nowhere", LOCAL, 404, {"Allow-Origin": LOCAL, "Vary": "Origin"}),
        (
            "GET",
            "/api/chat",
            LOCAL,
            405,
            {"Allow-Origin": LOCAL, "Vary": "Origin", "Allow": "POST"},
        ),
        (
            "OPTIONS",
            "/api/chat",
            LOCAL,
            204,
            {
                "Allow-Headers": ALLOWED_HEADERS,
                "Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
                "Allow-Origin": LOCAL,
                "Max-Age": "43200",
                "Allow": "POST",
                "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            },
        ),
        ("OPTIONS", "/api/chat", "http://evil.com", 403, {"Allow": "POST"}),
        ("OPTIONS", "/api/chat", None, 405, {"Allow": "POST"}),
    ],
)
async def test_a_browser_is_told_what_it_may_do(
    serving: Serving, method: str, path: str, origin: str | None, status: int, told: dict[str, str]
) -> None:
    async with serving() as client:
        reply = await client.call(method, path, **({"Origin": origin} if origin else {}))
    names = {"Allow": "Allow", "Vary": "Vary"}
    headers = {names.get(n, f"Access-Control-{n}"): value for n, value in told.items()}
    got = {n: v for n, v in reply.headers.items() if n in {"Allow", "Vary"} or "Access" in n}
    assert (reply.status, got) == (status, headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 405), ("localhost", 204), ("a.local:80", 204), ("b.com", 403)],
)
async def test_a_question_without_a_foreign_origin_is_one_for_the_host(
    serving: Serving, host: str, status: int
) -> None:
    async with serving() as client:
        plain = await client.call("OPTIONS", "/api/chat", Host=host)
        own = await client.call("OPTIONS", "/api/chat", Host=host, Origin=f"https://{host}")
    assert (plain.status, own.status) == (status, status)
    assert plain.headers["Allow"] == own.headers["Allow"] == "POST"
    assert "Access-Control-Allow-Origin" not in own.headers
