"""What observers are told of services: each probe, and each change of a state."""

from collections.abc import Callable
from typing import Any

from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.errors import ServiceUnavailable
from patinox.provider.local.events import Event, ServiceChanged, ServiceProbed
from patinox.provider.local.observers import Observers
from patinox.testing import Exchange, OllamaEmulator, OllamaModel

ConfigFor = Callable[..., LocalProviderConfig]


class Notes:
    def __init__(self) -> None:
        self.seen = list[Event]()

    def observe(self, event: Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if type(event) is kind]

    @property
    def states(self) -> list[tuple[str, str, bool]]:
        return [(each.before, each.after, each.opened) for each in self.of(ServiceChanged)]


def watching(config: LocalProviderConfig, notes: Notes, clock: Any) -> ServiceDiscovery:  # noqa: ANN401
    return ServiceDiscovery(config, clock=clock, observers=Observers([notes]))


async def test_a_service_is_told_when_it_is_found_dies_and_comes_back(
    config_for: ConfigFor,
    clock: Any,  # noqa: ANN401 - that of `conftest.py`
) -> None:
    notes = Notes()
    ollama = OllamaEmulator()
    async with ollama:
        port = ollama.port
        discovery = watching(config_for(ollama), notes, clock)
        await discovery.discover_services()
        assert notes.states == [("unknown", "available", False)]
        (found,) = notes.of(ServiceChanged)
        assert (found.server.id, found.server.kind) == ("ollama", "ollama")
        assert (found.server.address, found.server.port) == ("127.0.0.1", port)
    clock.passes(10)
    await discovery.perform_health_checks()
    assert notes.states[1:] == [("available", "unavailable", True)]
    async with OllamaEmulator(port=port):
        clock.passes(10)
        await discovery.perform_health_checks()
        assert notes.states[2:] == [("unavailable", "available", False)]
        clock.passes(10)
        await discovery.perform_health_checks()
        assert len(notes.states) == 3  # nothing new is nothing to tell
    await discovery.aclose()
    assert notes.states[3:] == [("available", "unknown", False)]
    assert [each.outcome for each in notes.of(ServiceProbed)] == [
        "success",
        "error",
        "success",
        "success",
    ]
    assert notes.of(ServiceProbed)[1].error == "ServiceUnavailable"


async def test_what_ends_after_the_watch_tells_no_state_any_more(
    config_for: ConfigFor,
    clock: Any,  # noqa: ANN401 - that of `conftest.py`
) -> None:
    notes = Notes()
    async with OllamaEmulator() as ollama:
        discovery = watching(config_for(ollama), notes, clock)
        await discovery.discover_services()
        ticket = discovery.watch.begin("ollama", limit=1.0)
        await discovery.aclose()
    discovery.watch.ended(ticket, ServiceUnavailable("Refused.", refused=True))
    assert notes.states == [("unknown", "available", False), ("available", "unknown", False)]


async def test_a_probe_is_told_with_its_time_and_what_it_found(
    config_for: ConfigFor,
    clock: Any,  # noqa: ANN401 - that of `conftest.py`
) -> None:
    notes = Notes()
    async with OllamaEmulator(models=[OllamaModel(name="a"), OllamaModel(name="b")]) as ollama:
        answer = ollama.handle

        async def slow(exchange: Exchange) -> None:
            clock.passes(0.5)
            await answer(exchange)

        discovery = watching(config_for(ollama), notes, clock)
        await discovery.discover_services()
        ollama.handle = slow  # type: ignore[method-assign]
        clock.passes(10)
        await discovery.perform_health_checks()  # two requests, half a second each
        await discovery.aclose()
    first, second = notes.of(ServiceProbed)
    assert (first.outcome, first.seconds, first.models, first.skipped) == ("success", 0.0, 2, 0)
    assert second.seconds in (0.5, 1.0)
    assert not second.breach


async def test_unreadable_entries_and_broken_replies_are_told(
    config_for: ConfigFor,
    clock: Any,  # noqa: ANN401 - that of `conftest.py`
) -> None:
    notes, said = Notes(), [b'{"models": [{"name": "a", "model": "a"}, {"name": 7}, 7]}']

    async with OllamaEmulator() as ollama:
        discovery = watching(config_for(ollama), notes, clock)
        await discovery.discover_services()

        async def list_badly(exchange: Exchange) -> bool:
            if exchange.path == "/api/tags":
                await exchange.reply(200, said[0])
            return exchange.path == "/api/tags"

        ollama.faults.append(list_badly)
        clock.passes(10)
        await discovery.perform_health_checks()
        said[0] = b'["no", "list"]'
        clock.passes(10)
        await discovery.perform_health_checks()
        await discovery.aclose()
    _, some, none = notes.of(ServiceProbed)
    assert (some.outcome, some.models, some.skipped) == ("success", 1, 2)
    assert (none.outcome, none.error, none.breach) == ("error", "ParseError", True)


async def test_an_observer_that_fails_ends_no_probe(
    config_for: ConfigFor,
    clock: Any,  # noqa: ANN401 - that of `conftest.py`
    caplog: Any,  # noqa: ANN401 - that of pytest
) -> None:
    class Broken:
        def observe(self, event: Event) -> None:
            raise KeyError(type(event).__name__)

    async with OllamaEmulator() as ollama:
        discovery = ServiceDiscovery(
            config_for(ollama), clock=clock, observers=Observers([Broken()])
        )
        assert await discovery.discover_services() == ["ollama"]
        await discovery.aclose()
    (told,) = (record for record in caplog.records if record.name == "patinox")
    assert told.levelname == "WARNING"
