"""The one place that touches the network: what it never does, and what it says goes wrong."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
import threading
import time
import traceback
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local.connections import open_session, trust
from patinox.provider.local.endpoint import Endpoint, parse_endpoint
from patinox.provider.local.errors import (
    LocalResourcesExhausted,
    ParseError,
    ResponseTooLarge,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.health import counts_against
from patinox.provider.local.transport import StreamReply, Transport
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.secret import Secret
from patinox.testing import EmulatedServer, Exchange, OllamaEmulator
from patinox.testing.faults import FAULTS

Serve = Callable[..., Any]  # the fixtures `web_server` and `raw_server`
GET = HTTPRequest(path="/")
MAX_HELD = 2**20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def at(url: str) -> Endpoint:
    return parse_endpoint(url, default_port=80)


async def fetch(url: str, request: HTTPRequest = GET, **limits: Any) -> HTTPReply:  # noqa: ANN401
    transport = Transport()
    try:
        settings: dict[str, Any] = {"within": 5.0, "connect": 5.0, **limits}
        return await transport.send(at(url), request, **settings)
    finally:
        await transport.aclose()


def speaks(*parts: bytes) -> Callable[..., Any]:
    """Send these bytes after a request's head has come, then close."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


async def until_closed(server: EmulatedServer) -> bool:
    async with asyncio.timeout(1):
        while server.open_connections:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
    return True


# What it sends, and what it never does.


async def test_a_request_arrives_as_it_was_written(web_server: Serve) -> None:
    async with web_server(b"hello") as server:
        reply = await fetch(
            f"{server.url}/prefix", json_request("POST", "/x", {"a": 1}), api_key=Secret("k-1")
        )
        (seen,) = server.requests

    assert (reply.status, reply.body, reply.ok) == (200, b"hello", True)
    assert reply.headers["content-length"] == "5"
    assert (seen.method, seen.path, seen.json) == ("POST", "/prefix/x", {"a": 1})
    assert seen.headers["authorization"] == "Bearer k-1"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["user-agent"].startswith("patinox/")


async def test_a_request_without_a_key_or_a_body_has_neither_header(web_server: Serve) -> None:
    async with web_server(b"") as server:
        await fetch(server.url)
        (seen,) = server.requests
    assert not {"authorization", "content-type", "cookie"} & set(seen.headers)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://me:secret@127.0.0.1:9", "[odd"])
