"""The configuration file `patinox.toml`: its shape, and reading it.

    auto_discover = true              # look at the usual addresses
    preferred_service = "ollama"      # ollama, lmstudio, llamacpp, embedded, auto, or a name below
    model_paths = ["~/models"]        # relative to this file
    default_model = "qwen3:4b"
    allow_cloud = false
    connection_pool_size = 64
    monitor = true
    continuation = false              # go on with answers that broke off, where that is exact

    [discovery]                       # DiscoveryConfig
    discovery_timeout = 2.0           # seconds, as all times
    [discovery.health_check]          # HealthCheckConfig
    interval = 5.0

    [ollama]                          # OllamaConfig; [lmstudio], [llamacpp], [embedded] are alike
    endpoint = "192.168.1.5"          # not for [embedded]
    api_key = "..."                   # then let nobody else read this file
    timeout = 60
    max_in_flight = 2                 # requests at once; the others wait
    custom_params = { num_ctx = 8192 }
    [ollama.deadlines]                # Deadlines
    first_token = 120

    [[endpoints]]                     # further servers
    url = "http://10.0.0.7:8000"
    service = "llamacpp"              # without it: whatever proves itself
    name = "attic"

    [provider]
    default = "local"                 # local, ollama, lmstudio
    timeout = 300                     # for every service that has none of its own
    [provider.openai]                 # also [provider.openrouter], [provider.anthropic]
    base_url = "https://api.openai.com/v1"

An unknown key and a value of a wrong type are errors: a setting that does nothing would be worse.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
from msgspec.structs import replace

from patinox.provider.config import KINDS, Anthropic, OpenAI, OpenRouter
from patinox.provider.local.config import (
    DiscoveryConfig,
    EmbeddedConfig,
    EndpointConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
    ServiceConfig,
)
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.secret import Secret

READ_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


class OllamaTable(OllamaConfig, frozen=True, kw_only=True):
    """The table `[ollama]`.

    Attributes:
        endpoint: address of the server, instead of the usual ones.
    """

    endpoint: str | None = None


class LMStudioTable(LMStudioConfig, frozen=True, kw_only=True):
    """The table `[lmstudio]`.

    Attributes:
        endpoint: address of the server, instead of the usual ones.
    """

    endpoint: str | None = None


class LlamaCppTable(ServiceConfig, frozen=True, kw_only=True):
    """The table `[llamacpp]`.

    Attributes:
        endpoint: address of the server, instead of the usual ones.
    """

    endpoint: str | None = None


class EndpointTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table `[[endpoints]]`.

    Attributes:
        url: address of a further server.
        service: kind of service that must be there; without it whatever proves itself.
        name: id of the service; without it the usual one.
    """

    url: str
    service: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse names that no model could be asked under."""
        EndpointConfig.parse("", service=self.service, name=self.name)


class ProviderTable(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[provider]`.

    Attributes:
        default: the provider that `create_default_provider` makes: `local`, `ollama` or `lmstudio`.
        timeout: seconds a whole call may take, for every service that has none of its own.
    """

    default: str | None = None
    timeout: float | None = None
    openai: OpenAI = OpenAI()
    openrouter: OpenRouter = OpenRouter()
    anthropic: Anthropic = Anthropic()

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        ServiceConfig(timeout=self.timeout)
        if self.default is not None and self.default not in KINDS:
            raise InvalidConfiguration(
                f"`provider.default` is {self.default!r}; allowed: {', '.join(KINDS)}."
            )


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, and after it what the environment put in its place."""

    auto_discover: bool = True
    preferred_service: str = LocalService.AUTO
    model_paths: tuple[Path, ...] = ()
    default_model: str | None = None
    allow_cloud: bool = False
    monitor: bool = True
    connection_pool_size: int = LocalProviderConfig().connection_pool_size
    continuation: bool = False
    discovery: DiscoveryConfig = DiscoveryConfig()
    ollama: OllamaTable = OllamaTable()
    lmstudio: LMStudioTable = LMStudioTable()
    llamacpp: LlamaCppTable = LlamaCppTable()
    embedded: EmbeddedConfig = EmbeddedConfig()
    endpoints: tuple[EndpointTable, ...] = ()
    provider: ProviderTable = ProviderTable()

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        self.config(())

    def addresses(self, file: Path | None) -> Iterator[EndpointConfig]:
        """Return the addresses that it gives, each with its key in `file` as what named it.

        Raises:
            InvalidConfiguration: one is not an address.
        """
        for service in ("ollama", "lmstudio", "llamacpp"):
            if text := getattr(self, service).endpoint:
                key = f"`{service}.endpoint` in {file}"
                yield EndpointConfig.parse(text, service=service, setting=key)
        key = f"`endpoints.url` in {file}"
        for given in self.endpoints:
            yield EndpointConfig.parse(
                given.url, service=given.service, name=given.name, setting=key
            )

    def config(self, endpoints: Iterable[EndpointConfig]) -> LocalProviderConfig:
        """Return the settings it means, with `endpoints` as the addresses."""
        return LocalProviderConfig(
            auto_discover=self.auto_discover,
            preferred_service=self.preferred_service,
            model_paths=self.model_paths,
            default_model=self.default_model,
            allow_cloud=self.allow_cloud,
            monitor=self.monitor,
            connection_pool_size=self.connection_pool_size,
            continuation=self.continuation,
            discovery_config=self.discovery,
            ollama=OllamaConfig(**self._settings(self.ollama, OllamaConfig)),
            lmstudio=LMStudioConfig(**self._settings(self.lmstudio, LMStudioConfig)),
            llamacpp=ServiceConfig(**self._settings(self.llamacpp, ServiceConfig)),
            embedded=EmbeddedConfig(**self._settings(self.embedded, EmbeddedConfig)),
            endpoints=tuple(endpoints),
        )

    def _settings(self, table: ServiceConfig, shape: type[ServiceConfig]) -> dict[str, Any]:
        if table.timeout is None:
            table = replace(table, timeout=self.provider.timeout)
        return {field: getattr(table, field) for field in shape.__struct_fields__}


def read_document(
    path: Path, environ: Mapping[str, str]
) -> tuple[Document, tuple[str, ...]] | None:
    """Read the file; return what it says and what is amiss with it, or `None` if it is not there.

    Raises:
        InvalidConfiguration: it cannot be read, is not TOML, or a key or value in it is wrong.
    """
    try:
        return _read(path, environ)
    except RecursionError:
        raise InvalidConfiguration(f"{path} is nested too deep.") from None


def _read(path: Path, environ: Mapping[str, str]) -> tuple[Document, tuple[str, ...]] | None:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidConfiguration(f"{path} is not TOML: {error}.") from error
    document = _document(table, path, environ)
    exposed = _has_key(table) and os.name == "posix" and mode & READ_BY_OTHERS
    warning = f"{path} holds a key and others can read it: run `chmod 600 {path}`."
    return document, (warning,) if exposed else ()


def expand_home(text: str, environ: Mapping[str, str]) -> str:
    """Return the path with `~` at its start written out."""
    home = home_folder(environ)
    return home + text[1:] if home and (text == "~" or text.startswith(("~/", "~\\"))) else text


def home_folder(environ: Mapping[str, str]) -> str:
    """Return the user's folder, or an empty text if the environment does not tell it."""
    return environ.get("HOME") or environ.get("USERPROFILE") or ""


