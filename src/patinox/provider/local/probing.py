"""Who listens at an address: asked with harmless requests, believed only when proven."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import ProviderError
from patinox.provider.local.config import Deadlines
from patinox.provider.local.endpoint import Endpoint, parse_endpoint
from patinox.provider.local.errors import NetworkError, ServiceUnavailable
from patinox.provider.local.spec import Identity, ServiceSpec
from patinox.provider.local.transport import Transport
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest

PROBE_BUDGET = 2**20
# Of one name, so many addresses are looked at.
_MOST_ADDRESSES = 4


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An address to look at.

    Attributes:
        endpoint: where.
        expected: name of the service that should be there, or `None` for any.
        name: id the user gave to it.
        setting: what named the address: a variable, a key of the file, or `default`.
        origin: the endpoint that it is one address of, such as that of `localhost`.
    """

    endpoint: Endpoint
    expected: str | None = None
    name: str | None = None
    setting: str = "default"
    origin: Endpoint | None = None

    @property
    def configured(self) -> bool:
        """Whether the user named the address."""
        return self.setting != "default"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of service proved itself.

    Attributes:
        spec: its kind.
        identity: what it said about itself.
        endpoint: where it did: of a name, also the address to which that led.
    """

    spec: ServiceSpec
    identity: Identity
    endpoint: Endpoint


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of looking at one address.

    Attributes:
        place: where was looked.
        proof: the service that proved itself, or `None`.
        answered: whether anything answered at all.
        reason: why it was accepted or not, in a line.
        refused: nothing listens there.
        seconds: how long it took.
    """

    place: Place
    proof: Proof | None = None
    answered: bool = False
    reason: str = ""
    refused: bool = False
    seconds: float = 0.0


async def look_at(
    place: Place,
    specs: Sequence[ServiceSpec],
    *,
    transport: Transport,
    within: float,
    clock: Callable[[], float],
    before: str = "",
) -> Finding:
    """Find out who listens at an address, the expected kind first; never raises.

    A name is looked up anew and all its addresses are looked at, that of `before` as the first.
    """
    end = clock() + within
    try:
        endpoints = await _addresses(place.endpoint, transport, within, before)
    except ServiceUnavailable as error:
        return Finding(place=place, reason=error.message, seconds=within - (end - clock()))
    looks = (_look(place, one, specs, transport, clock=clock, end=end) for one in endpoints)
    findings = await asyncio.gather(*looks)
    found = next((one for one in findings if one.proof is not None), findings[0])
    return replace(found, seconds=within - (end - clock()))


async def _addresses(
    endpoint: Endpoint, transport: Transport, within: float, before: str
) -> list[Endpoint]:
    if not endpoint.is_name:
        return [endpoint]
    # One with the name of an interface in it cannot be written into a URL.
    found = [at for at in await transport.look_up(endpoint, within=within) if "%" not in at]
    found.sort(key=lambda address: address != before)
    return [replace(endpoint, address=address) for address in found[:_MOST_ADDRESSES]] or [endpoint]


async def _look(
    place: Place,
    endpoint: Endpoint,
    specs: Sequence[ServiceSpec],
    transport: Transport,
    *,
    clock: Callable[[], float],
    end: float,
) -> Finding:
    first = [spec for spec in specs if spec.name == place.expected]
    others = [spec for spec in specs if spec.name != place.expected]
    asker = _Asker(endpoint, transport, clock=clock, end=end)
    for round_ in (first, others):
        if not round_:
            continue
        found = await asyncio.gather(*(asker.identify(spec) for spec in round_))
        for spec, identity in zip(round_, found, strict=True):
            if identity is not None:
                return Finding(
                    place=place,
                    proof=Proof(spec=spec, identity=identity, endpoint=endpoint),
                    answered=True,
                    reason=_accepted(place, spec, identity),
                )
        if not asker.answered:
            break
    return Finding(
        place=place,
        answered=asker.answered,
        reason=_rejected(asker, specs),
        refused=isinstance(asker.error, ServiceUnavailable) and asker.error.refused,
    )


class _Asker:
    """Sends the probes of several kinds of service to one address, each request once."""

    def __init__(
        self, endpoint: Endpoint, transport: Transport, *, clock: Callable[[], float], end: float
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._clock = clock
        self._end = end
        self.answered = False
        self.error: ProviderError | None = None

    async def identify(self, spec: ServiceSpec) -> Identity | None:
        replies = await asyncio.gather(*(self._probe(request) for request in spec.probes))
        try:
            return spec.identify(replies)
        except Exception as error:  # noqa: BLE001  a plugin's fault is no proof, and no more
            self.error = ProviderError(f"the proof of {spec.label} failed with {error!r:.200}")
            return None

    async def _probe(self, request: HTTPRequest) -> HTTPReply | None:
        deadlines = Deadlines()
        local = self._endpoint.is_loopback
        connect = deadlines.connect if local else deadlines.connect_remote
        within = max(self._end - self._clock(), 0.0)
        try:
            reply = await self._transport.send(
                self._endpoint,
                request,
                within=within,
                connect=min(connect, within),
                budget=PROBE_BUDGET,
            )
        except ProviderError as error:
            self.error = error
            self.answered = self.answered or not isinstance(error, NetworkError)
            return None
        self.answered = True
        return reply


def _accepted(place: Place, spec: ServiceSpec, identity: Identity) -> str:
    proof = f"proved to be {spec.label}"
    if place.expected not in {None, spec.name}:
        proof += f", where {place.expected} was expected"
    return f"{proof}; {identity.detail}" if identity.detail else proof


def _rejected(asker: _Asker, specs: Iterable[ServiceSpec]) -> str:
    if asker.answered:
        kinds = ", ".join(spec.label for spec in specs)
        return f"something answers, but did not prove to be any of: {kinds}"
    return asker.error.message if asker.error else "nothing was asked"


def usual_endpoints(spec: ServiceSpec) -> list[Endpoint]:
    """Return where the service listens if nobody moved it."""
    return [parse_endpoint(url, default_port=80) for url in spec.default_endpoints]


def proven(findings: Iterable[Finding]) -> list[tuple[Place, Proof]]:
    """Sort so that the first of a kind is the one that its name means wherever others run.

    Then the preferred kinds come first, and IPv4 before IPv6.
    """
    proven = [(item.place, item.proof) for item in findings if item.proof is not None]
    return sorted(
        proven,
        key=lambda pair: (
            _claim(pair[0], pair[1].spec),
            pair[1].spec.rank,
            ":" in pair[0].endpoint.host,
            str(pair[0].endpoint),
        ),
    )


def _claim(place: Place, spec: ServiceSpec) -> int:
    """Tell how good the claim of an address to the name of its kind is, the best first.

    One that bears a name has that; then comes one that was given for the kind, then where the kind
    usually is, then wherever else it was found.
    """
    if place.name is not None:
        return 0
    if place.configured and place.expected == spec.name:
        return 1
    usual = {address for each in usual_endpoints(spec) for address in each.addresses()}
    return 2 if place.endpoint in usual else 3