async def test_the_environment_is_no_way_to_another_address(
    proxy: str, web_server: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with web_server(b"here") as server:
        assert (await fetch(server.url)).body == b"here"
        assert "authorization" not in server.requests[0].headers


async def test_a_redirect_is_not_followed_and_a_cookie_not_kept(web_server: Serve) -> None:
    async def redirect(exchange: Exchange) -> None:
        headers = {"Location": "/elsewhere", "Set-Cookie": "track=me"}
        await exchange.reply(302, headers=headers)

    async with web_server(redirect) as server:
        transport = Transport()
        for _ in range(2):
            reply = await transport.send(at(server.url), GET, within=5, connect=5)
            assert (reply.status, reply.ok) == (302, False)
        await transport.aclose()
        assert [seen.path for seen in server.requests] == ["/", "/"]
        assert "cookie" not in server.requests[1].headers


async def test_compression_that_was_not_asked_for_is_refused(web_server: Serve) -> None:
    async def compressed(exchange: Exchange) -> None:
        await exchange.reply(200, b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    async with web_server(compressed) as server:
        with pytest.raises(ParseError, match="compressed reply"):
            await fetch(server.url)


# Connections.


async def test_connections_are_kept_between_whole_replies_and_closed_at_the_end(
    web_server: Serve,
) -> None:
    async with web_server(b"{}") as server:
        transport = Transport()
        for _ in range(3):
            await transport.send(at(server.url), GET, within=5, connect=5)
        assert server.open_connections == 1
        await asyncio.gather(
            *(transport.send(at(server.url), GET, within=5, connect=5) for _ in range(5))
        )
        assert 1 < server.open_connections <= 5
        await transport.aclose()
        await transport.aclose()
        assert await until_closed(server)


async def test_there_are_no_more_connections_than_the_pool_has(web_server: Serve) -> None:
    async with web_server(b"{}", latency=0.02) as server:
        transport = Transport(pool_size=2)
        await asyncio.gather(
            *(transport.send(at(server.url), GET, within=5, connect=5) for _ in range(6))
        )
        assert server.open_connections == 2
        await transport.aclose()


async def test_a_stream_has_a_connection_of_its_own_that_ends_with_it(raw_server: Serve) -> None:
    """llama.cpp closes the connection after a stream and does not say so."""
    connections = 0
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()

    async with raw_server(talk) as url:
        transport = Transport()
        for _ in range(20):
            with await transport.stream(at(url), GET, within=5, connect=5) as reply:
                whole = await reply.whole(within=5, phase="total")
            assert whole.body == b"hi"
        assert connections == 20
        await transport.aclose()


async def test_leaving_a_stream_hangs_up(web_server: Serve) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain")
        while True:
            await exchange.send(b"x")
            await asyncio.sleep(0.001)

    async with web_server(endless) as server:
        transport = Transport()
        with await transport.stream(at(server.url), GET, within=5, connect=5) as reply:
            assert reply.status == 200
            assert reply.headers["content-type"] == "text/plain"
            assert await reply.read(within=5, phase="idle")
        assert await until_closed(server)
        assert server.client_gone == 1
        await transport.aclose()


async def test_what_comes_after_the_end_is_not_waited_for(web_server: Serve) -> None:
    async def dawdling(exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain")
        await exchange.send(b"all")
        await asyncio.Event().wait()

    async with web_server(dawdling) as server:
        transport = Transport()
        started = time.monotonic()
        with await transport.stream(at(server.url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="idle") == b"all"
            await reply.drain(within=0.05)
        assert time.monotonic() - started < 3
        await transport.aclose()


async def test_it_belongs_to_the_loop_that_used_it_first(web_server: Serve) -> None:
    async with web_server(b"{}") as server:
        transport = Transport()
        await transport.send(at(server.url), GET, within=5, connect=5)

        def elsewhere() -> None:
            asyncio.run(transport.send(at(server.url), GET, within=5, connect=5))

        with pytest.raises(ProviderError, match="one per loop"):
            await asyncio.to_thread(elsewhere)
        await transport.aclose()


# What goes wrong.


async def test_nobody_listens(free_port: int) -> None:
    with pytest.raises(ServiceUnavailable, match="nothing listens there") as caught:
        await fetch(f"http://127.0.0.1:{free_port}")
    assert caught.value.refused
    assert caught.value.retryable


async def test_a_name_without_an_address() -> None:
    with pytest.raises(ServiceUnavailable, match=r"nowhere\.invalid:80 could not be reached"):
        await fetch("http://nowhere.invalid")


async def test_a_name_that_cannot_be_written_for_a_server_of_names() -> None:
    with pytest.raises(ServiceUnavailable, match="its name is none that could be") as caught:
        await Transport().look_up(Endpoint("http", "gpu.lan..", 80), within=5)
    assert not caught.value.sent


async def test_a_connection_that_is_not_accepted(swallower: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceTimeout, match="did not accept a connection in time") as caught:
        await fetch(swallower, connect=0.1)
    assert caught.value.phase == "connect"
    assert caught.value.retryable
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (b"", ServiceUnavailable, "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ServiceUnavailable, "does not speak HTTP as it should"),
        (b"\x15\x03\x01\x00\x02\r\n\r\n", ServiceUnavailable, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ServiceUnavailable, "does not speak"),
        (HEAD + b"par", ParseError, "broke before the reply was whole"),
    ],
    ids=["nothing", "ssh", "tls", "bad length", "half a body"],
)
async def test_what_is_no_reply(
    said: bytes, kind: type[ProviderError], message: str, raw_server: Serve
) -> None:
    async with raw_server(speaks(said)) as url:
        with pytest.raises(kind, match=message) as caught:
            await fetch(url)
        assert caught.value.retryable
        assert str(at(url).port) in caught.value.message


KEY = b"Bearer sk-0123456789 and a prompt"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        KEY + b"\r\n\r\n",
        b"HTTP/1.1 abc " + KEY + b"\r\n\r\n",
        b"HTTP/1.1 200 " + KEY * 300 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A\x00B: " + KEY + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + KEY * 300 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + KEY + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + KEY + b"\r\n",
        CHUNKED + KEY + b"\r\n",
    ],
    ids=["no status", "status", "reason", "name", "value", "length", "half a head", "chunk"],
)
async def test_what_a_server_repeats_in_broken_http_is_in_no_traceback(
    said: bytes, raw_server: Serve
) -> None:
    async with raw_server(speaks(said)) as url:
        with pytest.raises(ProviderError) as caught:
            await fetch(url)
    assert "sk-" not in "".join(traceback.format_exception(caught.value))


async def test_a_port_without_tls(raw_server: Serve) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(talk) as url:
        with pytest.raises(ServiceUnavailable, match="TLS") as caught:
            await fetch(url.replace("http:", "https:"))
        assert caught.value.hint == "Check the scheme, http or https."


async def test_a_body_larger_than_its_budget(web_server: Serve) -> None:
    async with web_server(b"x" * 1001) as server:
        assert len((await fetch(server.url, budget=1001)).body) == 1001
        with pytest.raises(ResponseTooLarge, match="more than 1,000 bytes"):
            await fetch(server.url, budget=1000)


@pytest.mark.parametrize("phase", ["listing", "total", "embed"])
async def test_a_reply_that_does_not_come_in_time(phase: str) -> None:
    async with OllamaEmulator(latency=5.0) as server:
        started = time.monotonic()
        with pytest.raises(ServiceTimeout) as caught:
            await fetch(server.url, within=0.1, phase=phase)
        assert (caught.value.phase, caught.value.seconds) == (phase, 0.1)
        assert caught.value.retryable is (phase != "total")
        assert time.monotonic() - started < 3


async def test_a_body_that_does_not_end_in_time(raw_server: Serve) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"par")
        await asyncio.Event().wait()

    async with raw_server(talk) as url:
        with pytest.raises(ServiceTimeout):
            await fetch(url, within=0.1)
        transport = Transport()
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="idle") == b"par"
            with pytest.raises(ServiceTimeout, match="fell silent") as caught:
                await reply.read(within=0.05, phase="idle")
        assert caught.value.phase == "idle"
        await transport.aclose()


