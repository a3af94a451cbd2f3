"""The server under the emulators, over raw connections."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

import patinox.testing
from patinox.testing import EmulatedServer, Exchange, Seen


class Echo(EmulatedServer):
    """Answers with what it was asked."""

    name = "echo"
    default_headers: Mapping[str, str] = {"Server": "echo"}

    def __init__(self, *, port: int = 0, latency: float = 0, chunk_delay: float = 0) -> None:
        super().__init__(port=port, latency=latency, chunk_delay=chunk_delay)
        self.cancelled = 0
        self.send_failed = False

    async def handle(self, exchange: Exchange) -> None:
        handlers = {
            "/echo": self._echo,
            "/nothing": self._no_content,
            "/own-status": self._own_status,
            "/no-answer": self._no_answer,
            "/stream": self._stream,
            "/endless": self._endless,
            "/half": self._half,
            "/silence": self._silence,
            "/reset": self._reset,
        }
        await handlers[exchange.path](exchange)

    async def _echo(self, exchange: Exchange) -> None:
        said = f"{exchange.method} {exchange.query} ".encode() + exchange.body
        await exchange.reply(200, said, content_type="text/plain")

    async def _no_content(self, exchange: Exchange) -> None:
        await exchange.reply(204)

    async def _own_status(self, exchange: Exchange) -> None:
        await exchange.reply(499)

    async def _no_answer(self, exchange: Exchange) -> None:
        pass

    async def _stream(self, exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain", headers={"X-Kind": "parts"})
        for part in (b"one", b"", b"three"):
            await exchange.send(part)
        await exchange.finish()

    async def _endless(self, exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain")
        while True:
            await exchange.send(b"x")

    async def _half(self, exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain")
        raise LookupError(exchange.path)

    async def _silence(self, exchange: Exchange) -> None:
        assert not exchange.started
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _reset(self, exchange: Exchange) -> None:
        await exchange.start(200, content_type="text/plain")
        exchange.abort()
        try:
            await exchange.send(b"more")
        except ConnectionError:
            self.send_failed = True


@asynccontextmanager
async def connection(
    server: EmulatedServer,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchanged(server: EmulatedServer, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    async with connection(server) as (reader, writer):
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 5)


def get(path: str, *fields: str, method: str = "GET", body: str = "") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", body]).encode()


def post(*lines: str) -> bytes:
    """A request with these lines after its head, the last without an end."""
    return "\r\n".join(["POST / HTTP/1.1", "Host: x", *lines]).encode()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until a condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with Echo() as server:
        last = get("/echo?3", "Connection: close")
        answer = await exchanged(server, get("/echo?1") + get("/echo?2") + last)
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"GET 1 ", b"GET 2 ", b"GET 3 "]
    assert answer.count(b"Connection: close") == 1
    assert [seen.path for seen in server.requests] == ["/echo"] * 3


async def test_an_answer_has_the_default_headers_and_its_length() -> None:
    async with Echo() as server:
        answer = await exchanged(server, get("/echo", "Connection: close"))
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert {"Server: echo", "Content-Type: text/plain", "Content-Length: 5"} <= set(head)
    assert any(line.startswith("Date: ") and line.endswith(" GMT") for line in head)


async def test_head_is_answered_without_a_body_but_with_its_length() -> None:
    async with Echo() as server:
        request = get("/echo", method="HEAD") + get("/stream", method="HEAD")
        answer = await exchanged(server, request + get("/nothing", "Connection: close"))
    first, second, third, rest = answer.split(b"\r\n\r\n")
    assert b"Content-Length: 6" in first
    assert b"Transfer-Encoding: chunked" in second
    assert third.startswith(b"HTTP/1.1 204 No Content")
    assert b"Content-Length" not in third
    assert rest == b""


async def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    async with Echo() as server:
        answer = await exchanged(server, get("/stream") + get("/echo", "Connection: close"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"X-Kind: parts" in head
    assert rest.startswith(b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        (["Content-Length: 5"], "hello"),
        (["Transfer-Encoding: chunked"], "5;x=y\r\nhello\r\n0\r\nTrailer: t\r\n\r\n"),
        (["Transfer-Encoding: chunked"], "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunk-extension-and-trailer", "two-chunks"],
)
async def test_a_body_is_read_in_either_framing(fields: list[str], sent: str) -> None:
    async with Echo() as server:
        request = get("/echo", *fields, "Connection: close", method="POST", body=sent)
        answer = await exchanged(server, request)
    assert answer.endswith(b"POST  hello")
    assert server.requests[0].body == b"hello"


async def test_a_body_that_waits_for_leave_gets_it() -> None:
    async with Echo() as server, connection(server) as (reader, writer):
        writer.write(get("/echo", "Expect: 100-continue", "Content-Length: 2", method="POST"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await reader.readexactly(8) == b"POST  ok"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"G\x00T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nName : value\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400),
        (post("Content-Length: +5", "", "hello"), 400),
        (post("Content-Length: 5", "Content-Length: 6", "", "hello"), 400),
        (post("Content-Length: 9999999999999999", "", ""), 400),
        (post("Content-Length: 5", "Transfer-Encoding: chunked", "", "0", ""), 400),
        (post("Transfer-Encoding: gzip", "", ""), 400),
        (post("Transfer-Encoding: chunked", "", "-1", ""), 400),
        (post("Transfer-Encoding: chunked", "", "1", "ab", ""), 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000, 431),
    ],
    ids=range(16),
)
async def test_what_cannot_be_read_is_refused_and_the_connection_closed(
    request_bytes: bytes, status: int
) -> None:
    async with Echo() as server:
        answer = await exchanged(server, request_bytes)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in answer
    assert server.requests == []


async def test_a_request_without_a_host_is_told_so() -> None:
    async with Echo() as server:
        answer = await exchanged(server, b"GET /echo HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n400 Bad Request: missing required Host header")


async def test_http_1_0_needs_no_host_and_gets_no_chunks() -> None:
    async with Echo() as server:
        whole = await exchanged(server, b"GET /echo HTTP/1.0\r\n\r\n")
        streamed = await exchanged(server, b"GET /stream HTTP/1.0\r\n\r\n")
    assert whole.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"\r\nContent-Length: 5\r\n" in whole
    assert streamed.startswith(b"HTTP/1.0 200 OK\r\n")
    assert streamed.endswith(b"\r\n\r\nonethree")
    assert b"Transfer-Encoding" not in streamed


async def test_a_request_in_absolute_form_and_a_quoted_path_are_understood() -> None:
    async with Echo() as server:
        first = get("http://x/echo?a=1")
        answer = await exchanged(server, first + get("/%65cho?b=%20", "Connection: close"))
    assert b"GET a=1 " in answer
    assert b"GET b=%20 " in answer


@pytest.mark.parametrize("path", ["/silence", "/endless"])
async def test_a_client_that_leaves_before_the_end_is_counted(path: str) -> None:
    async with Echo() as server:
        async with connection(server) as (reader, writer):
            writer.write(get(path))
            await until(lambda: server.requests)
            if path == "/endless":
                await reader.readuntil(b"\r\n\r\n")
            assert server.open_connections == 1
        await until(lambda: server.client_gone)
        await until(lambda: not server.open_connections)
    assert server.client_gone == 1
    assert server.cancelled == (path == "/silence")


async def test_a_client_that_leaves_after_the_end_is_not_counted() -> None:
    async with Echo() as server:
        await exchanged(server, get("/stream", "Connection: close"))
        async with connection(server) as (reader, writer):
            writer.write(get("/echo"))
            await reader.readuntil(b"GET  ")
        await until(lambda: not server.open_connections)
    assert server.client_gone == 0


async def test_a_request_cut_short_is_not_a_request() -> None:
    async with Echo() as server, connection(server) as (_, writer):
        writer.write(get("/echo", "Content-Length: 10", method="POST", body="half"))
        writer.write_eof()
        await until(lambda: not server.open_connections)
    assert server.requests == []
    assert server.client_gone == 0


async def test_abort_resets_the_connection_and_sending_fails_from_then_on() -> None:
    async with Echo() as server, connection(server) as (reader, writer):
        writer.write(get("/reset"))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await until(lambda: server.send_failed)


async def test_a_handler_without_an_answer_closes_the_connection() -> None:
    async with Echo() as server:
        assert await exchanged(server, get("/no-answer")) == b""


async def test_a_handler_that_fails_is_reported_to_the_client_and_at_the_stop() -> None:
    server = Echo()
    await server.start()
    answer = await exchanged(server, get("/unknown", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    with pytest.raises(ExceptionGroup, match="echo emulator") as failed:
        await server.stop()
    assert failed.group_contains(LookupError, match="/unknown")
    await server.stop()


async def test_a_handler_that_fails_within_its_answer_resets_the_connection() -> None:
    server = Echo()
    await server.start()
    async with connection(server) as (reader, writer):
        writer.write(get("/half"))
        with pytest.raises(ConnectionResetError):
            await reader.read()
    with pytest.raises(ExceptionGroup):
        await server.stop()


async def test_a_status_that_has_no_name_is_sent_without_one() -> None:
    async with Echo() as server:
        answer = await exchanged(server, get("/own-status", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 499 \r\n")


async def test_faults_come_before_the_handler_until_one_has_answered() -> None:
    asked: list[str] = []

    async def look(exchange: Exchange) -> bool:
        asked.append(exchange.path)
        return False

    async def refuse(exchange: Exchange) -> bool:
        await exchange.reply(503)
        return True

    async with Echo() as server:
        server.faults += [look, refuse, look]
        assert (await exchanged(server, get("/unknown", "Connection: close"))).startswith(
            b"HTTP/1.1 503 Service Unavailable"
        )
        server.faults.remove(refuse)
        assert (await exchanged(server, get("/echo", "Connection: close"))).endswith(b"GET  ")
    assert asked == ["/unknown", "/echo", "/echo"]


async def test_stop_ends_idle_and_busy_connections_and_start_takes_the_same_port() -> None:
    server = Echo()
    async with server:
        port = server.port
        async with connection(server) as (idle, _), connection(server) as (busy, writer):
            writer.write(get("/silence"))
            await until(lambda: server.requests)
            with pytest.raises(RuntimeError, match="already running"):
                await server.start()
            await server.stop()
            assert await idle.read() == await busy.read() == b""
    assert (server.open_connections, server.client_gone, server.cancelled) == (0, 0, 1)
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection(server.host, port)
    async with server:
        assert server.port == port
        assert (await exchanged(server, get("/echo", "Connection: close"))).endswith(b"GET  ")


async def test_a_connection_made_just_before_the_stop_is_closed() -> None:
    server = Echo()
    await server.start()
    async with connection(server) as (reader, _):
        await server.stop()
        assert await reader.read() == b""


async def test_a_taken_port_is_refused() -> None:
    async with Echo() as server:
        with pytest.raises(OSError, match=str(server.port)):
            await Echo(port=server.port).start()


async def test_latency_and_the_delay_of_chunks_are_kept() -> None:
    async with Echo(latency=0.02, chunk_delay=0.01) as server:
        began = time.monotonic()
        await exchanged(server, get("/stream", "Connection: close"))
        assert time.monotonic() - began >= 0.04


def test_a_server_in_a_thread_answers_blocking_clients() -> None:
    with Echo().run_in_thread() as server:
        with urllib.request.urlopen(f"{server.url}/echo?q", data=b"hi") as reply:  # noqa: S310
            assert reply.read() == b"POST q hi"
        assert server.open_connections <= 1
    assert server.requests[0].method == "POST"


async def test_what_was_seen_is_there_for_assertions_and_hidden_from_repr() -> None:
    body = json.dumps({"key": "secret prompt"})
    fields = [
        "Authorization: Bearer sk-1",
        "Accept: a",
        "ACCEPT: b",
        f"Content-Length: {len(body)}",
    ]
    async with Echo() as server:
        request = get("/echo?q", *fields, "Connection: close", method="POST", body=body)
        await exchanged(server, request)
        assert repr(server) == f"<Echo {server.url} running, 1 requests>"
    (seen,) = server.requests
    assert seen.json == {"key": "secret prompt"}
    assert seen.headers["authorization"] == "Bearer sk-1"
    assert seen.headers["accept"] == "a, b"
    assert repr(seen) == "Seen(method='POST', path='/echo')"
    assert repr(server).endswith("stopped, 1 requests>")


def test_an_address_of_version_six_is_bracketed() -> None:
    assert EmulatedServer(host="::1", port=1).url == "http://[::1]:1"


def test_a_request_without_a_body_has_no_json() -> None:
    assert Seen("GET", "/", {}, b"").json is None


def test_a_plain_with_says_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match=r"with Echo\(\)\.run_in_thread\(\)"), Echo():
        pass


def test_the_package_lists_its_public_names_alone() -> None:
    assert dir(patinox.testing) == sorted(patinox.testing.__all__)
