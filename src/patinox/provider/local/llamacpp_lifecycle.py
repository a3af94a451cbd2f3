"""llama.cpp's models: a router loads and unloads them, a server with one model keeps it.

API: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import ClassVar

import msgspec

from patinox.provider.errors import InvalidRequest
from patinox.provider.lifecycle import LoadedModel, Operation
from patinox.provider.local.errors import ModelNotFound, ServiceError, ServiceTimeout
from patinox.provider.local.lifecycle import CONTEXT_LENGTH, KEEP_ALIVE, Refusals
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.wire.http import HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, Name
from patinox.provider.types import ModelId, ModelInfo

MODELS = HTTPRequest(path="/v1/models")
# Seconds between two looks at a model that is being loaded.
_LOOK = 0.25

_NEITHER: Refusals = {
    Operation.PULL: (
        "Patinox has llama.cpp download nothing.",
        "Start it with the model: llama-server -hf USER/REPO",
    ),
    Operation.DELETE: (
        "Patinox deletes no files of llama.cpp.",
        "Delete the file yourself; `llama-server` says at its start where it is.",
    ),
    Operation.COPY: (
        "llama.cpp copies no models.",
        "Give it a second name when it starts: --alias NAME,OTHER",
    ),
    KEEP_ALIVE: (
        "How long llama.cpp keeps a model is decided when it starts.",
        "llama-server --sleep-idle-seconds SECONDS",
    ),
    CONTEXT_LENGTH: (
        "The context of llama.cpp is decided when it starts.",
        "llama-server -c TOKENS",
    ),
}
_ONE_MODEL: Refusals = {
    **_NEITHER,
    Operation.LOAD: (
        "A llama-server with one model loads no other, nor that one anew.",
        "Start it with the model you want, or as a router: without any.",
    ),
    Operation.UNLOAD: (
        "A llama-server with one model keeps it as long as it runs.",
        "End it, or start it as a router: without a model.",
    ),
}


class Meta(msgspec.Struct):
    """What is known of a model that runs."""

    n_ctx: Count | None = None
    n_ctx_train: Count | None = None
    n_params: Count | None = None
    size: Count | None = None


class Progress(msgspec.Struct):
    """How far a load is: the stages there are, the one it is in, and how much of that is done."""

    stages: list[str] = []
    current: str | None = None
    value: float | None = None

    @property
    def fraction(self) -> float | None:
        """How much of all stages is done, 0 to 1."""
        if self.value is None:
            return None
        before = self.stages.index(self.current) if self.current in self.stages else 0
        return min(max((before + self.value) / max(len(self.stages), 1), 0.0), 1.0)


class State(msgspec.Struct):
    """Where a router's model is."""

    value: str
    failed: bool = False
    exit_code: int | None = None
    progress: Progress | None = None


class Architecture(msgspec.Struct):
    """What goes into a model and comes out of it."""

    input_modalities: list[str] = []
    output_modalities: list[str] = []


class Model(msgspec.Struct, gc=False):
    """An entry of `/v1/models`."""

    id: Name
    aliases: list[str] = []
    created: Count | None = None
    meta: Meta | None = None
    status: State | None = None
    architecture: Architecture | None = None


class Models(msgspec.Struct):
    """What `/v1/models` lists."""

    data: list[msgspec.Raw]