async def test_a_stream_that_breaks_is_an_interruption(raw_server: Serve) -> None:
    async with raw_server(speaks(HEAD + b"par")) as url:
        transport = Transport()
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="idle") == b"par"
            with pytest.raises(StreamInterrupted, match="broke in the middle") as caught:
                await reply.read(within=5, phase="idle")
        assert caught.value.retryable
        await transport.aclose()


def in_two_parts(length: int, go_on: asyncio.Event) -> Callable[..., Any]:
    """Send "ab" of a body of this length, and later "cd"."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\nab" % length)
        await go_on.wait()
        writer.write(b"cd")

    return talk


@pytest.fixture
async def broken(raw_server: Serve) -> AsyncGenerator[StreamReply]:
    """A reply whose reader paused after "ab", while "cd" came and the connection ended early."""
    go_on = asyncio.Event()
    transport = Transport()
    async with raw_server(in_two_parts(9, go_on)) as url:
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="idle") == b"ab"
            go_on.set()
            while reply._body.exception() is None:  # noqa: ASYNC110, SLF001 - no event tells it
                await asyncio.sleep(0.001)
            yield reply
    await transport.aclose()


async def test_what_came_before_a_connection_broke_is_read_first(broken: StreamReply) -> None:
    assert await broken.read(within=5, phase="idle") == b"cd"
    for _ in range(2):
        with pytest.raises(StreamInterrupted):
            await broken.read(within=5, phase="idle")


async def test_what_came_before_a_connection_broke_is_within_the_budget(
    broken: StreamReply,
) -> None:
    with pytest.raises(ResponseTooLarge):
        await broken.whole(within=5, phase="idle", budget=1)
    with pytest.raises(ParseError, match="broke before the reply was whole"):
        await broken.whole(within=5, phase="idle")


async def test_a_limit_that_is_over_is_over_for_what_came_before_a_connection_broke(
    broken: StreamReply,
) -> None:
    with pytest.raises(ServiceTimeout):
        await broken.read(within=0, phase="total")


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_a_reply_that_is_abandoned_ends_at_once(broken: StreamReply, breaks: str) -> None:
    error = broken._body.exception()  # noqa: SLF001 - what the HTTP client puts there
    assert error is not None
    broken.abandon()
    if breaks == "after":
        broken._body.set_exception(error)  # noqa: SLF001
    with pytest.raises(ProviderClosed):
        await broken.read(within=5, phase="idle")


# What is taken for no reply, although the HTTP client would go on with it.


def pours(start: bytes, piece: bytes) -> Callable[..., Any]:
    """Send a beginning, and then for ever the same."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()

    return talk


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (OK + b"X: ", b"x" * 1000),
        (OK, b"X: y\r\n" * 200),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"", b"\r\n" * 1000),
    ],
    ids=["endless field", "endless fields", "endless interim replies", "endless blank lines"],
)
async def test_a_head_without_an_end_is_refused(
    start: bytes, piece: bytes, raw_server: Serve
) -> None:
    async with raw_server(pours(start, piece)) as url:
        with pytest.raises(ServiceUnavailable, match="does not speak HTTP as it should"):
            await fetch(url, within=20.0)


