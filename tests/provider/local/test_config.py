from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from patinox.provider.checks import shown
from patinox.provider.local.config import (
    DEFAULT_PORTS,
    Deadlines,
    DiscoveryConfig,
    EndpointConfig,
    HealthCheckConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
    ServiceConfig,
)
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.secret import Secret

NAN = float("nan")
INFINITE = float("inf")


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (HealthCheckConfig, "interval", 0),
        (HealthCheckConfig, "interval", 3601),
        (HealthCheckConfig, "interval", NAN),
        (HealthCheckConfig, "timeout", 31),
        (HealthCheckConfig, "timeout", 5.0),
        (HealthCheckConfig, "max_failures", 0),
        (HealthCheckConfig, "max_failures", 11),
        (HealthCheckConfig, "max_failures", True),
        (HealthCheckConfig, "max_failures", 2.0),
        (HealthCheckConfig, "retry_delay", -1),
        (HealthCheckConfig, "max_retry_delay", INFINITE),
        (HealthCheckConfig, "max_local_retry_delay", "1"),
        (DiscoveryConfig, "discovery_timeout", 61),
        (DiscoveryConfig, "cache_ttl", -0.1),
        (DiscoveryConfig, "cache_enabled", "no"),
        (DiscoveryConfig, "enabled_services", "ollama"),
        (Deadlines, "first_token", 0),
        (Deadlines, "idle", True),
        (ServiceConfig, "timeout", 0),
        (ServiceConfig, "timeout", 86_401),
        (ServiceConfig, "cache_ttl", NAN),
        (ServiceConfig, "streaming", 1),
        (ServiceConfig, "allow_cloud", "false"),
        (OllamaConfig, "timeout", -1),
        (LMStudioConfig, "timeout", -1),
        (LMStudioConfig, "use_openai_compat", "no"),
        (LocalProviderConfig, "connection_pool_size", 0),
        (LocalProviderConfig, "connection_pool_size", 101),
        (LocalProviderConfig, "auto_discover", "no"),
        (LocalProviderConfig, "allow_cloud", "false"),
        (LocalProviderConfig, "monitor", None),
        (LocalProviderConfig, "preferred_service", ""),
        (LocalProviderConfig, "default_model", " "),
        (LocalProviderConfig, "default_model", "::x"),
        (LocalProviderConfig, "ollama", ServiceConfig()),
        (LocalProviderConfig, "embedded", None),
    ],
)
def test_a_wrong_setting_cannot_be_made(
    make: Callable[..., object],
    field: str,
    value: Any,  # noqa: ANN401
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        make(**{field: value})
    assert f"{field}` is {shown(value)}; allowed: " in str(caught.value)


def test_a_wrong_setting_cannot_be_put_in_afterwards() -> None:
    with pytest.raises(InvalidConfiguration, match="connection_pool_size"):
        msgspec.structs.replace(LocalProviderConfig(), connection_pool_size=0)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    HealthCheckConfig(interval=3600, timeout=30, max_failures=10)
    DiscoveryConfig(discovery_timeout=60, cache_ttl=0, enabled_services=("ollama",))
    ServiceConfig(timeout=86_400, cache_ttl=0)
    LocalProviderConfig(connection_pool_size=100, default_model="ollama::qwen3:4b")


@pytest.mark.parametrize("name", ["", "a b", "a::b", "a/b", "-a", "a\n", ":a", "a:"])
def test_a_name_that_no_model_could_be_asked_under_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="`name` is"):
        EndpointConfig.parse("host", name=name)
    with pytest.raises(InvalidConfiguration, match="`service` is"):
        EndpointConfig.parse("host", service=name)


@pytest.mark.parametrize("name", ["ollama", "big-box", "ollama@127.0.0.1:11500", "my.v2_box"])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert EndpointConfig.parse("host", name=name).name == name


@pytest.mark.parametrize("service", DEFAULT_PORTS)
def test_an_address_without_a_port_has_the_usual_one_of_its_service(service: str) -> None:
    assert EndpointConfig.parse("host", service=service).endpoint.port == DEFAULT_PORTS[service]


def test_an_address_of_anything_has_the_port_of_the_web() -> None:
    assert EndpointConfig.parse("host").endpoint.port == 80


def test_a_wrong_address_is_told_with_what_named_it() -> None:
    with pytest.raises(InvalidConfiguration, match=r"^--endpoint is 'host:x'"):
        EndpointConfig.parse("host:x", setting="--endpoint")


def test_one_address_is_one_server() -> None:
    first = EndpointConfig.parse("http://host:1", setting="A")
    second = EndpointConfig.parse("host:1", name="other", setting="B")
    with pytest.raises(InvalidConfiguration, match="'http://host:1' is given twice, by A and by B"):
        LocalProviderConfig(endpoints=(first, second))


def test_one_name_is_one_server() -> None:
    first = EndpointConfig.parse("host:1", name="box", setting="A")
    second = EndpointConfig.parse("host:2", name="box", setting="B")
    with pytest.raises(InvalidConfiguration, match="'box' is given twice, by A and by B"):
        LocalProviderConfig(endpoints=(first, second))


def test_servers_without_names_are_told_apart_by_address() -> None:
    two = (EndpointConfig.parse("host:1"), EndpointConfig.parse("host:2"))
    assert LocalProviderConfig(endpoints=two).endpoints == two


def test_a_key_never_prints() -> None:
    config = LocalProviderConfig(ollama=OllamaConfig(api_key=Secret("hunter2")))
    assert "hunter2" not in repr(config)


def test_a_key_is_taken_without_the_blanks_around_it() -> None:
    assert ServiceConfig(api_key=Secret(" key\n")).api_key == Secret("key")
    assert ServiceConfig(api_key=Secret(" ")).api_key is None


@pytest.mark.parametrize("key", ["hunter2\r\nX-Evil: 1", "hunter2 x", "hunter2é", "hunter2\0"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidConfiguration, match="api_key") as caught:
        ServiceConfig(api_key=Secret(key))
    assert "hunter2" not in str(caught.value)


def test_each_service_has_its_settings_and_an_unknown_one_the_defaults() -> None:
    config = LocalProviderConfig(lmstudio=LMStudioConfig(use_openai_compat=True))
    assert config.for_service("lmstudio") == config.lmstudio
    assert config.for_service("endpoints") == ServiceConfig()
    assert config.for_service("vllm") == ServiceConfig()


def test_the_cloud_allowed_for_all_is_allowed_for_each() -> None:
    assert LocalProviderConfig(allow_cloud=True).for_service("ollama").allow_cloud
    assert not LocalProviderConfig().for_service("ollama").allow_cloud