def _document(table: Mapping[str, Any], path: Path, environ: Mapping[str, str]) -> Document:
    def decode(kind: type, value: object) -> Secret | Path:
        if not isinstance(value, str):
            raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
        return Secret(value) if kind is Secret else path.parent / expand_home(value, environ)

    _check_keys(table, Document, "", path)
    kinds = {field.name: field.type for field in msgspec.structs.fields(Document)}
    values = {key: _value(key, value, kinds[key], path, decode) for key, value in table.items()}
    with _named(str(path)):
        return Document(**values)


def _value(  # any type hint, and what it says
    key: str,
    value: object,
    kind: Any,  # noqa: ANN401
    path: Path,
    decode: Callable[[type, object], object],
) -> Any:  # noqa: ANN401
    try:
        with _named(f"{path}, {key}"):
            return msgspec.convert(value, kind, dec_hook=decode)
    except msgspec.ValidationError as error:
        what, inside, where = str(error).partition(" - at `$")
        key = key + where.removesuffix("`") if inside else key
        what = what.replace(" | null", "")  # TOML has none
        raise InvalidConfiguration(f"{path}: `{key}`: {what}.") from None


@contextlib.contextmanager
def _named(place: str) -> Generator[None]:
    try:
        yield
    except InvalidConfiguration as error:
        raise InvalidConfiguration(f"{place}: {error.message}", hint=error.hint) from None


def _check_keys(table: Mapping[str, Any], shape: type[msgspec.Struct], at: str, path: Path) -> None:
    kinds = {field.name: field.type for field in msgspec.structs.fields(shape)}
    for key, value in table.items():
        if key not in kinds:
            nearest = difflib.get_close_matches(key, kinds, n=1)
            guess = f"; did you mean `{at}{nearest[0]}`?" if nearest else "."
            raise InvalidConfiguration(
                f"{path}: there is no key `{at}{key}`{guess}", hint=f"Allowed: {', '.join(kinds)}."
            )
        for inner in (kinds[key], *get_args(kinds[key])):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                for each in _tables(value):
                    _check_keys(each, inner, f"{at}{key}.", path)


def _has_key(table: Mapping[str, Any]) -> bool:
    inner = (each for value in table.values() for each in _tables(value))
    return "api_key" in table or any(map(_has_key, inner))


def _tables(value: object) -> list[dict[str, Any]]:
    """Return the table, or those of the tables in an array."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [cast("dict[str, Any]", each) for each in values if isinstance(each, dict)]
