"""Who is found, how fast, and how what is known of a service follows what happens to it."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
from msgspec.structs import replace

from patinox.embedded import Engine, demo_model
from patinox.provider.errors import ProviderError
from patinox.provider.local import discovery as discovery_module
from patinox.provider.local.config import (
    DiscoveryConfig,
    EndpointConfig,
    HealthCheckConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
    ServiceConfig,
)
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.endpoint import parse_endpoint
from patinox.provider.local.errors import InvalidConfiguration, ServiceError, ServiceUnavailable
from patinox.provider.local.probing import Place, look_at
from patinox.provider.local.registry import services
from patinox.provider.local.transport import Transport
from patinox.provider.local.types import ServiceStatus, ServiceType
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest
from patinox.testing import EmulatedServer, Exchange, LMStudioEmulator, OllamaEmulator

ConfigFor = Callable[..., LocalProviderConfig]
Serve = Callable[..., Any]  # the fixtures `web_server` and `raw_server`
DEMO = demo_model()
KEY = "sk-lm-Ab3dEf9h:0123456789abcdefghij"
NO_IPV6 = "this machine has no ::1"


class Clock(Protocol):
    """The fixture `clock`."""

    now: float

    def __call__(self) -> float: ...

    def passes(self, seconds: float) -> None: ...


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason=NO_IPV6)


@pytest.fixture
def move_defaults(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have services listen elsewhere by default: a test must not look at this machine's own."""

    def move(**endpoints: tuple[str, ...]) -> None:
        moved = {
            name: replace(spec, default_endpoints=endpoints.get(name, ()))
            for name, spec in services().items()
        }
        monkeypatch.setattr(discovery_module, "services", lambda: moved)
        monkeypatch.setattr(discovery_module, "service", moved.__getitem__)

    return move


def stumbles(discovery: ServiceDiscovery, name: str) -> None:
    """Have a request fail."""
    ticket = discovery.watch.begin(name, limit=1)
    discovery.watch.ended(ticket, ServiceError("it stumbled"))


def paths(server: EmulatedServer) -> list[tuple[str, str]]:
    return sorted((seen.method, seen.path) for seen in server.requests)


# Together, not one after the other.


async def test_all_addresses_are_looked_at_at_once(config_for: ConfigFor) -> None:
    everybody = asyncio.Event()
    asked = set[int]()

    async def wait_for_the_others(exchange: Exchange) -> bool:
        asked.add(int(exchange.headers["host"].rpartition(":")[2]))
        if len(asked) == 6:
            everybody.set()
        await everybody.wait()
        return False

    async with AsyncExitStack() as stack:
        servers: list[EmulatedServer] = [OllamaEmulator(models=()) for _ in range(3)]
        servers += [LMStudioEmulator(()) for _ in range(3)]
        for server in servers:
            await stack.enter_async_context(server)
            server.faults.append(wait_for_the_others)
        discovery = ServiceDiscovery(config_for(*servers))
        stack.push_async_callback(discovery.aclose)
        # If one were asked after another, none would ever answer.
        assert await discovery.discover_services() == ["ollama", "lmstudio"]
        assert len(discovery.services) == 6


@pytest.mark.slow
async def test_addresses_that_swallow_packets_cost_no_more_than_the_limit(
    swallower: str, raw_server: Serve, config_for: ConfigFor
) -> None:
    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    async with raw_server(silent) as first, raw_server(silent) as second:
        await Transport.prepare()
        usual = {"discovery_timeout": DiscoveryConfig().discovery_timeout}
        discovery = ServiceDiscovery(config_for(swallower, first, second, discovery=usual))
        started = time.monotonic()
        assert await discovery.discover_services() == []
        seconds = time.monotonic() - started

        assert seconds < 2.2
        reasons = [finding.reason for finding in discovery.findings]
        assert [finding.answered for finding in discovery.findings] == [False] * 3
        assert "did not accept a connection" in reasons[0]
        assert all("did not answer in time" in reason for reason in reasons[1:])
        await discovery.aclose()


