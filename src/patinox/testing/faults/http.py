"""Faults of section B: statuses and heads that mean trouble, and framing that is wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from email.utils import formatdate
from functools import cache

from patinox.testing.exchange import Exchange
from patinox.testing.faults.fault import ANSWERS, PAUSE, Catalogue
from patinox.testing.faults.good import JSON, Good, begin, good, head, send

HTTP = Catalogue("B")

_HTML = "text/html; charset=utf-8"
_PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
# What is sent of what never ends goes out in pieces of so many bytes.
_PIECE = 64 * 1024
_INTERIM = 500
_BOMB = 64 * 2**20
_PAST = 0


def error_body(kind: str, message: str, code: str | None = None) -> bytes:
    """Write an error as a kind of server does."""
    if kind == "ollama":
        return json.dumps({"error": message}).encode()
    return json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()


def spoken_by(exchange: Exchange) -> str:
    """Tell whose words a server uses: `ollama`, `lmstudio` or `llamacpp`."""
    return exchange.server.name


async def _refuse(
    exchange: Exchange, status: int, message: str, headers: Mapping[str, str] | None = None
) -> None:
    body = error_body(spoken_by(exchange), message)
    await exchange.reply(status, body, content_type=JSON, headers=headers)


@HTTP.request(21)
async def status_500(exchange: Exchange) -> None:
    """500 with an error in JSON."""
    await _refuse(exchange, 500, "something broke inside")


@HTTP.request(22)
async def html_502(exchange: Exchange) -> None:
    """502 with a page of HTML, from a proxy on the way."""
    await exchange.reply(502, _PAGE, content_type=_HTML)


@HTTP.request(23)
async def status_503_retry_after(exchange: Exchange) -> None:
    """503 with the wish to be asked again in a second."""
    await _refuse(exchange, 503, "server busy, please try again", {"Retry-After": "1"})


@HTTP.request(24)
async def model_loading(exchange: Exchange) -> None:
    """503 while the model is being loaded, as llama.cpp says it."""
    error = {"message": "Loading model", "type": "unavailable_error", "code": 503}
    body = json.dumps({"error": error}).encode()
    await exchange.reply(503, body, content_type=JSON)


@HTTP.request(25)
async def retry_after_huge(exchange: Exchange) -> None:
    """503 with the wish to be asked again in three hundred years."""
    await _refuse(exchange, 503, "server busy", {"Retry-After": "9999999999"})


@HTTP.request(25)
async def retry_after_garbage(exchange: Exchange) -> None:
    """503 with a wait that is negative and no number."""
    await _refuse(exchange, 503, "server busy", {"Retry-After": "-5 soon"})


@HTTP.request(25)
async def retry_after_date(exchange: Exchange) -> None:
    """503 with the date of a moment long past."""
    await _refuse(exchange, 503, "server busy", {"Retry-After": formatdate(_PAST, usegmt=True)})


@HTTP.request(26)
async def status_429(exchange: Exchange) -> None:
    """429."""
    await _refuse(exchange, 429, "too many requests")


@HTTP.request(27)
async def status_401(exchange: Exchange) -> None:
    """401 that names another host to be asked for a token."""
    realm = 'Bearer realm="http://169.254.169.254/token",service="ollama"'
    await _refuse(exchange, 401, "unauthorized", {"WWW-Authenticate": realm})


@HTTP.request(27)
async def status_403(exchange: Exchange) -> None:
    """403."""
    await _refuse(exchange, 403, "forbidden")


@HTTP.request(28, 110, calls=ANSWERS)
async def model_gone(exchange: Exchange) -> None:
    """The model was deleted since it was listed; on LM Studio a 400 where only the code tells."""
    kind = spoken_by(exchange)
    if kind == "lmstudio":
        body = error_body(kind, "Model not found", "model_not_found")
        await exchange.reply(400, body, content_type=JSON)
        return
    await exchange.reply(404, error_body(kind, "model 'gone:1b' not found"), content_type=JSON)


@HTTP.request(29, 104)
async def openai_only(exchange: Exchange) -> None:
    """Only what begins with /v1/ is there; all else is a 404."""
    if exchange.path.startswith("/v1/"):
        await send(exchange, await good(exchange))
    else:
        await exchange.reply(404, b"404 page not found", content_type="text/plain")


_OVERFLOWS = {
    "ollama": (400, error_body("ollama", "the input length exceeds the context length")),
    "lmstudio": (
        400,
        json.dumps(
            {
                "error": "Trying to keep the first 9000 tokens when context the overflows. "
                "However, the model is loaded with context length of only 4096 tokens"
            }
        ).encode(),
    ),
    "llamacpp": (
        400,
        json.dumps(
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9000,
                    "n_ctx": 4096,
                }
            }
        ).encode(),
    ),
}


@HTTP.request(30, calls=ANSWERS)
async def context_overflow(exchange: Exchange) -> None:
    """The prompt is too long, told in each server's own shape."""
    status, body = _OVERFLOWS[spoken_by(exchange)]
    await exchange.reply(status, body, content_type=JSON)


