"""JSON and event streams as Express, under LM Studio's server, puts them on the wire."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from patinox.testing.exchange import Exchange

EXPRESS_HEADERS = {
    "X-Powered-By": "Express",
    "Connection": "keep-alive",
    "Keep-Alive": "timeout=5",
}


async def reply_json(
    exchange: Exchange, value: object, *, status: int = 200, indent: int | None = None
) -> None:
    """Answer with JSON, compact or indented by `indent` blanks."""
    body = to_json(value, indent=indent).encode()
    await exchange.reply(status, body, headers={"ETag": etag(body)})


async def reply_syntax_error(exchange: Exchange, detail: str) -> None:
    """Answer as Express does when a body is not JSON and nobody deals with it."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n'
        f"</head>\n<body>\n<pre>SyntaxError: {detail}</pre>\n</body>\n</html>\n"
    )
    await exchange.reply(400, page.encode(), content_type="text/html; charset=utf-8")


async def start_events(exchange: Exchange) -> None:
    """Send the head of an event stream."""
    headers = {"Cache-Control": "no-cache"}
    await exchange.start(200, content_type="text/event-stream", headers=headers)


async def send_event(exchange: Exchange, value: object, *, name: str | None = None) -> None:
    """Send one event, with or without a name."""
    first = f"event: {name}\n" if name else ""
    await exchange.send(f"{first}data: {to_json(value)}\n\n".encode())


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write JSON as JavaScript does."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)


def etag(body: bytes) -> str:
    """Return the weak tag that Express makes: the length in hexadecimal, and 27 digits of SHA-1."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return f'W/"{len(body):x}-{base64.b64encode(digest).decode()[:27]}"'


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether this is a JSON array."""
    return isinstance(value, list)


def as_object(value: object) -> dict[str, object]:
    """Return a JSON object, or an empty one for anything else."""
    return value if is_object(value) else {}


def as_list(value: object) -> list[object]:
    """Return a JSON array, or an empty one for anything else."""
    return value if is_list(value) else []


def as_text(value: object) -> str:
    """Return a JSON string, or an empty one for anything else."""
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int | None:
    """Return a JSON integer, or `None` for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
