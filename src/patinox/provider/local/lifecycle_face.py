"""The part of `LocalProvider` that gets, loads and removes models, on whichever service has them.

What changes something goes to one service, once. Where that could be one of several and a model
would be lost, the service has to be named.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from patinox.provider.errors import CapabilityNotSupported, ProviderError
from patinox.provider.lifecycle import (
    LoadedModel,
    Operation,
    PullProgress,
    PullStream,
    RunningModel,
)
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.lookup import ModelLookup
from patinox.provider.local.naming import nearness
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.watch import Known
from patinox.provider.types import ModelId


class LifecycleFace(ABC):
    """Finds the service for each of these, and hands the rest to it."""

    @property
    @abstractmethod
    def discovery(self) -> ServiceDiscovery:
        """What finds and watches the services."""

    def pull(self, model: ModelId | str) -> PullStream:
        """Download a model: `service::model`, else to the preferred or first service that can.

        Out of the iteration come the errors of `ServiceProvider.pull`, and:

        Raises:
            ServiceNotFound: no service answers, or not the one that is named.
            CapabilityNotSupported: none of the services downloads models.
        """
        return PullStream(self._pulled(ModelId.parse(model)))

    async def ensure_loaded(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Have a model in memory where it would be asked; see `ServiceProvider.ensure_loaded`."""
        provider, wanted = await self._home(model)
        return await provider.ensure_loaded(wanted, context_length, keep_alive=keep_alive)

    async def load(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Load a model, anew if it is in memory; see `ServiceProvider.load`."""
        provider, wanted = await self._home(model)
        return await provider.load(wanted, context_length, keep_alive=keep_alive)

    async def unload(self, model: ModelId | str) -> bool:
        """Take a model out of memory, wherever it is, and tell whether it was there."""
        there = [await provider.unload(wanted) for provider, wanted in await self._homes(model)]
        return any(there)

    async def delete(self, model: ModelId | str) -> None:
        """Delete a model from the disk.

        Raises:
            InvalidRequest: several services have it, and none is named.
            ProviderError: as for `ServiceProvider.delete`.
        """
        provider, wanted = await self._only_home(model)
        await provider.delete(wanted)

    async def copy(
        self, source: ModelId | str, destination: ModelId | str, *, overwrite: bool = False
    ) -> None:
        """Give a model a second name on its service.

        Raises:
            InvalidRequest: several services have it, and none is named; or the name is taken.
            ProviderError: as for `ServiceProvider.copy`.
        """
        destination = ModelId.parse(destination)
        provider, wanted = await self._only_home(source)
        await provider.copy(wanted, destination, overwrite=overwrite)

    async def running(self) -> list[RunningModel]:
        """List what is in memory on every service, sorted; one that cannot tell is left out.

        Raises:
            ServiceNotFound: no service answers.
            ProviderError: what the first says, if none could tell.
        """
        await self.discovery.watch.fresh()
        asked = [known for known in self.discovery.all_known() if known.info.status.routable]
        if not asked:
            raise ModelLookup(self.discovery).nothing_runs()
        lists = await asyncio.gather(*(_running(known) for known in asked))
        told = [found for found in lists if not isinstance(found, ProviderError)]
        failed = [found for found in lists if isinstance(found, ProviderError)]
        if not told:
            raise failed[0]
        return sorted(
            (item for found in told for item in found),
            key=lambda item: (item.model, item.service, item.instance or ""),
        )

    # How it is done.

    async def _pulled(self, wanted: ModelId) -> AsyncGenerator[PullProgress]:
        provider = await self._puller(wanted)
        async with provider.pull(wanted.name) as download:
            async for progress in download:
                yield progress

    async def _puller(self, wanted: ModelId) -> ServiceProvider:
        lookup = ModelLookup(self.discovery)
        if wanted.provider_hint is not None:
            return (await lookup.service(wanted.provider_hint)).provider
        await self.discovery.watch.fresh()
        preferred = self.discovery.config.preferred_service
        known = sorted(
            (known for known in self.discovery.all_known() if known.info.status.routable),
            key=lambda known: nearness(known.info, preferred),
        )
        refusals = list[str]()
        for each in known:
            with contextlib.suppress(ProviderError):
                refusal = await each.provider.refused(Operation.PULL)
                if refusal is None:
                    return each.provider
                refusals.append(refusal.message)
        if not refusals:
            raise lookup.nothing_runs()
        raise CapabilityNotSupported(
            f"No service here downloads models. {' '.join(refusals)}",
            hint="Start one: ollama serve",
        )

    async def _home(self, model: ModelId | str) -> tuple[ServiceProvider, ModelId]:
        """Find the service that would be asked for the model."""
        choices = await ModelLookup(self.discovery).route(ModelId.parse(model))
        return self.discovery.provider(choices[0].service), choices[0].model

    async def _homes(self, model: ModelId | str) -> list[tuple[ServiceProvider, ModelId]]:
        """Find every service that has the model in memory, else the one that would be asked."""
        wanted = ModelId.parse(model)
        found = await ModelLookup(self.discovery).candidates(wanted, fresh=True)
        homes = [
            (self.discovery.provider(item.service.id), item.model.model_id)
            for item in found
            if item.model.loaded
        ]
        able = [home for home in homes if await home[0].refused(Operation.UNLOAD) is None]
        return able or homes or [await self._home(wanted)]

    async def _only_home(self, model: ModelId | str) -> tuple[ServiceProvider, ModelId]:
        home, wanted = await self._home(model)
        await ModelLookup(self.discovery).refuse_several(ModelId.parse(model))
        return home, wanted


async def _running(known: Known) -> list[RunningModel] | ProviderError:
    try:
        return await known.provider.running()
    except ProviderError as error:
        return error
