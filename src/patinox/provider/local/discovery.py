"""Which services run here: every address is looked at at once, and who answers must prove it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from patinox.provider.checks import check_text
from patinox.provider.local.config import LocalProviderConfig, check_local_config
from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.errors import (
    InvalidConfiguration,
    ServiceNotFound,
    ServiceUnavailable,
)
from patinox.provider.local.flight import SingleFlight
from patinox.provider.local.health import begin_probe
from patinox.provider.local.naming import meant
from patinox.provider.local.observers import NOBODY, Observers
from patinox.provider.local.probing import Finding, Place, Proof, look_at, proven, usual_endpoints
from patinox.provider.local.registry import service, services
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.spec import ServiceSpec
from patinox.provider.local.transport import Transport
from patinox.provider.local.types import LocalService, ServiceInfo, ServiceStatus, ServiceType
from patinox.provider.local.watch import Known, Watch

Clock = Callable[[], float]


class ServiceDiscovery:
    """Finds services, watches them, and keeps the last that is known of each."""

    def __init__(
        self,
        config: LocalProviderConfig | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,  # noqa: TID251  a date for people, never a duration
        rng: random.Random | None = None,
        observers: Observers = NOBODY,
    ) -> None:
        """Make it without any I/O.

        Args:
            config: where to look, and for what.
            transport: connections shared with others; its own if not given.
            clock: monotonic seconds.
            wall_clock: Unix seconds, for dates that people see.
            rng: randomness of the pauses between probes.
            observers: who is told of probes and changes.

        Raises:
            InvalidConfiguration: the config is none.
        """
        if config is not None:
            check_local_config(config)
        self.observers = observers
        self.config = config or LocalProviderConfig()
        self._own_transport = transport is None
        self._transport = transport or Transport(pool_size=self.config.connection_pool_size)
        self._clock = clock
        self.watch = Watch(
            self.config.discovery_config.health_check,
            prove=self._prove_again,
            clock=clock,
            wall_clock=wall_clock,
            rng=rng,
            observers=observers,
        )
        self._names: dict[tuple[str, Endpoint], str] = {}
        # At which failure in a row a service last proved itself.
        self._vouched: dict[str, int] = {}
        self._findings: tuple[Finding, ...] = ()
        self._discovered_at: float | None = None
        self._flight = SingleFlight(self._discover)

    # What is known: plain methods that read a snapshot.

    @property
    def services(self) -> tuple[ServiceInfo, ...]:
        """Every service that was found, the preferred kinds first."""
        self.watch.in_use()
        return tuple(known.info for known in self._known.values())

    @property
    def _known(self) -> dict[str, Known]:
        return self.watch.known

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the last discovery saw at each address."""
        return self._findings

    def available_services(self) -> list[str]:
        """Return the kinds of service that can be used now, as `ServiceType` where it is one."""
        kinds = (info.service_type for info in self.services if info.status.routable)
        return [_kind(name) for name in dict.fromkeys(kinds)]

    def get_service_info(self, name: str) -> ServiceInfo | None:
        """Return what is known of a service, by its id or as the best of a type."""
        known = self.known(name)
        return known.info if known else None

    def known(self, name: str) -> Known | None:
        """Return a service with who talks to it, by its id or as the best of a type.

        Raises:
            InvalidRequest: the name is no text.
        """
        check_text("The name of a service", name)
        return min(self.meant(name), key=lambda item: not item.info.status.routable, default=None)

    def meant(self, name: str | None) -> list[Known]:
        """Return the service with this id, else all of this kind; every one for `None`."""
        if name is None:
            return list(self._known.values())
        infos = meant(name, (known.info for known in self._known.values()))
        return [self._known[info.id] for info in infos]

    def provider(self, name: str) -> ServiceProvider:
        """Return who talks to the service with this id; an id that was given out stays known.

        Raises:
            ServiceNotFound: none has it.
        """
        if name not in self._known:
            msg = f"No service has the id {check_text('The id of a service', name)!r}."
            raise ServiceNotFound(msg, hint="The ids are those of `services`.")
        return self._known[name].provider

    def all_known(self) -> tuple[Known, ...]:
        """Return every service with who talks to it."""
        return tuple(self._known.values())

    # Finding.

    async def discover_services(self, *, fresh: bool = False) -> list[str]:
        """Look at every address at once and return the kinds of service that were found.

        One discovery runs at a time, for all who ask. A young one is kept, unless `fresh`.

        Raises:
            InvalidConfiguration: an enabled service or an address names a kind that is not known.
        """
        config = self.config.discovery_config
        age = None if self._discovered_at is None else self._clock() - self._discovered_at
        young = config.cache_enabled and age is not None and age < config.cache_ttl
        if fresh or not young:
            await self._flight.run()
        return self.available_services()

    async def start_health_monitoring(self) -> None:
        """Watch the services in the background until `aclose`, as long as they are of use."""
        await self.watch.start()

    async def perform_health_checks(self) -> None:
        """Probe every service whose next probe is due, all at once."""
        await self.watch.check_due()

    async def aclose(self) -> None:
        """Stop watching and close what belongs to it."""
        async with contextlib.AsyncExitStack() as stack:
            # Each is closed, the last first, even if another cannot be.
            if self._own_transport:
                stack.push_async_callback(self._transport.aclose)
            for known in self._known.values():
                stack.push_async_callback(known.provider.aclose)
            stack.push_async_callback(self._flight.aclose)
            stack.push_async_callback(self.watch.aclose)
            if self._own_transport:
                stack.callback(self._transport.hang_up)

    # How it is done.

    async def _discover(self) -> None:
        await asyncio.to_thread(services)
        await self._transport.prepare()
        self._check_preference()
        specs = self._enabled()
        within = self.config.discovery_config.discovery_timeout
        end = self._clock() + within
        looks = (self._look(place, specs, within) for place in self._places(specs))
        self._findings = tuple(await asyncio.gather(*looks))
        await self._accept(self._findings, end=end)
        await self._stand_in()
        self._discovered_at = self._clock()

    async def _look(self, place: Place, specs: Sequence[ServiceSpec], within: float) -> Finding:
        """Look at an address; of those of a name, first at the one where a service was before."""
        known = (item.provider.endpoint for item in self._known.values())
        before = {endpoint.anywhere: endpoint.address for endpoint in known}
        return await look_at(
            place,
            specs,
            transport=self._transport,
            within=within,
            clock=self._clock,
            before=before.get(place.endpoint, ""),
        )

    def _check_preference(self) -> None:
        """Refuse to prefer a service that cannot be.

        Raises:
            InvalidConfiguration: the preference names none.
        """
        named = (given.name for given in self.config.endpoints if given.name)
        allowed = [LocalService.AUTO, *services(), *named]
        wanted = self.config.preferred_service
        # An id made from an address, such as `ollama@127.0.0.1:11500`, is known by its kind.
        if wanted.partition("@")[0] not in allowed:
            msg = f"`preferred_service` is {wanted!r}; allowed: {', '.join(allowed)}."
            raise InvalidConfiguration(msg)

    def _enabled(self) -> list[ServiceSpec]:
        names = self.config.discovery_config.enabled_services
        specs = list(services().values()) if names is None else [service(name) for name in names]
        return [spec for spec in specs if not spec.stand_in]

    def _places(self, specs: Sequence[ServiceSpec]) -> list[Place]:
        """Collect addresses: what the user gave, and the usual ones of every other kind."""
        given = [
            Place(
                endpoint=address,
                expected=service(item.service).name if item.service else None,
                name=item.name,
                setting=item.setting,
                origin=item.endpoint,
            )
            for item in self.config.endpoints
            for address in item.endpoint.addresses()
        ]
        taken = {place.expected for place in given}
        usual = [
            Place(endpoint=address, expected=spec.name, origin=usual)
            for spec in specs
            if self.config.auto_discover and spec.name not in taken
            for usual in usual_endpoints(spec)
            for address in usual.addresses()
        ]
        unique = dict[Endpoint, Place]()
        for place in (*given, *usual):
            unique.setdefault(place.endpoint, place)
        return list(unique.values())

    async def _accept(self, findings: Sequence[Finding], *, end: float) -> None:
        """Keep the services that proved themselves, and ask each for its models before `end`."""
        before, after = self._known, dict[str, Known]()
        met: set[tuple[str, Endpoint]] = set()
        for place, proof in proven(findings):
            twin = (proof.spec.name, place.origin or place.endpoint)
            # The same service is met on both addresses of one `localhost`.
            if twin not in met:
                met.add(twin)
                known = self._meet(place, proof, before)
                after[known.info.id] = known
        checks = list(after)
        # One that is not found now stays, and its state tells what became of it.
        missing = [known for name, known in before.items() if name not in after]
        self.watch.known = after | {known.info.id: known for known in missing}
        self.watch.tell_changes(*after)
        for known in missing:
            gone = self._gone(known, findings)
            if gone is None:
                checks.append(known.info.id)
            else:
                error = ServiceUnavailable(gone.reason, refused=gone.refused)
                self.watch.failed(begin_probe(known.info), error, gone=gone.answered)
        await asyncio.gather(*(self.watch.check(name, end=end) for name in checks))

    @staticmethod
    def _gone(known: Known, findings: Iterable[Finding]) -> Finding | None:
        """Return what was found at the address of a service that is not there any more."""
        for finding in findings:
            there = finding.place.endpoint == known.provider.endpoint.anywhere
            if there and not known.spec.stand_in:
                return finding
        return None

    def _meet(self, place: Place, proof: Proof, before: Mapping[str, Known]) -> Known:
        """Make a service out of a proof; one that was known goes on where it was."""
        spec, identity = proof.spec, proof.identity
        name = self._id_for(spec, place)
        known = before.get(name)
        version = {"version": identity.version, "version_inferred": False}
        was_known, known = known is not None, known or self._new(spec, name, place)
        known.provider.moved(proof.endpoint)
        if was_known and identity.status is ServiceStatus.AVAILABLE:
            # That it is there says nothing yet of how it works.
            return replace(known, info=replace(known.info, **version))
        info = replace(known.info, **version, status=identity.status, detail=identity.detail)
        return replace(known, info=info)

    def _new(self, spec: ServiceSpec, name: str, place: Place | None = None) -> Known:
        config = self.config.for_service(spec.name)
        if place is not None and place.expected != spec.name:
            # A key belongs to the address that it was given for, not to whatever is found.
            config = replace(config, api_key=None)
        provider = spec.provider(
            place.endpoint if place else "", config, service_id=name, transport=self._transport
        )
        provider.observers = self.observers
        provider.vouch = partial(self._vouch, name)
        info = ServiceInfo(
            id=name, service_type=spec.name, label=spec.label, endpoint=provider.address
        )
        return Known(spec=spec, provider=provider, info=info)

    def _id_for(self, spec: ServiceSpec, place: Place) -> str:
        """Name a service once and for all: by its kind, a second of the kind by its address too."""
        key = (spec.name, place.endpoint)
        if key not in self._names:
            taken = set(self._names.values())
            name = place.name or spec.name
            self._names[key] = f"{spec.name}@{place.endpoint.authority}" if name in taken else name
        return self._names[key]

    async def _stand_in(self) -> None:
        """Call in what needs no server, where none answers or where it was asked for."""
        alone = not any(info.status.routable for info in self.services)
        wanted = {self.config.preferred_service}
        wanted.update(self.config.discovery_config.enabled_services or ())
        for spec in services().values():
            if spec.stand_in and (alone or spec.name in wanted):
                await self.call_in(spec.name)

    async def call_in(self, name: str) -> Known | None:
        """Make a service that needs no server known; `None` if there is none of that name."""
        check_text("The name of a service", name)
        spec = services().get(name)
        enabled = self.config.discovery_config.enabled_services
        allowed = enabled is None or name in enabled
        if spec is None or not spec.stand_in or not allowed:
            return None
        if not await asyncio.to_thread(spec.available):
            return None
        if name not in self._known:
            self._known[name] = self._new(spec, name)
            await self.watch.check(name)
        return self._known[name]

    async def _prove_again(self, known: Known) -> None:
        """Who answers must be who was there: before it is shown a key, and after it has failed.

        Raises:
            ServiceUnavailable: it is another, or nobody.
        """
        if known.spec.stand_in or not (known.provider.config.api_key or _in_doubt(known)):
            return
        place = Place(endpoint=known.provider.endpoint.anywhere)
        within = self.config.discovery_config.health_check.timeout
        finding = await self._look(place, [known.spec], within)
        if finding.proof is None:
            raise ServiceUnavailable(finding.reason, refused=finding.refused)
        known.provider.moved(finding.proof.endpoint)
        self._vouched[known.info.id] = known.info.consecutive_failures

    async def _vouch(self, name: str) -> None:
        """Have a service that failed prove itself once more before it is shown its key.

        Raises:
            ServiceUnavailable: it does not.
        """
        known = self._known[name]
        if _in_doubt(known) and self._vouched.get(name) != known.info.consecutive_failures:
            await self._prove_again(known)


def _in_doubt(known: Known) -> bool:
    """Whether a service failed the last time: another may have taken its place since."""
    return known.info.consecutive_failures > 0


def _kind(name: str) -> str:
    return ServiceType(name) if name in set(ServiceType) else name
