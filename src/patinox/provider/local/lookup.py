"""Who has a model, and in which order they are asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    InvalidRequest,
    ProviderClosed,
    ProviderError,
)
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.errors import ServiceNotFound
from patinox.provider.local.features import Prompt, refuse_lacking
from patinox.provider.local.flight import side_by_side
from patinox.provider.local.health import begin_probe
from patinox.provider.local.nearest import model_not_found
from patinox.provider.local.preflight import refuse
from patinox.provider.local.registry import services
from patinox.provider.local.routing import Candidate, Choice, plan
from patinox.provider.local.waiting import in_time
from patinox.provider.local.watch import Known
from patinox.provider.types import EmbeddingRequest, ModelId, ModelInfo

# How long a service may take to list its models before the others are enough, in seconds.
_PATIENCE = 0.5

Listed = list[ModelInfo] | ProviderError


class ModelLookup:
    """Looks for models on the services that a discovery knows."""

    def __init__(self, discovery: ServiceDiscovery) -> None:
        """Keep where to look."""
        self._discovery = discovery

    async def route(
        self, wanted: ModelId, request: Prompt | EmbeddingRequest | None = None
    ) -> tuple[Choice, ...]:
        """Decide who is asked, after one fresh look if nobody seems to have the model.

        Who is known not to be able to do what the `request` asks is left out, if another can;
        without one, who cannot chat.
        """
        candidates = await self.candidates(wanted)
        if not candidates:
            await self._discovery.discover_services(fresh=True)
            await self.call_in(wanted.provider_hint)
            candidates = await self.candidates(wanted, fresh=True)
        if not candidates:
            raise await self._not_found(wanted)
        able = candidates
        if len(candidates) > 1:
            able = [item for item in candidates if self._can(item, request)] or candidates
        choices = plan(wanted, able, preference=self._discovery.config.preferred_service)
        if len(able) == 1 < len(candidates) and wanted.provider_hint is None:
            choices = (replace(choices[0], reason="the only one that can do what is asked"),)
        embedding = isinstance(request, EmbeddingRequest)
        return _same_weights(choices, candidates) if embedding else choices

    def _can(self, item: Candidate, request: Prompt | EmbeddingRequest | None) -> bool:
        if request is None:
            return item.model.capabilities.supports_chat is not False
        known, label = item.service.id, item.service.label
        try:
            lacks = self._discovery.provider(known).lacks
            refuse_lacking(request, lacks, label=label, service=known)
            refuse(request, item.model, label=label, service=known)
        except CapabilityNotSupported:
            return False
        return True

    async def candidates(self, wanted: ModelId, *, fresh: bool = False) -> list[Candidate]:
        """Find the model on every service; `service/model` counts if no model bears that name."""
        await self._discovery.watch.fresh()
        found = await self._named(wanted, fresh=fresh)
        prefix, slash, rest = wanted.name.partition("/")
        if found or wanted.provider_hint or not (slash and rest and self._discovery.known(prefix)):
            return found
        return await self._named(ModelId(rest, prefix))

    async def _named(self, wanted: ModelId, *, fresh: bool = False) -> list[Candidate]:
        usable = self._discovery.meant(wanted.provider_hint)
        well = [known for known in usable if known.info.status.routable]
        ill = [known for known in usable if not known.info.status.routable]
        # One that is down is only in the way as long as another has the model.
        return await self._ask(well, wanted, fresh=fresh) or await self._ask(
            ill, wanted, fresh=fresh
        )

    async def _ask(
        self, asked: Sequence[Known], wanted: ModelId, *, fresh: bool
    ) -> list[Candidate]:
        """Ask services at once; one that is slow is not waited for if another has the model."""
        if not asked:
            return []
        if not fresh and (found := self._found_at_hand(asked, wanted)) is not None:
            return found
        tasks: dict[asyncio.Task[ModelInfo | None], Known] = {}
        async with side_by_side() as group:
            for known in asked:
                tasks[group.create_task(self._find(known, wanted, fresh=fresh))] = known
            done, slow = await asyncio.wait(tasks, timeout=_PATIENCE)
            while slow and not any(task.result() for task in done):
                done, slow = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
            for task in slow:
                task.cancel()
        return [
            self._candidate(known, info)
            for task, known in tasks.items()
            if not task.cancelled() and (info := task.result()) is not None
        ]

    def _found_at_hand(self, asked: Sequence[Known], wanted: ModelId) -> list[Candidate] | None:
        """Look into lists that are all young, so that nobody is asked; `None` if one is not."""
        found: list[Candidate] = []
        for known in asked:
            models = known.provider.list_at_hand
            if models is None:
                return None
            info = known.provider.among(models, wanted)
            if info is not None:
                found.append(self._candidate(known, info))
        return found

    def _candidate(self, known: Known, model: ModelInfo) -> Candidate:
        watch, service = self._discovery.watch, known.info
        return Candidate(
            service=service,
            model=model,
            rank=known.spec.rank,
            admitted=watch.admits(service),
            occupancy=replace(known.provider.occupancy, slots=model.parallel),
            speed=watch.speeds.of(service.id, model.id),
        )

    async def _find(self, known: Known, wanted: ModelId, *, fresh: bool) -> ModelInfo | None:
        limit = self._discovery.config.discovery_config.health_check.timeout
        ticket = begin_probe(known.info)
        try:
            find = known.provider.find(wanted, fresh=fresh)
            if known.info.status.routable:
                return await find
            return await in_time(limit, "listing", known.info.label, find)
        except ProviderClosed:
            raise
        except ProviderError as error:
            self._discovery.watch.failed(ticket, error)
            return None

    async def call_in(self, name: str | None = None) -> None:
        """Make what needs no server known: the one of this name, or all."""
        for spec in services().values():
            if spec.stand_in and name in {None, spec.name}:
                await self._discovery.call_in(spec.name)

    async def service(self, name: str) -> Known:
        """Return a service by its id or type; one that needs no server is called in.

        Raises:
            ServiceNotFound: it is not there.
        """
        known = self._discovery.known(name) or await self._discovery.call_in(name)
        if known is None:
            raise self._no_such_service(name)
        return known

    async def lists(self) -> dict[str, Listed]:
        """Ask every service for its models: each one's list, or why there is none."""
        await self._discovery.watch.fresh()

        async def ask(known: Known) -> Listed:
            try:
                return await known.provider.list_models()
            except ProviderClosed:
                raise
            except ProviderError as error:
                return error

        asked = self._discovery.all_known()
        lists = await asyncio.gather(*(ask(known) for known in asked))
        return {known.info.id: found for known, found in zip(asked, lists, strict=True)}

    async def refuse_several(self, wanted: ModelId) -> None:
        """Make sure, before anything is lost, that no two services may be meant, slow ones too.

        Raises:
            InvalidRequest: several have the model.
        """
        lists = await self.lists()
        there = list[ModelInfo]()
        for known in self._discovery.meant(wanted.provider_hint):
            models = lists.get(known.info.id)
            info = known.provider.among(models, wanted) if isinstance(models, list) else None
            if info is not None:
                there.append(info)
        if len(there) > 1:
            names = ", ".join(sorted(str(info.model_id) for info in there))
            msg = f"Several services have {str(wanted)!r}: {names}."
            raise InvalidRequest(msg, hint="Name the one that is meant.")

    async def _not_found(self, wanted: ModelId) -> ProviderError:
        known = self._discovery.services
        lists = await self.lists()
        hint = wanted.provider_hint
        alone = not any(info.status.routable for info in known)
        for each in self._discovery.meant(hint) if alone or hint is not None else ():
            said = lists.get(each.info.id)
            if isinstance(said, AuthenticationError):
                said.service = each.info.id
                return said
        if alone:
            return self.nothing_runs()
        if hint is not None and self._discovery.known(hint) is None:
            return self._no_such_service(hint)
        models = [info for found in lists.values() if isinstance(found, list) for info in found]
        error = model_not_found(wanted, models, where=hint or "any service")
        error.retryable = False  # everybody was asked
        return error

    def configured_but_silent(self) -> ServiceNotFound | None:
        """Say which address the user gave where nothing proved itself, if there is one."""
        findings = self._discovery.findings
        answered = {finding.place.origin for finding in findings if finding.proof is not None}
        silent = [
            f"{finding.place.setting}: {finding.reason.rstrip('.')}"
            for finding in findings
            if finding.place.configured and finding.place.origin not in answered
        ]
        if not silent:
            return None
        return ServiceNotFound(
            f"No service is where the configuration says. {'; '.join(silent)}.",
            hint="Start it, or see: patinox doctor",
        )

    def _no_such_service(self, name: str) -> ServiceNotFound:
        names = ", ".join(info.id for info in self._discovery.services)
        msg = f"There is no service {name!r} here; there are: {names}."
        spec = services().get(name)
        hint = f"Start it: `{spec.start_hint}`; more: patinox doctor" if spec else None
        return ServiceNotFound(msg, hint=hint)

    def nothing_runs(self) -> ServiceNotFound:
        """Say what was tried, and how each service is started."""
        places = dict[str, list[str]]()
        for finding in self._discovery.findings:
            place = finding.place.endpoint.authority
            reason = finding.reason.removeprefix(f"{place} ").rstrip(".")
            places.setdefault(reason, []).append(place)
        tried = "; ".join(f"{', '.join(there)} ({reason})" for reason, there in places.items())
        starts = " or ".join(f"`{spec.start_hint}`" for spec in services().values())
        return ServiceNotFound(
            f"No model server answers on this machine. Tried: {tried or 'no address'}.",
            hint=f"Start one: {starts}; more: patinox doctor",
        )


def _same_weights(choices: Sequence[Choice], candidates: Sequence[Candidate]) -> tuple[Choice, ...]:
    """Keep the choices whose weights are the first one's: other weights make other vectors."""
    digests = {item.model.model_id: item.model.digest for item in candidates}
    first = digests[choices[0].model]
    return tuple(
        choice
        for number, choice in enumerate(choices)
        if number == 0 or (first is not None and digests[choice.model] == first)
    )
