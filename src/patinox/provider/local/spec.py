"""The facts that make a kind of service: data, until it needs behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.features import Feature
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.secret import Secret

if TYPE_CHECKING:
    from patinox.provider.local.service import ServiceProvider


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a service proved about itself.

    Attributes:
        version: as it tells, or as concluded from what it can do; else `None`.
        version_inferred: it was concluded.
        status: `available`, or why it cannot be used although it is what it is.
        detail: the same in a few words.
    """

    version: str | None = None
    version_inferred: bool = False
    status: ServiceStatus = ServiceStatus.AVAILABLE
    detail: str | None = None


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the models of a service, and of those that are in memory."""

    models: tuple[str, ...]
    loaded: tuple[str, ...]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes, and the key that may be shown there."""

    endpoint: Endpoint
    api_key: Secret | None = None


Identify = Callable[[Sequence[HTTPReply | None]], Identity | None]


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one kind of service.

    Attributes:
        name: how configuration and `service::model` spell it.
        label: its name for people.
        docs: the vendor's page about its API.
        provider: the class that talks to it.
        default_endpoints: where it listens if nobody moved it.
        endpoint_variable: the environment variable that moves it.
        start_hint: how a person starts it.
        probes: harmless requests whose replies prove who answers.
        identify: reads these replies, `None` for one that failed; `None` if it is another service.
        stand_in: needs no server: it is used where none answers, or when it is asked for.
        available: whether what a stand-in needs is installed.
        since: the first version with a feature, where it came later than the rest.
        shown_of: the versions that its tests are run against, and what these rest on.
        rank: place in the order of preference where nothing else decides; the lower, the sooner.
    """

    name: str
    label: str
    docs: str
    provider: type[ServiceProvider]
    default_endpoints: tuple[str, ...] = ()
    endpoint_variable: str | None = None
    start_hint: str = ""
    probes: tuple[HTTPRequest, ...] = ()
    identify: Identify = lambda _: None
    stand_in: bool = False
    available: Callable[[], bool] = lambda: True
    since: Mapping[Feature, str] = {}
    shown_of: str = ""
    rank: int = 50
