"""The environment, and all that it is joined with: defaults, file, environment, arguments.

A later one of these wins. This is the only reader of the environment; everything here takes it as
an argument, and an empty one shuts out the machine: no variable, and no file of the user's either.
"""

from __future__ import annotations

import difflib
import itertools
import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, TypeVar, Unpack, cast

import msgspec
from msgspec.structs import replace

from patinox.provider.config import GlobalConfig, LMStudio, Local, Ollama, Provider
from patinox.provider.local.config import (
    DiscoveryConfig,
    EmbeddedConfig,
    EndpointConfig,
    LMStudioConfig,
    LocalProviderConfig,
    OllamaConfig,
    ServiceConfig,
    check_distinct,
)
from patinox.provider.local.configfile import Document, expand_home, home_folder, read_document
from patinox.provider.local.endpoint import Endpoint, hide_secrets
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.local.variables import VARIABLES, Variable
from patinox.provider.types import ModelId

USED = "used"
FILE_NAME = "patinox.toml"
_S = TypeVar("_S", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is configured.

    Attributes:
        config: for the provider of everything local.
        defaults: the provider to use, and the lowest level of defaults for requests.
        file: the configuration file that was read, or `None`.
        warnings: what is amiss but no error, in a line each.
    """

    config: LocalProviderConfig
    defaults: GlobalConfig
    file: Path | None = None
    warnings: tuple[str, ...] = ()


class Overrides(TypedDict, total=False):
    """The fields of `LocalProviderConfig`; `None` leaves a field as it is configured."""

    discovery_config: DiscoveryConfig | None
    ollama: OllamaConfig | None
    lmstudio: LMStudioConfig | None
    llamacpp: ServiceConfig | None
    embedded: EmbeddedConfig | None
    endpoints: tuple[EndpointConfig, ...] | None
    auto_discover: bool | None
    preferred_service: str | None
    model_paths: tuple[Path, ...] | None
    default_model: str | None
    allow_cloud: bool | None
    monitor: bool | None
    connection_pool_size: int | None
    continuation: bool | None


class VariableRow(NamedTuple):
    """A variable, for the documentation."""

    name: str
    sets: str
    allowed: str
    description: str


class VariableFate(NamedTuple):
    """A variable that is set: its value as it may be shown, and what became of it."""

    name: str
    value: str
    fate: str


class _File(NamedTuple):
    path: Path | None = None
    document: Document = Document()
    endpoints: tuple[EndpointConfig, ...] = ()
    warnings: tuple[str, ...] = ()


def load_config(
    environ: Mapping[str, str] | None = None,
    *,
    file: Path | str | None = None,
    more: Sequence[Variable] = (),
    **overrides: Unpack[Overrides],
) -> LocalProviderConfig:
    """Join defaults, file, environment and arguments.

    Args:
        environ: the environment; `None` for the process's own.
        file: the configuration file; `None` for `$PATINOX_CONFIG` or the user's.
        more: variables of further services, made by `endpoint_variable`.
        overrides: fields of the result that win over all of these.

    Raises:
        InvalidConfiguration: a value is wrong; the message names the setting, the value (unless it
            is a key) and what is allowed.
    """
    said = {field: value for field, value in overrides.items() if value is not None}
    return replace(load_settings(environ, file=file, more=more).config, **said)


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    file: Path | str | None = None,
    more: Sequence[Variable] = (),
) -> Settings:
    """Join defaults, file and environment, and keep what `load_config` leaves out.

    Args:
        environ: the environment; `None` for the process's own.
        file: the configuration file; `None` for `$PATINOX_CONFIG` or the user's.
        more: variables of further services, made by `endpoint_variable`.

    Raises:
        InvalidConfiguration: a value is wrong.
    """
    environ = os.environ if environ is None else environ
    found = _read_file(environ, file)
    document, endpoints, used = found.document, list[EndpointConfig](), set[str]()
    for variable, text, fate in _fates(environ, found, file=file, more=more):
        if fate != USED or not variable.sets or variable.beside:
            continue
        used.add(variable.name)
        value = variable.read(variable.name, text, environ)
        if isinstance(value, EndpointConfig):
            endpoints.append(value)
        document = _apply(document, variable, value)
    if document.embedded.home is None and (home := home_folder(environ)):
        document = _set(document, "embedded.home", Path(home))
    config = document.config(_distinct(endpoints, document.addresses(found.path)))
    _check_preference(config, found.path)
    return Settings(
        config=config,
        defaults=GlobalConfig(
            provider=_provider(document, config, used),
            model=ModelId.parse(config.default_model) if config.default_model else None,
            timeout=document.provider.timeout,
        ),
        file=found.path,
        warnings=(*found.warnings, *_missing(config.model_paths)),
    )


def explain(
    environ: Mapping[str, str] | None = None,
    *,
    file: Path | str | None = None,
    more: Sequence[Variable] = (),
) -> list[VariableFate]:
    """Tell of each variable that is set whether it is used, overruled, ignored or wrong.

    Takes what `load_settings` takes, and raises nothing.
    """
    environ = os.environ if environ is None else environ
    found, broken = _File(), ""
    try:
        found = _read_file(environ, file)
    except InvalidConfiguration as error:
        broken = f"wrong: {error}"
    told = list[VariableFate]()
    for variable, text, decided in _fates(environ, found, file=file, more=more):
        fate = decided
        if fate == USED:
            fate = _wrong(variable, text, environ) or (broken if not variable.sets else "") or USED
        told.append(VariableFate(variable.name, _shown(variable, text), fate))
    known = {variable.name for variable in _variables(more)}
    for name in sorted(environ.keys() - known):
        if name.startswith("PATINOX_"):
            nearest = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {nearest[0]}?" if nearest else ""
            told.append(VariableFate(name, "***", f"ignored: there is no such variable{guess}"))
    return told


def environment_table(more: Sequence[Variable] = ()) -> list[VariableRow]:
    """List the variables, the stronger before the weaker, for the documentation."""
    return [
        VariableRow(variable.name, variable.sets, variable.allowed, variable.description)
        for variable in _variables(more)
    ]


def default_files(environ: Mapping[str, str], platform: str = sys.platform) -> tuple[Path, ...]:
    """List where the configuration file may be, the first that exists being the one."""
    home, folders = home_folder(environ), list[str]()
    if platform == "win32":
        folders = [environ.get("APPDATA", "")]
    else:
        xdg = environ.get("XDG_CONFIG_HOME", "")  # must be absolute, says its specification
        folders = [xdg if xdg.startswith("/") else f"{home}/.config" if home else ""]
        if platform == "darwin" and home:
            folders.append(f"{home}/Library/Application Support")
    return tuple(Path(folder, "patinox", FILE_NAME) for folder in folders if folder)


def semconv_opt_in(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return which new conventions of OpenTelemetry are wanted, by its own variable.

    Args:
        environ: the environment; `None` for the process's own.
    """
    environ = os.environ if environ is None else environ
    words = environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return frozenset(word.strip() for word in words if word.strip())


def _read_file(environ: Mapping[str, str], file: Path | str | None) -> _File:
    if not isinstance(environ, Mapping):
        msg = f"`environ` is a {type(environ).__name__}; allowed: a mapping of names to texts."
        raise InvalidConfiguration(msg)
    if not isinstance(file, Path | str | None):
        msg = f"`file` is a {type(file).__name__}; allowed: a path."
        raise InvalidConfiguration(msg)
    named = environ.get("PATINOX_CONFIG", "").strip() if file is None else str(file)
    file = Path(expand_home(named, environ)) if named else None
    for path in default_files(environ) if file is None else (file,):
        if read := read_document(path, environ):
            document, warnings = read
            endpoints = tuple(document.addresses(path))
            check_distinct(endpoints)
            return _File(path, document, endpoints, warnings)
    if file is None:
        return _File()
    raise InvalidConfiguration(f"The configuration file {file} is not there.")


def _variables(more: Sequence[Variable]) -> tuple[Variable, ...]:
    known = {variable.name for variable in VARIABLES}
    return (*VARIABLES, *(variable for variable in more if variable.name not in known))


def _fates(
    environ: Mapping[str, str], found: _File, *, file: Path | str | None, more: Sequence[Variable]
) -> Iterator[tuple[Variable, str, str]]:
    """Go through the variables that are set, with the text and what becomes of each."""
    taken = {"": "the file argument"} if file else {}
    given = {f"{each.service}.endpoint" for each in found.endpoints}
    chosen = environ.get("PATINOX_MODEL_PROVIDER", "").strip().lower()
    chosen = chosen or found.document.provider.default or ""
    for variable in _variables(more):
        if variable.name not in environ:
            continue
        text = environ[variable.name].strip()
        fate = _fate(variable, taken, given, chosen) if text else "ignored: empty is not set"
        if fate == USED and not variable.adds:
            taken.setdefault(variable.sets, variable.name)
        yield variable, text, fate


def _fate(variable: Variable, taken: Mapping[str, str], given: Container[str], chosen: str) -> str:
    ruler = taken.get(variable.sets)
    if ruler and ruler != variable.beside and not variable.adds:
        return f"overruled by {ruler}"
    if variable.beside and not ruler:
        return f"ignored: it is read only together with {variable.beside}"
    if variable.needs and variable.needs not in given and variable.needs not in taken:
        return f"ignored: `{variable.needs}` is not configured"
    if variable.cloud and variable.cloud != chosen:
        return "ignored: a key or an address alone never selects a cloud provider"
    return USED


def _apply(document: Document, variable: Variable, value: object) -> Document:
    if isinstance(value, EndpointConfig):
        # It is used instead of the one in the file.
        return document if variable.adds else _set(document, variable.sets, None)
    if variable.adds:
        value = (*getattr(document, variable.sets), *cast("tuple[Path, ...]", value))
    if variable.sets == "provider.timeout":  # stronger than what the file says of one service
        for service in ("ollama", "lmstudio", "llamacpp", "embedded"):
            document = _set(document, f"{service}.timeout", None)
    return _set(document, variable.sets, value)


def _set(struct: _S, key: str, value: object) -> _S:
    head, _, rest = key.partition(".")
    return replace(struct, **{head: _set(getattr(struct, head), rest, value) if rest else value})


def _distinct(*levels: Iterable[EndpointConfig]) -> tuple[EndpointConfig, ...]:
    first: dict[Endpoint, EndpointConfig] = {}
    for given in itertools.chain(*levels):
        first.setdefault(given.endpoint, given)
    return tuple(first.values())


def _check_preference(config: LocalProviderConfig, file: Path | None) -> None:
    named = {name for given in config.endpoints for name in (given.name, given.service) if name}
    allowed = [*LocalService, *sorted(named.difference(LocalService))]
    if config.preferred_service not in allowed:
        raise InvalidConfiguration(
            f"`preferred_service` in {file} is {config.preferred_service!r}; "
            f"allowed: {', '.join(allowed)}."
        )


def _provider(document: Document, config: LocalProviderConfig, used: Container[str]) -> Provider:
    kind = document.provider.default or _suggested(config, used)
    if kind == "ollama":
        ollama = _allowing(config.ollama, cloud=config.allow_cloud)
        return Ollama(endpoint=_address(config, kind, Ollama().endpoint), config=ollama)
    if kind == "lmstudio":
        lmstudio = _allowing(config.lmstudio, cloud=config.allow_cloud)
        return LMStudio(endpoint=_address(config, kind, LMStudio().endpoint), config=lmstudio)
    table = document.provider
    clouds = {"openai": table.openai, "openrouter": table.openrouter, "anthropic": table.anthropic}
    return clouds.get(kind, Local(auto_discover=config.auto_discover))


def _suggested(config: LocalProviderConfig, used: Container[str]) -> str:
    """Return the provider that the addresses suggest; a preference is one of many services."""
    if config.preferred_service == LocalService.AUTO:
        for name, kind in (("OLLAMA_ENDPOINT", "ollama"), ("LMSTUDIO_ENDPOINT", "lmstudio")):
            if name in used:
                return kind
    return Local.kind


def _address(config: LocalProviderConfig, service: str, usual: str) -> str:
    given = (str(given.endpoint) for given in config.endpoints if given.service == service)
    return next(given, usual)


def _allowing(config: _S, *, cloud: bool) -> _S:
    return replace(config, allow_cloud=True) if cloud else config


def _missing(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110  `Path.exists` raises for a path too long
            yield f"There is no {path}, where models should be."


def _wrong(variable: Variable, text: str, environ: Mapping[str, str]) -> str:
    try:
        variable.read(variable.name, text, environ)
    except InvalidConfiguration as error:
        return f"wrong: {error}"
    return ""


def _shown(variable: Variable, text: str) -> str:
    if variable.secret and text:
        return "***"
    address = variable.sets.endswith(("endpoint", "endpoints", "base_url"))
    return hide_secrets(text) if address else text