class LlamaCppLifecycle(ServiceProvider):
    """What llama.cpp does with its models beside answering."""

    refusals: ClassVar[Refusals] = _ONE_MODEL
    # As they were last seen: whether it is a router, and whether its one model sleeps.
    _router = False
    _sleeping = False

    async def refusals_now(self) -> Refusals:
        """Return what a router, or a server with one model, cannot do."""
        await self._catalog.get()
        if self._router:
            return _NEITHER
        if self._sleeping:
            return {what: told for what, told in _ONE_MODEL.items() if what != Operation.LOAD}
        return _ONE_MODEL

    async def told_models(self) -> list[Model]:
        """Ask what there is."""
        told = await self.ask(MODELS, Models)
        return await self.entries(MODELS, told.data, Model, at="$.data")

    async def load_model(
        self,
        info: ModelInfo,
        context_length: int | None,  # noqa: ARG002  refused before, or told by `fits`
        keep_alive: float | None,  # noqa: ARG002  refused before
    ) -> LoadedModel:
        """Have a router load it and wait until it is there; wake the one that sleeps."""
        if self._router:
            async with contextlib.aclosing(self._routed_load(info)) as states:
                async for _ in states:
                    pass
        else:
            await self.order(json_request("POST", "/tokenize", {"content": ""}))
        return await self.resident(info) or LoadedModel(model=info.id, service=self.id)

    async def warmed(self, info: ModelInfo) -> AsyncGenerator[float]:
        """Have a router load the model, and tell how far that is."""
        if not self._router or (await self._state(info)).value == "loaded":
            return
        async with contextlib.aclosing(self._routed_load(info)) as states:
            async for state in states:
                fraction = state.progress.fraction if state.progress else None
                if fraction is not None:
                    yield fraction

    async def _routed_load(self, info: ModelInfo) -> AsyncGenerator[State]:
        await self._begin(info)
        begun = False
        async with contextlib.aclosing(self._watched(info, "loaded")) as states:
            async for state in states:
                if state.failed or (begun and state.value == "unloaded"):
                    raise _failed(info, state)
                begun = begun or state.value != "unloaded"
                yield state

    async def _begin(self, info: ModelInfo) -> None:
        """Have a router begin to load a model, anew if it is there, unless it has begun already."""
        state = await self._state(info)
        if state.value == "loaded":
            await self.unload_model(info, info.id)
        elif state.value != "unloaded":
            return
        try:
            await self.order(json_request("POST", "/models/load", {"model": info.id}))
        except InvalidRequest:
            if (await self._state(info)).value == "unloaded":
                raise  # else somebody else was first

    async def unload_model(self, info: ModelInfo, name: str) -> bool:  # noqa: ARG002  one copy each
        """Have a router take it out of memory, and wait until it is gone."""
        if (await self._state(info)).value == "unloaded":
            return False
        await self.order(json_request("POST", "/models/unload", {"model": info.id}))
        async with contextlib.aclosing(self._watched(info, "unloaded")) as states:
            async for _ in states:
                pass
        return True

    async def load_progress(self, model: ModelId | str) -> float | None:
        """Tell how far a router is with loading a model."""
        if not self._router:
            return None
        state = await self._state(await self.locate(ModelId.parse(model)))
        return state.progress.fraction if state.progress else None

    async def _watched(self, info: ModelInfo, until: str) -> AsyncGenerator[State]:
        """Look at a model now and again, until it is what it is to be; progress buys time."""
        before: tuple[str, str | None] | None = None
        most, since = 0.0, self._clock()
        while (state := await self._state(info)).value != until:
            yield state
            progress = state.progress or Progress()
            stage, fraction = (state.value, progress.current), progress.fraction or 0.0
            if stage != before or fraction > most:
                before, most, since = stage, max(fraction, most), self._clock()
            elif self._clock() - since > self.config.deadlines.first_token:
                raise self._stuck(info, state)
            await self.pause(_LOOK)

    async def _state(self, info: ModelInfo) -> State:
        for model in await self.told_models():
            if model.id == info.id:
                return model.status or State(value="loaded")
        msg = f"{info.id!r} is not on {self.label} any more."
        raise ModelNotFound(msg, hint="See: patinox models", service=self.id)

    def _stuck(self, info: ModelInfo, state: State) -> ServiceTimeout:
        seconds = self.config.deadlines.first_token
        msg = f"{info.id!r} on {self.label} stays {state.value} (first_token)."
        return ServiceTimeout(msg, phase="first_token", seconds=seconds)


def _failed(info: ModelInfo, state: State) -> ServiceError:
    code = "" if state.exit_code is None else f" (exit code {state.exit_code})"
    return ServiceError(
        f"llama.cpp could not load {info.id!r}{code}.",
        hint="Why stands in the log of llama-server.",
    )
