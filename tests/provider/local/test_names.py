"""Where names lead: looked up in time, kept while a server proven there is used, and no longer."""

import asyncio
import socket
import ssl
import time
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patinox.provider.local.config import EndpointConfig, LocalProviderConfig, OllamaConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.endpoint import Endpoint, parse_endpoint
from patinox.provider.local.errors import ServiceUnavailable
from patinox.provider.local.probing import Place, look_at
from patinox.provider.local.registry import services
from patinox.provider.local.transport import Transport
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest
from patinox.testing import OllamaEmulator, OllamaModel

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixture `web_server`
NAME = "box.local"  # which Ollama itself lets in
GET = HTTPRequest(path="/")
KEY = "key-of-the-box"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="only Linux has all of 127.0.0.0/8"
)


class Resolver:
    """The name service of the machine, in our hands."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1"]
        self.asked = 0
        self.waits: asyncio.Event | None = None

    async def __call__(self, host: str, port: int, **how: Any) -> list[Any]:  # noqa: ANN401
        assert host == NAME, "what is no name is not looked up"
        self.asked += 1
        if self.waits:
            await self.waits.wait()
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, how["type"], 6, "", (at, port)) for at in self.addresses]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made, real = Resolver(), BaseEventLoop.getaddrinfo

    async def look_up(loop: BaseEventLoop, host: Any, port: Any, **how: Any) -> Any:  # noqa: ANN401
        return await (made(host, port, **how) if host == NAME else real(loop, host, port, **how))

    monkeypatch.setattr(BaseEventLoop, "getaddrinfo", look_up)
    return made


def at(port: int) -> Endpoint:
    return parse_endpoint(f"http://{NAME}:{port}", default_port=80)


def place(port: int) -> EndpointConfig:
    return EndpointConfig.parse(f"http://{NAME}:{port}", service="ollama")


def ollama(host: str, port: int = 0) -> OllamaEmulator:
    return OllamaEmulator(models=[OllamaModel(name="m:1b", reply=host)], host=host, port=port)


CHAT = CompletionRequest("m:1b", ["Where are you?"])


async def test_a_request_goes_where_the_server_has_proven_itself_wherever_the_name_leads_now(
    resolver: Resolver, config_for: ConfigFor
) -> None:
    async with (
        ollama("127.0.0.1") as proven,
        ollama("127.0.0.2", proven.port) as other,
        LocalProvider(config_for(place(proven.port))) as local,
    ):
        assert local.services[0].endpoint == f"http://{NAME}:{proven.port}"
        resolver.addresses = ["127.0.0.2"]
        assert (await local.complete(CHAT)).text == "127.0.0.1"
        assert other.requests == []
        assert {seen.headers["host"] for seen in proven.requests} == {f"{NAME}:{proven.port}"}


async def test_a_name_that_leads_elsewhere_after_a_failure_is_followed_once_that_is_proven(
    resolver: Resolver, config_for: ConfigFor
) -> None:
    async with (
        ollama("127.0.0.1") as first,
        ollama("127.0.0.2", first.port),
        LocalProvider(config_for(place(first.port))) as local,
    ):
        await local.complete(CHAT)
        resolver.addresses = ["127.0.0.2"]
        await first.stop()
        await local.discovery.watch.check("ollama")
        assert (await local.complete(CHAT)).text == "127.0.0.2"
        assert [info.id for info in local.services] == ["ollama"]


async def test_a_stranger_to_whom_a_name_leads_is_asked_for_nothing_and_shown_no_key(
    resolver: Resolver, config_for: ConfigFor, web_server: Serve
) -> None:
    key = OllamaConfig(api_key=Secret(KEY))
    async with ollama("127.0.0.1") as first:
        async with web_server(b"{}", host="127.0.0.2", port=first.port) as stranger:
            discovery = ServiceDiscovery(config_for(place(first.port), ollama=key))
            await discovery.discover_services()
            resolver.addresses = ["127.0.0.2"]
            await first.stop()
            await discovery.watch.check("ollama")
            await discovery.discover_services(fresh=True)
            (info,) = discovery.services
            assert info.status is ServiceStatus.UNAVAILABLE
            with pytest.raises(ServiceUnavailable):
                await discovery.provider("ollama").list_models()
            await discovery.aclose()
        assert stranger.requests
        assert not any(seen.headers.get("authorization") for seen in stranger.requests)
        assert "/api/tags" not in [seen.path for seen in stranger.requests]


async def test_where_a_name_leads_to_several_the_one_that_proves_itself_is_kept(
    resolver: Resolver, web_server: Serve
) -> None:
    async with (
        ollama("127.0.0.2") as box,
        ollama("127.0.0.3", box.port),
        web_server(b"", host="127.0.0.1", port=box.port),
    ):
        resolver.addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        transport, spec = Transport(), services()["ollama"]
        for before, kept in (("", "127.0.0.2"), ("127.0.0.3", "127.0.0.3")):
            finding = await look_at(
                Place(endpoint=at(box.port)),
                [spec],
                transport=transport,
                within=5,
                clock=time.monotonic,
                before=before,
            )
            assert finding.proof is not None
            assert finding.proof.endpoint.address == kept
            assert finding.place.endpoint == at(box.port)
        await transport.aclose()


async def test_a_name_that_nobody_knows_is_found_to_be_so(
    resolver: Resolver, config_for: ConfigFor
) -> None:
    resolver.addresses = []
    discovery = ServiceDiscovery(config_for(place(9)))
    assert await discovery.discover_services() == []
    (finding,) = discovery.findings
    assert finding.reason == f"{NAME}:9 could not be reached: Name or service not known."
    assert not finding.answered
    await discovery.aclose()


async def test_the_search_for_a_name_is_a_part_of_the_time_for_the_connection(
    resolver: Resolver,
) -> None:
    resolver.waits = asyncio.Event()
    transport, started = Transport(), time.monotonic()
    with pytest.raises(ServiceUnavailable, match="its name was not resolved in time") as caught:
        await transport.send(at(9), GET, within=20, connect=0.05)
    assert time.monotonic() - started < 3
    assert not caught.value.sent
    await transport.aclose()


async def test_a_name_is_looked_up_once_for_several_requests_in_a_row(
    resolver: Resolver, web_server: Serve
) -> None:
    async with web_server(b"here") as server:
        transport = Transport()
        for _ in range(3):
            reply = await transport.send(at(server.port), GET, within=5, connect=5)
            assert reply.body == b"here"
        assert resolver.asked == 1
        await transport.aclose()


async def test_a_certificate_is_asked_for_by_the_name_not_by_its_address() -> None:
    """The key in the file beside this one guards nothing: it was made for this test."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    asked = list[str | None]()
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    ) as server:
        port = server.sockets[0].getsockname()[1]
        transport = Transport()
        with pytest.raises(ServiceUnavailable, match="could not be trusted"):
            await transport.send(
                Endpoint("https", NAME, port, address="127.0.0.1"), GET, within=5, connect=5
            )
        await transport.aclose()
    assert asked == [NAME]