async def test_a_dead_address_does_not_hold_up_a_living_one(
    swallower: str, free_port: int, config_for: ConfigFor
) -> None:
    async with OllamaEmulator() as ollama:
        config = config_for(
            ollama, swallower, f"127.0.0.1:{free_port}", discovery={"discovery_timeout": 1.5}
        )
        discovery = ServiceDiscovery(config)
        assert await discovery.discover_services() == ["ollama"]
        assert [finding.proof is not None for finding in discovery.findings] == [True, False, False]
        assert "nothing listens there" in discovery.findings[2].reason
        await discovery.aclose()


async def test_all_who_ask_at_once_share_one_look(config_for: ConfigFor) -> None:
    async with OllamaEmulator(latency=0.02) as ollama:
        alone = ServiceDiscovery(config_for(ollama))
        await alone.discover_services()
        once = paths(ollama)
        ollama.requests.clear()
        shared = ServiceDiscovery(config_for(ollama))
        found = await asyncio.gather(*(shared.discover_services(fresh=True) for _ in range(10)))

        assert found == [["ollama"]] * 10
        assert paths(ollama) == once
        await alone.aclose()
        await shared.aclose()


async def test_one_who_is_cancelled_does_not_take_the_look_from_the_others(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(latency=0.05) as ollama:
        discovery = ServiceDiscovery(config_for(ollama))
        impatient = asyncio.create_task(discovery.discover_services())
        patient = asyncio.create_task(discovery.discover_services())
        while not ollama.requests:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
        impatient.cancel()

        assert await patient == ["ollama"]
        assert impatient.cancelled()
        await discovery.aclose()


async def test_closing_stops_a_look_that_is_under_way(swallower: str) -> None:
    config = LocalProviderConfig(auto_discover=False, endpoints=(EndpointConfig.parse(swallower),))
    discovery = ServiceDiscovery(config)
    looking = asyncio.create_task(discovery.discover_services())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await discovery.aclose()
    with pytest.raises(ProviderError, match="closed while it was being asked"):
        await looking


async def test_a_young_result_is_kept_until_it_is_old_or_a_fresh_one_is_asked_for(
    config_for: ConfigFor, clock: Clock
) -> None:
    async with OllamaEmulator() as ollama:
        kept = {"cache_enabled": True, "cache_ttl": 5.0}
        discovery = ServiceDiscovery(config_for(ollama, discovery=kept), clock=clock)
        await discovery.discover_services()
        looked = len(ollama.requests)

        clock.passes(4.9)
        await discovery.discover_services()
        assert len(ollama.requests) == looked
        await discovery.discover_services(fresh=True)
        assert len(ollama.requests) == 2 * looked
        clock.passes(5.0)
        await discovery.discover_services()
        assert len(ollama.requests) == 3 * looked
        await discovery.aclose()


# Both families of addresses.


@ipv6
async def test_a_server_on_both_families_is_one_service(move_defaults: Callable[..., None]) -> None:
    async with OllamaEmulator() as four, OllamaEmulator(host="::1", port=four.port):
        move_defaults(ollama=(f"http://localhost:{four.port}",))
        discovery = ServiceDiscovery(LocalProviderConfig(monitor=False))
        await discovery.discover_services()

        assert [info.id for info in discovery.services] == ["ollama"]
        assert discovery.services[0].endpoint == four.url
        assert len(discovery.findings) == 2
        assert all(finding.proof for finding in discovery.findings)
        await discovery.aclose()


@ipv6
async def test_a_server_on_ipv6_alone_is_found(move_defaults: Callable[..., None]) -> None:
    async with LMStudioEmulator(host="::1") as studio:
        move_defaults(lmstudio=(f"http://localhost:{studio.port}",))
        discovery = ServiceDiscovery(LocalProviderConfig(monitor=False))

        assert await discovery.discover_services() == ["lmstudio"]
        assert discovery.services[0].endpoint == studio.url
        await discovery.aclose()


async def test_an_address_of_ones_own_replaces_the_usual_ones_of_that_service(
    move_defaults: Callable[..., None],
) -> None:
    async with OllamaEmulator() as usual, OllamaEmulator() as own, LMStudioEmulator() as studio:
        move_defaults(ollama=(usual.url,), lmstudio=(studio.url,))
        given = EndpointConfig.parse(own.url, service="ollama", setting="OLLAMA_ENDPOINT")
        discovery = ServiceDiscovery(LocalProviderConfig(endpoints=(given,), monitor=False))
        await discovery.discover_services()

        assert {info.id: info.endpoint for info in discovery.services} == {
            "ollama": own.url,
            "lmstudio": studio.url,
        }
        assert not usual.requests
        by_url = {str(finding.place.endpoint): finding.place for finding in discovery.findings}
        assert by_url[own.url].configured
        assert not by_url[studio.url].configured
        await discovery.aclose()


async def test_only_enabled_services_are_looked_for(move_defaults: Callable[..., None]) -> None:
    async with OllamaEmulator() as ollama, LMStudioEmulator() as studio:
        move_defaults(ollama=(ollama.url,), lmstudio=(studio.url,))
        enabled = LocalProviderConfig().discovery_config
        config = LocalProviderConfig(
            discovery_config=replace(enabled, enabled_services=("ollama",)), monitor=False
        )
        discovery = ServiceDiscovery(config)
        assert await discovery.discover_services() == ["ollama"]
        assert not studio.requests
        await discovery.aclose()


async def test_a_service_that_is_not_known_is_a_mistake_in_the_settings(
    config_for: ConfigFor,
) -> None:
    wrong = {"enabled_services": ("ollama", "olama")}
    discovery = ServiceDiscovery(config_for(discovery=wrong))
    with pytest.raises(InvalidConfiguration, match="'olama' is not known; allowed: ollama"):
        await discovery.discover_services()
    await discovery.aclose()

    unknown = EndpointConfig.parse("127.0.0.1:9", service="vllm")
    discovery = ServiceDiscovery(config_for(unknown))
    with pytest.raises(InvalidConfiguration, match="'vllm' is not known"):
        await discovery.discover_services()
    await discovery.aclose()


# Who it is, and what it is called.


async def test_ollama_where_lm_studio_should_be_is_reported_as_ollama_there(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator() as ollama:
        there = EndpointConfig.parse(ollama.url, service="lmstudio")
        discovery = ServiceDiscovery(config_for(there))

        assert await discovery.discover_services() == [ServiceType.OLLAMA]
        assert discovery.services[0].endpoint == ollama.url
        (finding,) = discovery.findings
        assert finding.reason == "proved to be Ollama, where lmstudio was expected"
        await discovery.aclose()


async def test_ids_are_stable_and_a_second_of_a_kind_bears_its_address(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator() as one, OllamaEmulator() as two, LMStudioEmulator() as three:
        first, second = sorted((one, two), key=lambda server: server.url)
        discovery = ServiceDiscovery(config_for(three, second, first))
        await discovery.discover_services()
        expected = ["ollama", f"ollama@127.0.0.1:{second.port}", "lmstudio"]

        assert [info.id for info in discovery.services] == expected
        assert discovery.available_services() == ["ollama", "lmstudio"]
        assert discovery.get_service_info("ollama") is discovery.services[0]
        assert discovery.get_service_info("llamacpp") is None
        await first.stop()
        await discovery.discover_services()
        assert [info.id for info in discovery.services if info.status.routable] == expected[1:]
        by_type = discovery.get_service_info("ollama")
        assert by_type is not None
        assert by_type.status is ServiceStatus.UNAVAILABLE
        await first.start()
        await discovery.discover_services()
        assert sorted(info.id for info in discovery.services) == sorted(expected)
        assert {info.status for info in discovery.services} == {ServiceStatus.AVAILABLE}
        await discovery.aclose()


CLAIMS: dict[str, dict[str, str]] = {
    "a name": {"name": "ollama"},
    "the setting of the kind": {"service": "ollama", "setting": "OLLAMA_ENDPOINT"},
    "where the kind usually is": {},
}


@pytest.mark.parametrize("smaller", [0, 1])
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
async def test_the_plain_id_goes_by_what_was_meant_and_not_by_the_address(
    move_defaults: Callable[..., None], claim: dict[str, str], smaller: int
) -> None:
    async with OllamaEmulator() as one, OllamaEmulator() as two:
        servers = sorted((one, two), key=lambda server: server.url)
        plain, other = servers[smaller], servers[1 - smaller]
        move_defaults(ollama=() if claim else (plain.url,))
        given = [EndpointConfig.parse(other.url, setting="LOCAL_ENDPOINT")]
        if claim:
            given.append(EndpointConfig.parse(plain.url, **claim))
        config = LocalProviderConfig(endpoints=tuple(given), monitor=False)
        discovery = ServiceDiscovery(config)
        await discovery.discover_services()

        assert {info.id: info.endpoint for info in discovery.services} == {
            "ollama": plain.url,
            f"ollama@127.0.0.1:{other.port}": other.url,
        }
        await discovery.aclose()


async def test_a_name_wins_over_the_setting_of_the_kind(config_for: ConfigFor) -> None:
    async with OllamaEmulator() as one, OllamaEmulator() as two:
        for named, set_ in ((one, two), (two, one)):
            places = (
                EndpointConfig.parse(set_.url, service="ollama", setting="OLLAMA_ENDPOINT"),
                EndpointConfig.parse(named.url, name="ollama"),
            )
            discovery = ServiceDiscovery(config_for(*places))
            await discovery.discover_services()
            assert discovery.provider("ollama").address == named.url
            await discovery.aclose()


async def test_of_two_spellings_of_an_address_the_first_that_was_given_counts(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator() as ollama:
        both = (
            EndpointConfig.parse(f"localhost:{ollama.port}", service="ollama", setting="first"),
            EndpointConfig.parse(ollama.url, setting="second"),
        )
        discovery = ServiceDiscovery(config_for(*both))
        await discovery.discover_services()
        (found,) = (finding for finding in discovery.findings if finding.proof)
        assert (found.place.setting, found.place.expected) == ("first", "ollama")
        await discovery.aclose()


async def test_a_name_of_ones_own_is_the_id(config_for: ConfigFor) -> None:
    async with OllamaEmulator() as ollama:
        named = EndpointConfig.parse(ollama.url, service="ollama", name="workstation")
        discovery = ServiceDiscovery(config_for(named))
        await discovery.discover_services()

        assert [info.id for info in discovery.services] == ["workstation"]
        info = discovery.get_service_info("workstation")
        assert info is discovery.get_service_info("ollama") is not None
        assert discovery.known("workstation") is discovery.all_known()[0]
        await discovery.aclose()


async def test_versions_are_told_or_inferred_and_marked_or_unknown(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator(version="0.24.1") as told,
        LMStudioEmulator(version="0.4.25") as told_too,
        LMStudioEmulator(lms_status=False) as newer,
        LMStudioEmulator(generation="0.3") as older,
        await Engine.start(DEMO, context_length=512) as engine,
    ):
        key = ServiceConfig(api_key=Secret(engine.api_key))
        servers = (told, told_too, newer, older, engine.url)
        discovery = ServiceDiscovery(config_for(*servers, llamacpp=key))
        await discovery.discover_services()

        by_url = {
            info.endpoint: (info.version, info.version_inferred) for info in discovery.services
        }
        assert by_url == {
            told.url: ("0.24.1", False),
            told_too.url: ("0.4.25", False),
            newer.url: ("0.4.x", True),
            older.url: ("0.3.x", True),
            engine.url: (None, False),  # this build says that it is number 0
        }
        await discovery.aclose()


async def test_no_look_loads_a_model_or_changes_anything(config_for: ConfigFor) -> None:
    async with (
        OllamaEmulator() as ollama,
        LMStudioEmulator() as studio,
        LMStudioEmulator(generation="0.3") as older,
    ):
        loaded = (studio.loaded, older.loaded)
        discovery = ServiceDiscovery(config_for(ollama, studio, older))
        await discovery.discover_services()
        await discovery.discover_services(fresh=True)

        assert len(discovery.services) == 3
        for server in (ollama, studio, older):
            assert server.requests
            assert {seen.method for seen in server.requests} == {"GET"}
            assert not any(seen.body for seen in server.requests)
        assert (studio.loaded, older.loaded) == loaded
        assert not ollama._store.running()  # noqa: SLF001 - its only sign
        await discovery.aclose()


# Keys.


async def test_a_token_that_is_missing_and_one_that_is_there(config_for: ConfigFor) -> None:
    async with LMStudioEmulator(token=KEY) as studio:
        without = ServiceDiscovery(config_for(studio))
        assert await without.discover_services() == []
        info = without.get_service_info("lmstudio")
        assert info is not None
        assert info.status is ServiceStatus.UNAUTHORIZED
        assert info.detail is not None
        assert "refused access" in info.detail
        assert not any("authorization" in seen.headers for seen in studio.requests)

        place = EndpointConfig.parse(studio.url, service="lmstudio")
        config = config_for(place, lmstudio=LMStudioConfig(api_key=Secret(KEY)))
        with_it = ServiceDiscovery(config)
        assert await with_it.discover_services() == ["lmstudio"]
        assert KEY not in repr((config, with_it, with_it.services, with_it.findings))
        await without.aclose()
        await with_it.aclose()


async def test_a_greeting_that_wants_the_token_is_proof_enough(config_for: ConfigFor) -> None:
    async with LMStudioEmulator(token=KEY, greeting_needs_token=True) as studio:
        discovery = ServiceDiscovery(config_for(studio))
        await discovery.discover_services()
        info = discovery.get_service_info("lmstudio")
        assert info is not None
        assert info.status is ServiceStatus.UNAUTHORIZED
        assert "wants a key" in discovery.findings[0].reason
        await discovery.aclose()

        place = EndpointConfig.parse(studio.url, service="lmstudio")
        config = config_for(place, lmstudio=LMStudioConfig(api_key=Secret(KEY)))
        discovery = ServiceDiscovery(config)
        assert await discovery.discover_services() == ["lmstudio"]
        await discovery.aclose()


async def test_a_key_is_for_the_address_it_was_given_for_and_no_other(
    config_for: ConfigFor,
) -> None:
    async with LMStudioEmulator() as studio:
        anywhere = EndpointConfig.parse(studio.url)
        key = LMStudioConfig(api_key=Secret(KEY))
        discovery = ServiceDiscovery(config_for(anywhere, lmstudio=key))
        assert await discovery.discover_services() == ["lmstudio"]
        await discovery.aclose()
        assert not any("authorization" in seen.headers for seen in studio.requests)


async def test_a_key_is_sent_only_after_the_server_has_proven_what_it_is(
    config_for: ConfigFor,
) -> None:
    async with LMStudioEmulator(token=KEY) as studio:
        key = LMStudioConfig(api_key=Secret(KEY))
        place = EndpointConfig.parse(studio.url, service="lmstudio")
        discovery = ServiceDiscovery(config_for(place, lmstudio=key))
        await discovery.discover_services()

        shown = {seen.path: seen.headers.get("authorization") for seen in studio.requests}
        assert shown.pop("/api/v1/models") == f"Bearer {KEY}"
        assert set(shown.values()) == {None}
        await discovery.aclose()


async def test_a_key_is_never_shown_to_another_service_on_its_port(
    config_for: ConfigFor, web_server: Serve
) -> None:
    async with OllamaEmulator() as ollama, web_server(b"{}") as impostor:
        places = [
            EndpointConfig.parse(server.url, service="lmstudio") for server in (ollama, impostor)
        ]
        keys = {
            "lmstudio": LMStudioConfig(api_key=Secret(KEY)),
            "ollama": OllamaConfig(api_key=Secret("for-ollama-elsewhere")),
        }
        discovery = ServiceDiscovery(config_for(*places, **keys))
        assert await discovery.discover_services() == ["ollama"]
        await discovery.perform_health_checks()

        assert impostor.requests
        for server in (ollama, impostor):
            assert not any("authorization" in seen.headers for seen in server.requests)
        await discovery.aclose()


async def test_a_key_is_not_shown_to_what_took_the_port_of_a_service_that_was_there(
    config_for: ConfigFor, web_server: Serve, clock: Clock
) -> None:
    key = LMStudioConfig(api_key=Secret(KEY))
    studio = LMStudioEmulator(token=KEY)
    await studio.start()
    place = EndpointConfig.parse(studio.url, service="lmstudio")
    discovery = ServiceDiscovery(config_for(place, lmstudio=key), clock=clock)
    try:
        assert await discovery.discover_services() == ["lmstudio"]
        await studio.stop()
        clock.passes(10)
        await discovery.perform_health_checks()
        assert discovery.services[0].status is ServiceStatus.UNAVAILABLE

        async with web_server(b"{}", port=studio.port) as stranger:
            clock.passes(10)
            await discovery.perform_health_checks()
            await discovery.discover_services(fresh=True)
            assert stranger.requests
            assert not any("authorization" in seen.headers for seen in stranger.requests)
            assert discovery.available_services() == []

        async with studio:
            clock.passes(10)
            await discovery.perform_health_checks()
            assert discovery.available_services() == ["lmstudio"]
    finally:
        await discovery.aclose()


async def test_after_a_failure_a_request_shows_the_key_only_to_who_proves_itself_again(
    config_for: ConfigFor, web_server: Serve
) -> None:
    key = OllamaConfig(api_key=Secret(KEY), cache_ttl=0.0)
    async with OllamaEmulator() as ollama:
        place = EndpointConfig.parse(ollama.url, service="ollama")
        discovery = ServiceDiscovery(config_for(place, ollama=key))
        await discovery.discover_services()
        provider = discovery.provider("ollama")
        stumbles(discovery, "ollama")
        ollama.requests.clear()
        await provider.list_models()
        assert ("GET", "/") in paths(ollama)
        ollama.requests.clear()
        await provider.list_models()
        assert ("GET", "/") not in paths(ollama)  # once for each failure
        stumbles(discovery, "ollama")
        await ollama.stop()
        async with web_server(b"{}", port=ollama.port) as stranger:
            with pytest.raises(ServiceUnavailable, match="did not prove to be any of: Ollama"):
                await provider.list_models()
            with pytest.raises(ServiceUnavailable):
                await provider.complete(CompletionRequest("llama3.2:3b", ["Hello"]))
            assert stranger.requests
            assert not any("authorization" in seen.headers for seen in stranger.requests)
        await discovery.aclose()


# How it goes on.


async def test_a_server_that_loads_is_warming_and_then_available(
    config_for: ConfigFor, web_server: Serve, clock: Clock
) -> None:
    loading = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
    props = b'{"default_generation_settings":{"n_ctx":512},"build_info":"b7000-abc1234"}'
    models = b'{"data":[{"id":"m","meta":null}],"object":"list"}'
    ready = {
        "/health": (200, b'{"status":"ok"}'),
        "/props": (200, props),
        "/v1/models": (200, models),
    }

    async def warm(exchange: Exchange) -> None:
        await exchange.reply(503, loading)

    async with web_server(warm, headers={"Server": "llama.cpp"}) as server:
        discovery = ServiceDiscovery(config_for(server), clock=clock)
        assert await discovery.discover_services() == ["llamacpp"]
        info = discovery.services[0]
        assert info.status is ServiceStatus.WARMING
        assert "loading its model" in discovery.findings[0].reason

        server.answers = ready
        clock.passes(1.0)
        await discovery.perform_health_checks()
        assert discovery.services[0].status is ServiceStatus.AVAILABLE
        assert discovery.services[0].models == ("m",)
        await discovery.discover_services()
        assert discovery.services[0].version == "b7000"
        await discovery.aclose()


async def test_only_those_that_are_due_are_probed(config_for: ConfigFor, clock: Clock) -> None:
    async with OllamaEmulator() as ollama, LMStudioEmulator() as studio:
        health = HealthCheckConfig(interval=5.0, retry_delay=1.0, max_failures=3)
        config = config_for(ollama, studio, discovery={"health_check": health})
        discovery = ServiceDiscovery(config, clock=clock)
        await discovery.discover_services()
        stumbles(discovery, "lmstudio")
        for server in (ollama, studio):
            server.requests.clear()

        await discovery.perform_health_checks()
        assert (ollama.requests, studio.requests) == ([], [])
        clock.passes(1.2)  # the failed one's pause, with its jitter
        await discovery.perform_health_checks()
        assert ollama.requests == []
        assert ("GET", "/lmstudio-greeting") in paths(studio)  # who failed must prove itself anew
        assert ("GET", "/api/v1/models") in paths(studio)
        clock.passes(5.0)
        await discovery.perform_health_checks()
        assert paths(ollama) == [("GET", "/api/ps"), ("GET", "/api/tags")]
        await discovery.aclose()


async def test_what_was_measured_is_true(config_for: ConfigFor, clock: Clock) -> None:
    async with OllamaEmulator() as ollama:
        answer = ollama.handle

        async def slow(exchange: Exchange) -> None:
            clock.passes(0.5)
            await answer(exchange)

        discovery = ServiceDiscovery(config_for(ollama), clock=clock, wall_clock=lambda: 1234.5)
        await discovery.discover_services()
        first = discovery.services[0]
        assert first.metrics.avg_response_time == 0.0
        assert first.last_health_check == clock.now
        ollama.handle = slow  # type: ignore[method-assign]
        clock.passes(5.0)
        await discovery.perform_health_checks()  # two requests, half a second each

        metrics = discovery.services[0].metrics
        assert (metrics.probes, metrics.model_count) == (2, 5)
        assert metrics.avg_response_time == pytest.approx(0.5)
        assert (metrics.requests, metrics.last_request) == (0, None)
        await discovery.aclose()


async def test_the_monitor_sees_a_service_die_and_come_back(config_for: ConfigFor) -> None:
    health = HealthCheckConfig(interval=0.5, timeout=0.45, retry_delay=0.02)
    async with OllamaEmulator() as ollama:
        config = config_for(ollama, discovery={"health_check": health})
        discovery = ServiceDiscovery(config)
        await discovery.discover_services()
        await discovery.start_health_monitoring()
        await discovery.start_health_monitoring()  # a second time changes nothing

        await ollama.stop()
        await _until(discovery, ServiceStatus.UNAVAILABLE)
        assert discovery.available_services() == []
        info = discovery.get_service_info("ollama")
        assert info is not None
        assert info.detail is not None
        assert "nothing listens there" in info.detail
        await ollama.start()
        await _until(discovery, ServiceStatus.AVAILABLE)
        assert discovery.services[0].consecutive_failures == 0
        assert len(discovery.services) == 1
        await discovery.aclose()
        assert ollama.open_connections == 0 or await _closed(ollama)


async def test_a_server_that_hangs_degrades_first(config_for: ConfigFor, clock: Clock) -> None:
    health = HealthCheckConfig(timeout=0.5, max_failures=2)
    async with OllamaEmulator() as ollama:
        config = config_for(ollama, discovery={"health_check": health})
        discovery = ServiceDiscovery(config, clock=clock)
        await discovery.discover_services()
        ollama.latency = 10.0
        seen: list[tuple[ServiceStatus, str | None]] = []
        for _ in range(2):
            clock.passes(10.0)
            await discovery.perform_health_checks()
            seen.append((discovery.services[0].status, discovery.services[0].detail))

        assert seen == [
            (ServiceStatus.DEGRADED, "It did not list its models in time."),
            (ServiceStatus.UNAVAILABLE, "It did not list its models in time."),
        ]
        await discovery.aclose()


async def _until(discovery: ServiceDiscovery, status: ServiceStatus) -> None:
    async with asyncio.timeout(15):
        while discovery.services[0].status is not status:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def _closed(server: EmulatedServer) -> bool:
    async with asyncio.timeout(1):
        while server.open_connections:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
    return True


# What needs no server.


@pytest.mark.engine
async def test_the_engine_inside_stands_in_where_nobody_answers(
    config_for: ConfigFor, free_port: int
) -> None:
    every = {"enabled_services": None}
    discovery = ServiceDiscovery(config_for(f"127.0.0.1:{free_port}", discovery=every))
    assert await discovery.discover_services() == ["embedded"]
    assert discovery.services[0].endpoint == "inside Patinox"
    await discovery.aclose()


@pytest.mark.engine
async def test_the_engine_inside_is_there_beside_a_server_only_if_it_is_wanted(
    config_for: ConfigFor,
) -> None:
    every = {"enabled_services": None}
    async with OllamaEmulator() as ollama:
        unasked = ServiceDiscovery(config_for(ollama, discovery=every))
        assert await unasked.discover_services() == ["ollama"]
        assert await unasked.call_in("ollama") is None
        assert await unasked.call_in("nothing") is None
        called = await unasked.call_in("embedded")
        assert called is not None
        assert await unasked.call_in("embedded") is unasked.known("embedded")

        preferred = ServiceDiscovery(
            config_for(ollama, discovery=every, preferred_service="embedded")
        )
        assert await preferred.discover_services() == ["ollama", "embedded"]
        named = {"enabled_services": ("ollama", "embedded")}
        enabled = ServiceDiscovery(config_for(ollama, discovery=named))
        assert await enabled.discover_services() == ["ollama", "embedded"]
        disabled = ServiceDiscovery(config_for(ollama))
        assert await disabled.call_in("embedded") is None
        for discovery in (unasked, preferred, enabled, disabled):
            await discovery.aclose()


async def test_a_transport_of_others_is_not_closed(config_for: ConfigFor) -> None:
    async with OllamaEmulator() as ollama:
        transport = Transport()
        discovery = ServiceDiscovery(config_for(ollama), transport=transport)
        await discovery.discover_services()
        await discovery.aclose()
        again = ServiceDiscovery(config_for(ollama), transport=transport)
        assert await again.discover_services() == ["ollama"]
        assert re.search(rf"127\.0\.0\.1:{ollama.port}", again.services[0].endpoint)
        await again.aclose()
        await transport.aclose()


async def test_a_service_that_is_busy_is_not_probed_again_at_once(config_for: ConfigFor) -> None:
    async def busy(exchange: Exchange) -> bool:
        if exchange.path == "/api/tags":
            await exchange.reply(503, b'{"error":"server busy, please try again."}')
        return exchange.path == "/api/tags"

    now = 0.0
    async with OllamaEmulator() as ollama:
        ollama.faults.append(busy)
        discovery = ServiceDiscovery(config_for(ollama), clock=lambda: now)
        await discovery.discover_services()
        asked = len(ollama.requests)
        await discovery.perform_health_checks()
        assert len(ollama.requests) == asked
        info = discovery.get_service_info("ollama")
        assert info is not None
        assert info.status is ServiceStatus.RATE_LIMITED
        assert info.next_check == discovery.config.discovery_config.health_check.retry_delay
        now = info.next_check
        await discovery.perform_health_checks()
        assert len(ollama.requests) > asked
        await discovery.aclose()


async def test_two_servers_of_a_kind_on_two_loopback_addresses_are_two_services(
    config_for: ConfigFor,
) -> None:
    async with (
        OllamaEmulator() as first,
        OllamaEmulator(host="127.0.0.2", port=first.port) as second,
    ):
        places = [EndpointConfig.parse(server.url) for server in (first, second)]
        discovery = ServiceDiscovery(config_for(*places))
        await discovery.discover_services()
        assert [info.id for info in discovery.services] == [
            "ollama",
            f"ollama@{second.host}:{second.port}",
        ]
        await discovery.aclose()


async def test_what_took_the_port_of_a_service_is_not_asked_for_its_models(
    config_for: ConfigFor, web_server: Serve
) -> None:
    async with OllamaEmulator() as ollama:
        discovery = ServiceDiscovery(config_for(ollama))
        await discovery.discover_services()
        port = ollama.port
    async with web_server(b"{}", port=port) as other:
        await discovery.discover_services(fresh=True)
        info = discovery.get_service_info("ollama")
        assert info is not None
        assert info.status is ServiceStatus.UNAVAILABLE
        assert {seen.path for seen in other.requests}.isdisjoint({"/api/tags", "/api/ps"})
        await discovery.aclose()


async def test_the_fault_of_a_plugin_is_no_proof_and_ends_nothing() -> None:
    def stumble(_: object) -> None:
        raise ZeroDivisionError

    broken = replace(services()["lmstudio"], identify=stumble)
    async with OllamaEmulator() as ollama:
        finding = await look_at(
            Place(endpoint=parse_endpoint(ollama.url, default_port=80), expected="lmstudio"),
            [broken],
            transport=(transport := Transport()),
            within=2.0,
            clock=time.monotonic,
        )
        await transport.aclose()
    assert finding.proof is None
    assert finding.answered


async def test_an_unknown_preference_is_refused(config_for: ConfigFor) -> None:
    discovery = ServiceDiscovery(config_for(preferred_service="olama"))
    with pytest.raises(InvalidConfiguration, match="'olama'; allowed: auto, ollama"):
        await discovery.discover_services()
    await discovery.aclose()
