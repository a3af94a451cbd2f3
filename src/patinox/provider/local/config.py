"""Settings of local services: frozen, and wrong ones cannot be made.

Times are seconds, sizes bytes. Where a default comes from is told in the user guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import force_setattr, replace

from patinox.provider.checks import shown
from patinox.provider.errors import InvalidRequest
from patinox.provider.local.endpoint import Endpoint, parse_endpoint
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.secret import Secret
from patinox.provider.types import ModelId

DEFAULT_PORTS: Mapping[str, int] = {"ollama": 11434, "lmstudio": 1234, "llamacpp": 8080}
# How many requests may wait for their turn at one service where nothing else is said.
MAX_WAITING = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*(?::[A-Za-z0-9._@-]+)*")


def _seconds(setting: str, value: object, most: float, *, zero: bool = False) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value <= most or (zero and value == 0))
    ):
        least = "from 0" if zero else "above 0"
        raise _invalid(setting, value, f"seconds {least} to {most:g}")


def _whole(setting: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _invalid(setting, value, f"a whole number from {least} to {most}")


def _flag(setting: str, value: object) -> None:
    if not isinstance(value, bool):  # "false" would count as true
        raise _invalid(setting, value, "true or false")


def _instance(setting: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise _invalid(setting, value, f"made of {kind.__name__}")


def _several(setting: str, values: object, kind: type) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise _invalid(setting, values, "a list")
    for value in cast("Sequence[object]", values):
        _instance(setting, value, kind)


def _name(setting: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise _invalid(setting, value, "letters, digits and `.`, `_`, `-`, `@`, single `:` between")


def _model(setting: str, value: str) -> None:
    try:
        ModelId.parse(value)
    except InvalidRequest:
        raise _invalid(setting, value, "`model` or `service::model`") from None


def _key(value: object) -> Secret | None:
    if value is not None and not isinstance(value, Secret | str):
        msg = f"`api_key` is a {type(value).__name__}; allowed: text."
        raise InvalidConfiguration(msg)
    text = (value.reveal() if isinstance(value, Secret) else value or "").strip()
    if not all("!" <= character <= "~" for character in text):
        raise InvalidConfiguration(
            "`api_key` holds a space or a character beyond ASCII, which no header can carry.",
            hint="Copy the key again, without quotes and line breaks.",
        )
    return Secret(text) if text else None


def _invalid(setting: str, value: object, allowed: str) -> InvalidConfiguration:
    return InvalidConfiguration(f"`{setting}` is {shown(value)}; allowed: {allowed}.")


class HealthCheckConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How services are watched.

    Attributes:
        interval: seconds between probes of a service that is well.
        timeout: seconds a probe may take; below the interval.
        max_failures: failures in a row that make a service unavailable, 1 to 10.
        retry_delay: seconds until the first new probe of a failed service; doubles each time.
        max_retry_delay: longest such pause, for a server on another machine.
        max_local_retry_delay: longest such pause, for a server on this machine.
    """

    interval: float = 5.0
    timeout: float = 2.0
    max_failures: int = 3
    retry_delay: float = 1.0
    max_retry_delay: float = 30.0
    max_local_retry_delay: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _seconds("health_check.interval", self.interval, 3600)
        _seconds("health_check.timeout", self.timeout, 30)
        _seconds("health_check.retry_delay", self.retry_delay, 3600)
        _seconds("health_check.max_retry_delay", self.max_retry_delay, 3600)
        _seconds("health_check.max_local_retry_delay", self.max_local_retry_delay, 3600)
        _whole("health_check.max_failures", self.max_failures, 1, 10)
        if self.timeout >= self.interval:
            raise _invalid(
                "health_check.timeout", self.timeout, f"below the interval {self.interval:g}"
            )


class DiscoveryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How services are found.

    Attributes:
        enabled_services: names of the services to look for; `None` for every known one.
        discovery_timeout: seconds a whole discovery may take, up to 60.
        health_check: how they are watched afterwards.
        cache_enabled: whether a second discovery within `cache_ttl` keeps the first one's result.
        cache_ttl: seconds for which a discovery is fresh.
    """

    enabled_services: tuple[str, ...] | None = None
    discovery_timeout: float = 2.0
    health_check: HealthCheckConfig = HealthCheckConfig()
    cache_enabled: bool = True
    cache_ttl: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _seconds("discovery.discovery_timeout", self.discovery_timeout, 60)
        _seconds("discovery.cache_ttl", self.cache_ttl, 86_400, zero=True)
        _flag("discovery.cache_enabled", self.cache_enabled)
        _instance("discovery.health_check", self.health_check, HealthCheckConfig)
        if self.enabled_services is not None:
            _several("enabled_services", self.enabled_services, str)


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """How long each phase of a call may take, in seconds.

    Attributes:
        connect: until the connection stands, to a server on this machine.
        connect_remote: the same, to a server on another machine.
        first_token: from the request to the first output; loading the model counts here.
        idle: between two pieces of an answer.
        listing: a list of models and the like, as a whole.
        embed: vectors, as a whole, beside one second for each text.
    """

    connect: float = 1.0
    connect_remote: float = 3.0
    first_token: float = 300.0
    idle: float = 120.0
    listing: float = 10.0
    embed: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what is no positive number."""
        for field in self.__struct_fields__:
            _seconds(f"deadlines.{field}", getattr(self, field), 86_400)


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every service can be told.

    Attributes:
        timeout: seconds one attempt at this service may take; `None` leaves it to the deadlines of
            its phases.
        streaming: whether whole answers are asked for piece by piece, so that a stall is seen.
        cache_ttl: seconds for which a list of models is fresh.
        custom_params: options in the server's own words, sent with every request.
        deadlines: limits of each phase.
        max_in_flight: requests for answers or vectors that may run there at once; `None` for any
            number.
        max_waiting: how many more may wait for their turn, 0 to 10,000.
        api_key: key to send, only to the configured address and only once it is identified.
        allow_cloud: whether models that the server passes on to the cloud may be used.
    """

    timeout: float | None = None
    streaming: bool = True
    cache_ttl: float = 5.0
    custom_params: Mapping[str, Any] = {}
    deadlines: Deadlines = Deadlines()
    max_in_flight: int | None = None
    max_waiting: int = MAX_WAITING
    api_key: Secret | None = None
    allow_cloud: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if self.timeout is not None:
            _seconds("timeout", self.timeout, 86_400)
        if self.max_in_flight is not None:
            _whole("max_in_flight", self.max_in_flight, 1, 1000)
        _whole("max_waiting", self.max_waiting, 0, 10_000)
        _seconds("cache_ttl", self.cache_ttl, 86_400, zero=True)
        _flag("streaming", self.streaming)
        _flag("allow_cloud", self.allow_cloud)
        _instance("custom_params", self.custom_params, Mapping)
        _instance("deadlines", self.deadlines, Deadlines)
        force_setattr(self, "api_key", _key(self.api_key))


class OllamaConfig(ServiceConfig, frozen=True, kw_only=True):
    """What Ollama can be told; `custom_params` are its `options`, such as `num_ctx`."""


class LMStudioConfig(ServiceConfig, frozen=True, kw_only=True):
    """What LM Studio can be told.

    Attributes:
        use_openai_compat: use the OpenAI-compatible list of models only; `False` asks LM Studio's
            own routes for it, which know context and state. Chat is OpenAI-compatible either way.
    """

    use_openai_compat: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        ServiceConfig.__post_init__(self)
        _flag("use_openai_compat", self.use_openai_compat)


class EmbeddedConfig(ServiceConfig, frozen=True, kw_only=True):
    """What the engine inside can be told.

    Attributes:
        model_paths: files and folders with GGUF models, beside those of the whole provider.
        home: the user's folder, in which LM Studio and Ollama keep models; `None` looks in none.
        ollama_models: Ollama's folder of models, if it is not the usual one.
        context_length: tokens of context to load a model with, as far as it can have them.
        idle_seconds: how long a model stays in memory unused.
        limit: how many models may be in memory at once, 1 to 8.
    """

    model_paths: tuple[Path, ...] = ()
    home: Path | None = None
    ollama_models: Path | None = None
    context_length: int = 4096
    idle_seconds: float = 300.0
    limit: int = 1

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        super().__post_init__()
        _seconds("embedded.idle_seconds", self.idle_seconds, 86_400)
        _whole("embedded.context_length", self.context_length, 256, 2**24)
        _whole("embedded.limit", self.limit, 1, 8)


class EndpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An address the user gave.

    Attributes:
        endpoint: where.
        service: what must be there; `None` takes whatever proves itself.
        name: id of the service; `None` gives it the usual one.
        setting: what named it, for messages: a variable or a key of the file.
    """

    endpoint: Endpoint
    service: str | None = None
    name: str | None = None
    setting: str = "configuration"

    def __post_init__(self) -> None:
        """Refuse names that `service::model` could not spell."""
        _name("service", self.service)
        _name("name", self.name)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        service: str | None = None,
        name: str | None = None,
        setting: str = "configuration",
    ) -> EndpointConfig:
        """Read the address from text; raises `InvalidConfiguration`.

        Without a port it is the usual one of the service, or 80.
        """
        _name("service", service)
        port = DEFAULT_PORTS.get(service or "", 80)
        endpoint = parse_endpoint(text, default_port=port, setting=setting)
        return cls(endpoint=endpoint, service=service, name=name, setting=setting)


class LocalProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider of everything local can be told.

    Attributes:
        discovery_config: how services are found and watched.
        ollama: settings for Ollama.
        lmstudio: settings for LM Studio.
        llamacpp: settings for llama.cpp's server.
        embedded: settings for the engine inside.
        endpoints: addresses the user gave; one replaces the usual addresses of its service.
        auto_discover: whether to look at the usual addresses of services that have none given.
        preferred_service: which service to prefer where several have a model.
        model_paths: files and folders with GGUF models for the engine inside.
        default_model: the model to use where a command names none.
        allow_cloud: whether models that run in the cloud may be used.
        monitor: whether services are watched in the background.
        connection_pool_size: connections to one server, 1 to 100.
        continuation: whether an answer that broke off is gone on with, where that can be done
            exactly; a request may say otherwise.
    """

    discovery_config: DiscoveryConfig = DiscoveryConfig()
    ollama: OllamaConfig = OllamaConfig()
    lmstudio: LMStudioConfig = LMStudioConfig()
    llamacpp: ServiceConfig = ServiceConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    endpoints: tuple[EndpointConfig, ...] = ()
    auto_discover: bool = True
    preferred_service: str = LocalService.AUTO
    model_paths: tuple[Path, ...] = ()
    default_model: str | None = None
    allow_cloud: bool = False
    monitor: bool = True
    connection_pool_size: int = 64
    continuation: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range, and addresses and names that are given twice."""
        _whole("connection_pool_size", self.connection_pool_size, 1, 100)
        for field in ("auto_discover", "allow_cloud", "monitor", "continuation"):
            _flag(field, getattr(self, field))
        kinds = {
            "discovery_config": DiscoveryConfig,
            "ollama": OllamaConfig,
            "lmstudio": LMStudioConfig,
            "llamacpp": ServiceConfig,
            "embedded": EmbeddedConfig,
        }
        for field, kind in kinds.items():
            _instance(field, getattr(self, field), kind)
        _several("endpoints", self.endpoints, EndpointConfig)
        _several("model_paths", self.model_paths, Path)
        _name("preferred_service", self.preferred_service)
        if self.default_model is not None:
            _model("default_model", self.default_model)
        check_distinct(self.endpoints)

    def for_service(self, service_type: str) -> ServiceConfig:
        """Return the settings of one kind of service, with what holds for all of them."""
        found = getattr(self, service_type, None)
        config = found if isinstance(found, ServiceConfig) else ServiceConfig()
        if isinstance(config, EmbeddedConfig):
            config = replace(config, model_paths=(*self.model_paths, *config.model_paths))
        return replace(config, allow_cloud=config.allow_cloud or self.allow_cloud)


def check_local_config(config: object) -> None:
    """Refuse what is no `LocalProviderConfig`: raises `InvalidConfiguration`."""
    if not isinstance(config, LocalProviderConfig):
        raise InvalidConfiguration(
            f"`config` is a {type(config).__name__}; allowed: a LocalProviderConfig.",
            hint='An address: LocalProviderConfig(endpoints=(EndpointConfig.parse("..."),)).',
        )


def check_distinct(endpoints: Sequence[EndpointConfig]) -> None:
    """Refuse one address for two servers, and one name: raises `InvalidConfiguration`."""
    seen: dict[str, str] = {}
    for given in endpoints:
        for key in (str(given.endpoint), given.name or ""):
            if key and key in seen:
                raise InvalidConfiguration(
                    f"{key!r} is given twice, by {seen[key]} and by {given.setting}.",
                    hint="Each address and each name stands for one server.",
                )
            seen[key] = given.setting
