"""What every service does alike when models are got, loaded and removed.

A service says in `refusals` what it cannot do and what to do instead, and implements the rest. What
changes something is sent once: never repeated, and never to another server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import ClassVar

from msgspec.structs import replace

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest, ProviderError
from patinox.provider.lifecycle import (
    LoadedModel,
    Operation,
    PullProgress,
    PullStream,
    RunningModel,
    check_context,
    check_keep_alive,
)
from patinox.provider.local.catalog import Clock
from patinox.provider.local.dialects.faults import is_fault
from patinox.provider.local.finding import FindingMixin
from patinox.provider.local.flight import Flights
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.types import ModelId, ModelInfo

# What a service cannot do, and what to do instead; beside operations, options of loading.
Refusals = Mapping[str, tuple[str, str]]
KEEP_ALIVE = "keep_alive"
CONTEXT_LENGTH = "context_length"
NOTHING_OFFERED: Refusals = dict.fromkeys(
    (*Operation, KEEP_ALIVE, CONTEXT_LENGTH),
    ("This service only answers requests.", "Use the server's own tools for its models."),
)


class LifecycleMixin(FindingMixin):
    """The part of a service that gets, loads and removes models."""

    refusals: ClassVar[Refusals] = NOTHING_OFFERED
    # Whether a download goes on although nobody looks at it any more.
    pulls_alone: ClassVar[bool] = False
    # How a wait between two looks at the server is done; replaced in tests.
    pause: Callable[[float], Awaitable[object]] = staticmethod(asyncio.sleep)

    _clock: Clock

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._loads = Flights[LoadedModel]()
        self._changing = defaultdict[str, asyncio.Lock](asyncio.Lock)

    # What is offered.

    async def refused(self, what: str) -> CapabilityNotSupported | None:
        """Tell why the service cannot do an `Operation`, or `None` if it can.

        Raises:
            ProviderError: it depends on the server, which could not be asked.
        """
        told = (await self.refusals_now()).get(what)
        if told is None:
            return None
        message, instead = told
        return CapabilityNotSupported(message, hint=instead, service=self.id)

    def pull(self, model: ModelId | str) -> PullStream:
        """Download a model; see `PullStream`.

        The server is told once and goes on with what it has of an earlier try.

        Raises:
            InvalidRequest: it names another service. Besides, out of the iteration:
                CapabilityNotSupported: this service downloads nothing.
                ModelNotFound: there is no such model to download.
                CloudModelRefused: it would run in the cloud, and that is not allowed.
                ServiceTimeout: nothing came for as long as `deadlines.idle` allows.
        """
        return PullStream(self._pulled(self._own_name(model)))

    async def ensure_loaded(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Have a model in memory; one that is there already is left as it is.

        So nothing is loaded twice, and all who ask at the same time share one load. Whether the
        context is as long as asked for is told by `fits`; `load` loads it anew.

        Args:
            model: which one.
            context_length: context to load it with, in tokens; the server's choice if `None`.
            keep_alive: seconds it stays without use, negative for ever; the server's choice if
                `None`.

        Raises:
            CapabilityNotSupported: the service cannot load models, or not in this way.
            CloudModelRefused: it runs in the cloud, and that is not allowed.
            ModelNotFound: it is not there.
            ServiceError: the server says why it could not be loaded.
            ServiceTimeout: it took longer than `deadlines.first_token`.
        """
        info = await self._to_load(model, context_length, keep_alive)
        return await self._loads.run(
            (info.id, context_length, keep_alive),
            lambda: self._ensured(info, context_length, keep_alive),
        )

    async def load(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Load a model with this context, anew if it is in memory; see `ensure_loaded`.

        What it is doing meanwhile for others is waited for or broken off, as the server does it.

        Raises:
            ProviderError: as for `ensure_loaded`; or the service cannot choose the context.
        """
        info = await self._to_load(model, context_length, keep_alive)
        await self._refuse(Operation.LOAD)
        if context_length is not None:
            await self._refuse(CONTEXT_LENGTH)
        async with self._alone(info):
            return await self._timed(info, context_length, keep_alive)

    async def unload(self, model: ModelId | str) -> bool:
        """Take a model out of memory and tell whether it was there.

        Raises:
            CapabilityNotSupported: the service cannot do that.
            ModelNotFound: it does not have the model.
        """
        wanted = ModelId.parse(model)
        await self._refuse(Operation.UNLOAD)
        info = await self.locate(wanted)
        async with self._change(info):
            return await self.unload_model(info, wanted.name)

    async def delete(self, model: ModelId | str) -> None:
        """Delete a model from the disk.

        Raises:
            CapabilityNotSupported: the service cannot do that.
            ModelNotFound: it does not have the model.
        """
        wanted = ModelId.parse(model)
        await self._refuse(Operation.DELETE)
        info = await self.locate(wanted)
        async with self._change(info):
            await self.delete_model(info)

    async def copy(
        self, source: ModelId | str, destination: ModelId | str, *, overwrite: bool = False
    ) -> None:
        """Give a model a second name on the same service.

        Raises:
            CapabilityNotSupported: the service cannot do that.
            InvalidRequest: the second name is taken, and not to be overwritten.
            ModelNotFound: it does not have the model.
        """
        wanted, name = ModelId.parse(source), self._own_name(destination)
        await self._refuse(Operation.COPY)
        info = await self.locate(wanted)
        if not overwrite and await self.find(ModelId(name), fresh=True) is not None:
            msg = f"{self.label} has a model called {name!r} already."
            hint = "Choose another name, or allow it: `overwrite=True`, --overwrite."
            raise InvalidRequest(msg, hint=hint, service=self.id)
        async with self._change(info):
            await self.copy_model(info, name)

    async def running(self) -> list[RunningModel]:
        """List what is in memory: how much it takes, and until when it stays.

        Raises:
            CapabilityNotSupported: the service does not tell.
        """
        await self._refuse(Operation.RUNNING)
        with self._explained():
            return await self.running_models()

    async def load_progress(self, model: ModelId | str) -> float | None:  # noqa: ARG002  for subclasses
        """Tell how far the load of a model is, 0 to 1, or `None` where the server does not tell."""
        return None

    # What a service knows; those of what it refuses are never called.

    async def refusals_now(self) -> Refusals:
        """Return what it cannot do, where that depends on the server."""
        return self.refusals

    def pull_model(self, name: str) -> AsyncGenerator[PullProgress]:
        """Download a model; the last progress is `done`."""
        raise NotImplementedError

    async def resident(self, info: ModelInfo) -> LoadedModel | None:
        """Describe a model as it is in memory, or `None` if it is not there."""
        now = await self.find(info.model_id, fresh=True)
        if now is None or not now.loaded:
            return None
        length = now.loaded_context_length
        return LoadedModel(model=info.id, service=self.id, context_length=length)

    async def load_model(
        self, info: ModelInfo, context_length: int | None, keep_alive: float | None
    ) -> LoadedModel:
        """Load a model, anew if it is in memory, and read back what came of it."""
        raise NotImplementedError

    async def keep_model(self, info: ModelInfo, there: LoadedModel, keep_alive: float) -> None:
        """Set how long a model in memory stays there without use."""
        raise NotImplementedError

    async def unload_model(self, info: ModelInfo, name: str) -> bool:
        """Take a model out of memory, called by `name`; tell whether it was there."""
        raise NotImplementedError

    async def delete_model(self, info: ModelInfo) -> None:
        """Delete a model."""
        raise NotImplementedError

    async def copy_model(self, info: ModelInfo, destination: str) -> None:
        """Give a model a second name."""
        raise NotImplementedError

    async def running_models(self) -> list[RunningModel]:
        """List what is in memory."""
        return [
            RunningModel(model=info.id, service=self.id, context_length=info.loaded_context_length)
            for info in await self._catalog.get(fresh=True)
            if info.loaded
        ]

    # How it is done.

    async def order(self, request: HTTPRequest) -> HTTPReply:
        """Send a request that changes something, once, and return a reply that is no error."""
        within = self.config.deadlines.first_token
        reply = await self.send(request, within=within, phase="first_token")
        if not reply.ok or is_fault(reply.body):
            raise self.dialect.classify(reply)
        return reply

    async def _refuse(self, what: str) -> None:
        if refusal := await self.refused(what):
            raise refusal

    def _own_name(self, model: ModelId | str) -> str:
        return self.own(model).name

    async def _pulled(self, name: str) -> AsyncGenerator[PullProgress]:
        await self._refuse(Operation.PULL)
        try:
            with self._explained():
                async with contextlib.aclosing(self.pull_model(name)) as told:
                    async for progress in told:
                        yield replace(progress, service=self.id)
        finally:
            self._catalog.forget()

    async def _to_load(
        self, model: ModelId | str, context_length: int | None, keep_alive: float | None
    ) -> ModelInfo:
        check_context(context_length)
        check_keep_alive(keep_alive)
        if keep_alive is not None:
            await self._refuse(KEEP_ALIVE)
        info = await self.resolve(ModelId.parse(model))
        if info.remote:
            msg = f"{info.id!r} runs in the cloud: there is nothing to load."
            raise CapabilityNotSupported(msg, hint="Just ask it.", service=self.id)
        return info

    async def _ensured(
        self, info: ModelInfo, context_length: int | None, keep_alive: float | None
    ) -> LoadedModel:
        async with self._alone(info):
            there = await self.resident(info)
            if there is None:
                await self._refuse(Operation.LOAD)
                return await self._timed(info, context_length, keep_alive)
            if keep_alive is not None:
                await self.keep_model(info, there, keep_alive)
            return replace(there, asked_context_length=context_length, already=True)

    async def _timed(
        self, info: ModelInfo, context_length: int | None, keep_alive: float | None
    ) -> LoadedModel:
        started = self._clock()
        try:
            loaded = await self.load_model(info, context_length, keep_alive)
        finally:
            self._catalog.forget()
        return replace(
            loaded,
            asked_context_length=context_length,
            load_seconds=loaded.load_seconds or self._clock() - started,
        )

    @contextlib.asynccontextmanager
    async def _change(self, info: ModelInfo) -> AsyncGenerator[None]:
        """Change a model; what was known of the models is forgotten."""
        async with self._alone(info):
            try:
                yield
            finally:
                self._catalog.forget()

    @contextlib.asynccontextmanager
    async def _alone(self, info: ModelInfo) -> AsyncGenerator[None]:
        """Be the only one that is busy with a model."""
        async with self._changing[info.id]:
            with self._explained():
                yield

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except ProviderError as error:
            self.make_discreet(error)
            error.service = error.service or self.id
            raise