async def test_endless_framing_of_a_body_is_refused(raw_server: Serve) -> None:
    start = OK + b"Transfer-Encoding: chunked\r\n\r\n2;x="
    async with raw_server(pours(start, b"x" * 1000)) as url:
        with pytest.raises(ParseError, match="broke before the reply was whole"):
            await fetch(url, within=20.0)


async def test_a_body_in_chunks_of_a_byte_is_no_endless_framing(raw_server: Serve) -> None:
    body = b"1\r\nx\r\n" * 50_000
    start = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    async with raw_server(speaks(start + body + b"0\r\n\r\n")) as url:
        assert (await fetch(url)).body == b"x" * 50_000


@pytest.mark.parametrize(("interim", "refused"), [(16, False), (17, True)])
async def test_so_many_interim_replies_are_passed_over(
    interim: int, raw_server: Serve, *, refused: bool
) -> None:
    said = b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + HEAD + b"hello"
    async with raw_server(speaks(said)) as url:
        if refused:
            with pytest.raises(ServiceUnavailable, match="too many interim replies"):
                await fetch(url)
        else:
            assert (await fetch(url)).body == b"hello"


async def test_a_head_that_trickles_is_not_waited_for(
    raw_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "patinox.provider.local.connections.open_session",
        partial(open_session, head_seconds=0.1),
    )

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)  # before its first byte a head has all the time there is
        writer.write(OK + b"X: ")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with raw_server(talk) as url:
        with pytest.raises(ServiceTimeout, match="began to answer and did not go on") as caught:
            await fetch(url, within=20.0)
        assert (caught.value.phase, caught.value.seconds) == ("headers", 10.0)
        assert caught.value.retryable


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted() -> None:
    """The key in the file beside this one guards nothing: it was made for this test."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    asked = 0

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ServiceUnavailable, match="could not be trusted") as caught:
            await fetch(f"https://127.0.0.1:{port}", api_key=Secret("k-1"))
    assert caught.value.hint == "Check the scheme, http or https."
    assert asked == 0


def test_whom_the_machine_trusts_is_trusted_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    usual = ssl.create_default_context()
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("self_signed.pem")))
    trust.cache_clear()
    ours = trust()
    assert ours.cert_store_stats() == usual.cert_store_stats()
    assert ours.cert_store_stats() != ssl.create_default_context().cert_store_stats()
    assert (ours.verify_mode, ours.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_a_port_that_speaks_tls_is_told_with_what_to_write(raw_server: Serve) -> None:
    async with raw_server(speaks(bytes.fromhex("15030300020246"))) as url:
        with pytest.raises(ServiceUnavailable, match="it speaks TLS") as caught:
            await fetch(url)
        assert caught.value.hint == "Write its address with https://."


async def test_a_reply_before_the_request_was_read_is_heard(raw_server: Serve) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await writer.drain()
        while await reader.read(65536):
            pass

    request = json_request("POST", "/", {"prompt": "x" * 8_000_000})
    async with raw_server(talk) as url:
        reply = await fetch(url, request)
    assert (reply.status, reply.body) == (413, b"no!")


# Once more.


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (GET, 2),
        (json_request("POST", "/", {}, pure=True), 2),
        (json_request("POST", "/", {}), 1),
        (HTTPRequest(method="DELETE", path="/"), 1),
    ],
    ids=["get", "pure", "post", "delete"],
)
@pytest.mark.parametrize("fault", ["close_after_request", "reset_after_request"])
async def test_only_what_changes_nothing_is_sent_once_more_and_no_more(
    fault: str, request_: HTTPRequest, sent: int, web_server: Serve
) -> None:
    async with web_server(b"here") as server:
        FAULTS[fault].install(server, calls=["probe"])
        with pytest.raises(ServiceUnavailable, match="closed the connection without an answer"):
            await fetch(server.url, request_)
        assert len(server.requests) == sent


async def test_a_kept_connection_that_died_is_replaced_unseen(web_server: Serve) -> None:
    async with web_server(b"here") as server:
        transport = Transport()
        for _ in range(5):
            FAULTS["stale_keepalive"].install(server, times=1, calls=["probe"])
            reply = await transport.send(at(server.url), GET, within=5, connect=5)
            assert reply.body == b"here"
        await transport.aclose()


async def test_where_several_kept_connections_died_a_new_one_is_made(raw_server: Serve) -> None:
    together = asyncio.Barrier(3)
    first = True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if first:
            await together.wait()
        writer.write(OK + b"Content-Length: 4\r\n\r\nhere")
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")  # another request is what it cannot bear
        writer.transport.abort()

    async with raw_server(talk) as url:
        transport = Transport()
        await asyncio.gather(*(transport.send(at(url), GET, within=5, connect=5) for _ in range(3)))
        first = False
        reply = await transport.send(at(url), GET, within=5, connect=5)
        assert reply.body == b"here"
        await transport.aclose()


async def test_a_reply_that_nobody_asked_for_is_given_to_nobody(web_server: Serve) -> None:
    async with web_server(b"here") as server:
        transport = Transport()
        FAULTS["unsolicited_response"].install(server, times=1, calls=["probe"])
        for _ in range(3):
            reply = await transport.send(at(server.url), GET, within=5, connect=5)
            assert reply.body == b"here"
        await transport.aclose()


async def test_half_a_head_is_not_asked_for_again(raw_server: Serve) -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"X: y")
        await writer.drain()

    async with raw_server(talk) as url:
        with pytest.raises(ServiceUnavailable):
            await fetch(url)
    assert asked == 1


# What is nobody's fault.


async def test_a_process_without_descriptors_blames_no_server(web_server: Serve) -> None:
    async with web_server(b"here") as server:
        await fetch(server.url)  # whatever is opened only once is open then
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = [os.dup(0)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, most))
        try:
            with pytest.raises(LocalResourcesExhausted, match="one more connection") as caught:
                await fetch(server.url)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, kept)
            for descriptor in taken:
                os.close(descriptor)
        assert not caught.value.retryable
        assert not counts_against(caught.value)
        assert caught.value.hint
        assert (await fetch(server.url)).body == b"here"


async def test_a_timeout_of_the_callers_own_stays_his(web_server: Serve) -> None:
    async with web_server(b"{}", latency=5.0) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await fetch(server.url)
        assert await until_closed(server)


async def test_what_is_closed_is_not_opened_again(web_server: Serve) -> None:
    async with web_server(b"") as server:
        transport = Transport()
        await transport.send(at(server.url), GET, within=5, connect=5)
        await transport.aclose()
        with pytest.raises(ProviderError, match="closed"):
            await transport.send(at(server.url), GET, within=5, connect=5)
        assert len(server.requests) == 1


async def test_a_reply_that_begins_while_all_is_closed_is_told_to_be_over(
    web_server: Serve,
) -> None:
    begin = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await begin.wait()
        await exchange.start(200, content_type="text/plain")
        await exchange.hold()

    async with web_server(answer) as server:
        transport = Transport()
        asked = asyncio.create_task(transport.stream(at(server.url), GET, within=5, connect=5))
        while not server.requests:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        transport.hang_up()
        begin.set()
        with await asked as reply, pytest.raises(ProviderClosed):
            await reply.read(within=5, phase="idle")
        await transport.aclose()


@pytest.mark.parametrize(("cancelled", "told"), [(False, ProviderClosed), (True, CancelledError)])
async def test_who_waits_for_a_connection_while_all_is_closed_is_told_so_unless_he_was_cancelled(
    web_server: Serve,
    *,
    cancelled: bool,
    told: type[BaseException],
) -> None:
    async with web_server(Exchange.hold) as server:
        transport = Transport(pool_size=1)
        first, second = (
            asyncio.create_task(transport.send(at(server.url), GET, within=5, connect=5))
            for _ in range(2)
        )
        while not server.requests:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        transport.hang_up()
        if cancelled:
            second.cancel()
        await transport.aclose()
        with pytest.raises(ProviderClosed):
            await first
        with pytest.raises(told):
            await second
        assert second.cancelled() is cancelled


async def test_a_connection_that_ended_unseen_is_not_used_again() -> None:
    served = threading.Semaphore(0)

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")
            served.release()

    transport = Transport()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        for _ in range(2):
            post = HTTPRequest(method="POST", path="/", body=b"{}")
            assert (await transport.send(at(url), post, within=5, connect=5)).body == b"ok"
            assert served.acquire(timeout=5)  # the loop stands still meanwhile and sees no end
        thread.join()
    await transport.aclose()


async def test_a_shorter_wait_after_a_longer_one_is_not_made_longer(raw_server: Serve) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 4\r\n\r\nab")
        await reader.read()

    transport = Transport()
    async with raw_server(talk) as url:
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=60, phase="first_token") == b"ab"
            with pytest.raises(ServiceTimeout, match="fell silent") as caught:
                await reply.read(within=0.01, phase="idle")
        assert (caught.value.phase, caught.value.seconds) == ("idle", 0.01)
    await transport.aclose()


async def test_of_a_flood_that_nobody_reads_little_is_held_and_no_limit_runs(
    raw_server: Serve,
) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    transport = Transport()
    async with raw_server(talk) as url:
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=0.2, phase="first_token")
            before = -1
            while sent > before:  # until the server can send no more
                before = sent
                await asyncio.sleep(0.3)
            assert reply._body.total_bytes <= MAX_HELD  # noqa: SLF001 - it is to be seen only there
            assert len(await reply.read(within=0.2, phase="idle")) <= MAX_HELD
            assert await reply.read(within=5, phase="idle")
    await transport.aclose()


async def test_a_limit_that_is_over_ends_what_comes_for_ever(raw_server: Serve) -> None:
    start = OK + b"Content-Length: 1000000000\r\n\r\n"
    transport = Transport()
    async with raw_server(pours(start, b"x" * 1000)) as url:
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="first_token")
            with pytest.raises(ServiceTimeout) as caught:
                await reply.read(within=0.0, phase="total")
    assert caught.value.phase == "total"
    await transport.aclose()


async def test_a_pause_between_two_waits_is_nobodys_delay(raw_server: Serve) -> None:
    go_on = asyncio.Event()
    transport = Transport()
    async with raw_server(in_two_parts(4, go_on)) as url:
        with await transport.stream(at(url), GET, within=5, connect=5) as reply:
            assert await reply.read(within=5, phase="first_token") == b"ab"
            reply._limit.start(0.01)  # noqa: SLF001 - a wait that ends before it is late
            reply._limit.stop()  # noqa: SLF001
            late = asyncio.Event()
            asyncio.get_running_loop().call_later(0.02, late.set)
            await late.wait()
            go_on.set()
            assert await reply.read(within=5, phase="idle") == b"cd"
            assert await reply.read(within=5, phase="idle") == b""
    await transport.aclose()


async def test_a_connection_from_before_a_sleep_is_not_used_again(
    web_server: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport()
    async with web_server(b"here") as server:
        for asleep, connections in ((0.0, 1), (3.0, 1), (3600.0, 2), (3600.0, 2)):
            monkeypatch.setattr("patinox.provider.local.connections.slept", lambda now=asleep: now)
            await transport.send(at(server.url), GET, within=5, connect=5)
            assert server.connections == connections
        await transport.aclose()