@HTTP.request(31, calls=ANSWERS)
async def early_413(exchange: Exchange) -> None:
    """413, and the connection closed."""
    await _refuse(exchange, 413, "request too large", {"Connection": "close"})


@HTTP.request(32, 164)
async def redirect_other_host(exchange: Exchange) -> None:
    """307 to another host name, at which every request would be seen as well."""
    port = exchange.server.port
    location = {"Location": f"http://localhost:{port}/canary{exchange.path}"}
    await exchange.reply(307, b"", content_type=None, headers=location)


@HTTP.request(33)
async def redirect_loop(exchange: Exchange) -> None:
    """302 to the very same path."""
    await exchange.reply(302, b"", content_type=None, headers={"Location": exchange.path})


@HTTP.request(34)
async def huge_header(exchange: Exchange) -> None:
    """A field of the head with a mebibyte of text."""
    await exchange.write(head("200 OK", "X-Long: " + "x" * 2**20, "Content-Length: 2") + b"{}")


@HTTP.request(34)
async def many_headers(exchange: Exchange) -> None:
    """A head of twenty thousand fields."""
    fields = (f"X-{number}: {number}" for number in range(20_000))
    await exchange.write(head("200 OK", *fields, "Content-Length: 2") + b"{}")


@HTTP.request(35)
async def slow_headers(exchange: Exchange) -> None:
    """A head that comes byte by byte and never ends."""
    await exchange.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await exchange.write(b"x")
        await asyncio.sleep(PAUSE / 2)


@HTTP.request(36)
async def informational_flood(exchange: Exchange) -> None:
    """Five hundred interim replies before the real one."""
    await exchange.write(b"HTTP/1.1 102 Processing\r\n\r\n" * _INTERIM)
    await _framed(exchange, await good(exchange))


@HTTP.request(36)
async def informational_few(exchange: Exchange) -> None:
    """A few interim replies before the real one, as is allowed."""
    await exchange.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 3)
    await _framed(exchange, await good(exchange))


@HTTP.request(37)
async def bad_status_line(exchange: Exchange) -> None:
    """A status that is no number."""
    await exchange.write(b"HTTP/1.1 OK 200\r\nContent-Length: 2\r\n\r\n{}")


@HTTP.request(37)
async def bad_header_line(exchange: Exchange) -> None:
    """A field without a colon, and one with a zero byte in its value."""
    await exchange.write(head("200 OK", "no colon here", "X: a\0b", "Content-Length: 2") + b"{}")


@HTTP.request(38)
async def chunked_bad_size(exchange: Exchange) -> None:
    """A chunk whose size is no number."""
    await exchange.write(head("200 OK", "Transfer-Encoding: chunked") + b"-5\r\n{}\r\n0\r\n\r\n")


@HTTP.request(38)
async def chunked_endless_extension(exchange: Exchange) -> None:
    """A chunk whose size is followed by an extension without an end."""
    await exchange.write(head("200 OK", "Transfer-Encoding: chunked") + b"2;x=")
    while True:
        await exchange.write(b"x" * _PIECE)


@HTTP.request(39, calls=("list", "chat", "embed", "probe"))
async def chunked_truncated(exchange: Exchange) -> None:
    """A body in chunks that ends in the middle of one, although what came is whole JSON."""
    body = (await good(exchange)).body
    start = b"%x\r\n" % (len(body) + 10)
    await exchange.write(head("200 OK", "Transfer-Encoding: chunked") + start + body)


@HTTP.request(40, calls=("list", "chat", "embed", "probe"))
async def length_too_long(exchange: Exchange) -> None:
    """A length of more than comes."""
    await _framed(exchange, await good(exchange), longer=10)


@HTTP.request(40, calls=("list", "chat", "embed"))
async def length_too_short(exchange: Exchange) -> None:
    """A length of less than comes: the rest is what the next answer begins with."""
    await _framed(exchange, await good(exchange), longer=-10)


