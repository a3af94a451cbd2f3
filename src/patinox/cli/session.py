"""What every command begins with: the settings, the services, and the model that is meant."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from patinox.cli.output import Output
from patinox.cli.unanswered import unanswered
from patinox.provider.config import Local
from patinox.provider.factory import provider_from
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.environment import Settings, load_settings
from patinox.provider.local.errors import ModelNotFound, ServiceNotFound
from patinox.provider.local.naming import meant
from patinox.provider.local.nearest import model_not_found
from patinox.provider.local.registry import endpoint_variables, services
from patinox.provider.local.routing import pick_default
from patinox.provider.local.types import LocalService, ServiceInfo, ServiceType
from patinox.provider.types import ModelId, ModelInfo

DEMO = "a 1 MB toy that proves the path, not a useful assistant"
# What is more likely a mistyped model than a prompt of one word: `lama3.2`, `qwen3:4b`.
_LIKE_A_MODEL = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9:])[\w.:/@+-]+", re.ASCII)
# The same, if a model here begins so: `gpt-oss`.
_LIKE_A_FAMILY = re.compile(r"\w[\w.]*-[\w.-]+", re.ASCII)
# What is a model beyond doubt: a service or a tag is named.
_MODEL = re.compile(r".+::.+|[A-Za-z][\w./-]*:(latest|[0-9][\w.-]*)", re.ASCII)


class Setup(NamedTuple):
    """What every command can be told: the service to use, and the configuration file."""

    service: str | None = None
    config: Path | None = None


class Chosen(NamedTuple):
    """The model to use.

    Attributes:
        info: what is known of it.
        wanted: how it is asked for; without a service another that has it may answer as well.
        words: what is left for the prompt.
        reason: why it, where nobody named it.
    """

    info: ModelInfo
    wanted: ModelId
    words: tuple[str, ...] = ()
    reason: str | None = None


def read_settings(setup: Setup) -> Settings:
    """Read what is configured; raises `InvalidConfiguration`."""
    return load_settings(file=setup.config, more=endpoint_variables())


def local_config(settings: Settings) -> LocalProviderConfig:
    """Make the settings of a command: of all services, with what is configured preferred.

    Raises:
        InvalidConfiguration: a provider in the cloud is chosen.
    """
    config = replace(settings.config, monitor=False)  # a command looks once
    provider = settings.defaults.provider
    if isinstance(provider, Local):
        return config
    provider_from(provider)
    preferred = config.preferred_service
    return replace(
        config, preferred_service=provider.kind if preferred == LocalService.AUTO else preferred
    )


@contextlib.asynccontextmanager
async def open_local(
    setup: Setup, out: Output, *, warn: bool = True
) -> AsyncGenerator[LocalProvider]:
    """Find the services.

    Args:
        setup: what the command was told.
        out: where to say what is amiss.
        warn: whether to say at which of the addresses that were given no service is.

    Raises:
        InvalidConfiguration: a setting is wrong.
        ServiceNotFound: the service that is asked for is not there.
    """
    settings = await asyncio.to_thread(read_settings, setup)
    for warning in settings.warnings:
        out.remark(warning)
    async with LocalProvider(local_config(settings)) as local:
        if warn:
            for silent in unanswered(local.discovery.findings, setup.service):
                out.remark(str(silent))
        if setup.service is not None:
            await the_service(local, setup.service)
        yield local


async def the_service(local: LocalProvider, name: str) -> ServiceInfo:
    """Return a service by its id or type; one that needs no server is called in.

    Raises:
        ServiceNotFound: it is not there.
    """
    info = local.get_service_info(name)
    if info is None and (called := await local.discovery.call_in(name)):
        return called.info
    if info is None:
        await local.discovery.call_in(ServiceType.EMBEDDED)
        there = [each.id for each in local.services]
        spec = services().get(name)
        hint = f"Start it: `{spec.start_hint}`; more: patinox doctor" if spec else None
        raise ServiceNotFound(
            f"There is no service {name!r} here.", hint=hint or _nearest(name, there)
        )
    return info


def _nearest(name: str, there: Sequence[str]) -> str:
    """Say which service may be meant, and which there are."""
    known = dict.fromkeys((*there, *services()))
    near = [] if name in known else difflib.get_close_matches(name, known, n=1)
    said = [f"Did you mean {near[0]}?"] if near else []
    return " ".join(
        (*said, f"There are: {', '.join(there)}." if there else "None answers: patinox doctor")
    )


def chosen_services(local: LocalProvider, setup: Setup) -> list[ServiceInfo]:
    """List the services that are meant."""
    return meant(setup.service, local.services)


async def chosen_models(local: LocalProvider, setup: Setup) -> list[ModelInfo]:
    """List the models of the services that are meant; raises `ProviderError`."""
    names = {info.id for info in chosen_services(local, setup)}
    return [info for info in await local.list_models() if info.service in names]


def place_name(info: ServiceInfo) -> str:
    """Name a service for people: by its label, a second of its kind by its id."""
    return info.label if info.id == info.service_type else info.id


def place_of(local: LocalProvider, service: str | None) -> str:
    """Name the service with this id for people."""
    info = local.get_service_info(service) if service else None
    return place_name(info) if info else service or "?"


async def find_model(local: LocalProvider, name: str, setup: Setup) -> Chosen:
    """Find the model that is named.

    Raises:
        ModelNotFound: it is not there; the message has the nearest names.
        ServiceNotFound: no service answers, or not the one that is named.
    """
    wanted = ModelId.parse(name)
    hint = wanted.provider_hint or setup.service
    if hint is not None:
        await the_service(local, hint)
    wanted = ModelId(wanted.name, hint)
    info = await local.find_model(wanted)
    if info is None and hint is None:
        # What is inside stands back where a server runs, unless it is asked for.
        await local.discovery.call_in(ServiceType.EMBEDDED)
        info = await local.find_model(wanted)
    if info is None:
        models = await chosen_models(local, setup)
        error = model_not_found(wanted, models, where=hint or "any service")
        error.retryable = False  # everybody was asked
        raise error
    return Chosen(info, wanted)


async def choose_model(
    local: LocalProvider,
    setup: Setup,
    model: str | None,
    words: Sequence[str],
    *,
    vision: bool = False,
) -> Chosen:
    """Decide which model answers: the one named, or that the first word names, or the default.

    With `vision` the default is one that sees pictures.

    Raises:
        ModelNotFound: the model is not there.
        ServiceNotFound: no service answers.
    """
    if model is not None:
        return (await find_model(local, model, setup))._replace(words=tuple(words))
    if words and (named := await _named_by(local, words[0], setup)):
        return named._replace(words=tuple(words[1:]))
    info, reason = await _default_model(local, setup, vision=vision)
    return Chosen(info, info.model_id, tuple(words), reason)


async def _default_model(
    local: LocalProvider, setup: Setup, *, vision: bool
) -> tuple[ModelInfo, str]:
    if setup.service is None:
        return await local.default_model(vision=vision)
    health = {info.id: info.status for info in local.services}
    picked = pick_default(await chosen_models(local, setup), health, vision=vision)
    if picked is None:
        can = "is known to see pictures" if vision else "can chat"
        raise ModelNotFound(f"No model on {setup.service} {can}.", hint="All: patinox models")
    return picked


async def _named_by(local: LocalProvider, word: str, setup: Setup) -> Chosen | None:
    """Find the model that a first word names; raises where it nearly names one."""
    if not word or any(character.isspace() for character in word):
        return None
    wanted = ModelId(word, setup.service)
    if "::" not in word and (info := await local.find_model(wanted)) is not None:
        return Chosen(info, wanted)
    prefix, slash, name = word.partition("/")
    if slash and name and (prefix in services() or local.get_service_info(prefix)):
        word = f"{prefix}::{name}"
    elif not (_LIKE_A_MODEL.fullmatch(word) or await _begins_a_model(local, word, setup)):
        return None
    try:
        return await find_model(local, word, setup)
    except ModelNotFound as error:
        if not error.nearest and not _MODEL.fullmatch(word):
            return None
        error.hint = f"{error.hint or ''} (Is it a prompt? Then name the model: --model.)".strip()
        raise


async def _begins_a_model(local: LocalProvider, word: str, setup: Setup) -> bool:
    """Whether a word with a hyphen is the beginning of a model's name, up to a hyphen or colon."""
    if not _LIKE_A_FAMILY.fullmatch(word):
        return False
    names = [info.id.rpartition("/")[2].casefold() for info in await chosen_models(local, setup)]
    return any(name.startswith((f"{word.casefold()}-", f"{word.casefold()}:")) for name in names)


