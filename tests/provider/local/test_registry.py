"""Every kind of service: files that define one, and what other packages bring."""

from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import msgspec
import pytest

from patinox.provider.local import registry
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.llamacpp import SERVICE as LLAMACPP
from patinox.provider.local.registry import service, services

Plug = Callable[..., None]


class Entry:
    """What stands for an entry point of an installed package."""

    def __init__(self, found: object) -> None:
        self.found = found
        self.value = "another_package:SERVICE"

    def load(self) -> object:
        return self.found


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plug]:
    def install(*found: object) -> None:
        def entry_points(*, group: str) -> list[Any]:
            assert group == "patinox.services"
            return [Entry(one) for one in found]

        monkeypatch.setattr(metadata, "entry_points", entry_points)
        registry.services.cache_clear()

    yield install
    registry.services.cache_clear()


def test_the_services_are_in_the_order_of_preference() -> None:
    assert list(services()) == ["ollama", "lmstudio", "llamacpp", "embedded"]
    for name, spec in services().items():
        assert spec.name == spec.provider.service_type == name
        assert spec.label == spec.provider.label
        assert spec.docs.startswith("https://")
        assert spec.start_hint
        assert spec.stand_in or (spec.probes and spec.default_endpoints and spec.endpoint_variable)
        assert all(probe.method == "GET" and probe.body is None for probe in spec.probes)
        assert spec.identify([None] * len(spec.probes)) is None
    assert service("llamacpp") is LLAMACPP
    assert LLAMACPP.default_endpoints == ("http://localhost:8080", "http://localhost:9931")


def test_a_service_that_is_not_known_is_answered_with_those_that_are() -> None:
    with pytest.raises(InvalidConfiguration, match="'vllm' is not known; allowed: ollama, lmst"):
        service("vllm")


def test_another_package_adds_a_service_in_its_place(plug: Plug) -> None:
    plug(msgspec.structs.replace(LLAMACPP, name="vllm", rank=25))
    assert list(services()) == ["ollama", "lmstudio", "vllm", "llamacpp", "embedded"]


def test_two_services_of_one_name_are_refused(plug: Plug) -> None:
    plug(LLAMACPP)
    with pytest.raises(
        InvalidConfiguration, match="called 'llamacpp'; the second is another_package:SERVICE"
    ):
        services()


def test_a_plugin_that_gives_something_else_is_refused(plug: Plug) -> None:
    plug("vllm")
    with pytest.raises(InvalidConfiguration, match="another_package:SERVICE is no ServiceSpec"):
        services()