@HTTP.request(41)
async def conflicting_length(exchange: Exchange) -> None:
    """Two lengths that contradict each other."""
    body = (await good(exchange)).body
    lengths = (f"Content-Length: {length}" for length in (len(body), len(body) - 1))
    await exchange.write(head("200 OK", "Content-Type: application/json", *lengths) + body)


@HTTP.request(41)
async def length_and_chunks(exchange: Exchange) -> None:
    """A length and chunks at once, as smugglers send it."""
    fields = ("Content-Length: 5", "Transfer-Encoding: chunked")
    await exchange.write(head("200 OK", *fields) + b"0\r\n\r\n{}")


@HTTP.request(42, calls=("probe", "list", "chat", "embed"))
async def unsolicited_response(exchange: Exchange) -> None:
    """A second answer right after the first, that nobody asked for."""
    answer = await good(exchange)
    second = head("200 OK", f"Content-Type: {JSON}", "Content-Length: 2") + b"{}"
    await exchange.write(_rendered(answer, more=_named(exchange)) + second)
    await exchange.hold()


@HTTP.request(43)
async def http10_eof(exchange: Exchange) -> None:
    """HTTP/1.0, whose body ends with the connection."""
    answer = await good(exchange)
    start = f"HTTP/1.0 {answer.status} OK\r\nContent-Type: {answer.kind}\r\n"
    named = "".join(f"{name}: {value}\r\n" for name, value in _named(exchange).items())
    await exchange.write((start + named + "\r\n").encode() + answer.body)


@HTTP.request(44)
async def gzip_bomb(exchange: Exchange) -> None:
    """A small body that swells to 64 MiB when it is unpacked."""
    await exchange.reply(200, _bomb(), headers={"Content-Encoding": "gzip"})


@cache
def _bomb() -> bytes:
    return gzip.compress(b"[" + b" " * _BOMB, compresslevel=9)


@HTTP.request(44)
async def gzip_unasked(exchange: Exchange) -> None:
    """A good body, compressed although nobody asked for it."""
    body = gzip.compress((await good(exchange)).body)
    await exchange.reply(200, body, headers={"Content-Encoding": "gzip"})


@HTTP.request(45)
async def gzip_lie(exchange: Exchange) -> None:
    """A good body that is said to be compressed and is not."""
    body = (await good(exchange)).body
    await exchange.reply(200, body, headers={"Content-Encoding": "gzip"})


@HTTP.request(46)
async def wrong_content_type(exchange: Exchange) -> None:
    """A good body of another type than it is said to be."""
    answer = await good(exchange)
    await exchange.start(answer.status, content_type="image/png", headers=answer.headers)
    for unit in answer.units:
        await exchange.send(unit)
    await exchange.finish()


@HTTP.request(47)
async def html_200(exchange: Exchange) -> None:
    """200 with a page of HTML: the captive portal of a hotel."""
    await exchange.reply(200, _PAGE, content_type=_HTML)


@HTTP.request(48)
async def error_body_200(exchange: Exchange) -> None:
    """200 whose body is an error."""
    await exchange.reply(200, error_body(spoken_by(exchange), "it broke"), content_type=JSON)


@HTTP.request(49)
async def empty_200(exchange: Exchange) -> None:
    """200 without a body."""
    await exchange.reply(200, b"", content_type=JSON)


@HTTP.request(49)
async def status_204(exchange: Exchange) -> None:
    """204."""
    await exchange.reply(204, b"", content_type=None)


@HTTP.request(51, calls=("stream",))
async def buffered(exchange: Exchange) -> None:
    """A proxy on the way keeps the stream until it is whole."""
    answer = await good(exchange)
    await asyncio.sleep(PAUSE)
    await begin(exchange, answer, answer.body)
    await exchange.finish()


async def _framed(exchange: Exchange, answer: Good, *, longer: int = 0) -> None:
    await exchange.write(_rendered(answer, longer=longer, more=_named(exchange)))


def _rendered(answer: Good, *, longer: int = 0, more: Mapping[str, str] | None = None) -> bytes:
    fields = {**(more or {}), "Content-Type": answer.kind}
    fields["Content-Length"] = str(len(answer.body) + longer)
    lines = (f"{name}: {value}" for name, value in fields.items())
    return head(f"{answer.status} OK", *lines) + answer.body


def _named(exchange: Exchange) -> dict[str, str]:
    """The fields by which a server makes itself known."""
    return {**exchange.server.default_headers}