async def choose_embedder(local: LocalProvider, setup: Setup) -> Chosen:
    """Choose the model that makes vectors where none is named.

    It is one that is made for it before one that also chats, one in memory before the smallest; the
    toy comes last, and a model in the cloud is never chosen.

    Raises:
        ModelNotFound: there is none.
        ServiceNotFound: no service answers, or only the toy could where an address is configured
            that does not.
    """
    able = [
        info
        for info in await chosen_models(local, setup)
        if info.capabilities.supports_embeddings and not info.remote
    ]
    if not able:
        raise ModelNotFound(
            "No model here is known to make vectors.",
            hint="Name one with --model, or get one: ollama pull nomic-embed-text",
        )
    picked = min(able, key=_embedder_key)
    silent = unanswered(local.discovery.findings)
    if picked.demo and silent and setup.service is None:
        raise ServiceNotFound(
            f"No service is where the configuration says. {silent[0]}.",
            hint="Start it, or see: patinox doctor",
        )
    reason = "in memory" if picked.loaded else "the smallest that makes vectors"
    return Chosen(picked, picked.model_id, reason=reason)


def _embedder_key(info: ModelInfo) -> tuple[bool, bool, bool, int, str]:
    return (
        info.demo,
        info.capabilities.supports_chat is not False,
        not info.loaded,
        info.size_bytes or 0,
        info.id,
    )


def announce(out: Output, local: LocalProvider, chosen: Chosen) -> None:
    """Say which model was chosen and why, where nobody named it, and what the toy is."""
    info = chosen.info
    if chosen.reason is not None:
        out.remark(f"{info.id} on {place_of(local, info.service)} ({chosen.reason})")
    if info.demo:
        out.remark(f"{info.id} is {DEMO}")
