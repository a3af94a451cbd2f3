"""LM Studio's models: listed, loaded and downloaded by its native routes, which 0.4 brought.

API: https://lmstudio.ai/docs/developer/rest
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

import msgspec

from patinox.provider.checks import LONGEST_TIME
from patinox.provider.lifecycle import (
    LoadedModel,
    Operation,
    PullMeter,
    PullProgress,
    RunningModel,
)
from patinox.provider.local.config import LMStudioConfig
from patinox.provider.local.errors import ModelNotFound, ServiceError, ServiceTimeout
from patinox.provider.local.lifecycle import CONTEXT_LENGTH, KEEP_ALIVE, Refusals
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.wire.http import HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, Name, decode_leniently
from patinox.provider.types import ModelInfo

S = TypeVar("S", bound=msgspec.Struct)

_ROOT = "/api/v1/models"
_MODELS = HTTPRequest(path=_ROOT)
NATIVE_VERSION = "0.4.x"
# Seconds between two looks at a download.
_LOOK = 0.5
_NOT_OVER_HTTP: Refusals = {
    Operation.DELETE: (
        "LM Studio deletes no model over HTTP.",
        "Delete it in its window: My Models.",
    ),
    Operation.COPY: (
        "LM Studio copies no model over HTTP.",
        "For a second name: lms load --identifier NAME",
    ),
    KEEP_ALIVE: (
        "LM Studio keeps what is loaded over HTTP until it is unloaded.",
        "Leave `keep_alive` out, and unload it yourself.",
    ),
}
_BEFORE_0_4: Refusals = {
    **_NOT_OVER_HTTP,
    **{
        what: (
            f"LM Studio before 0.4 does not {verb} models over HTTP.",
            f"Update it, or: lms {command}",
        )
        for what, verb, command in (
            (Operation.PULL, "pull", "get"),
            (Operation.LOAD, "load", "load"),
            (Operation.UNLOAD, "unload", "unload"),
            (CONTEXT_LENGTH, "load", "load --context-length TOKENS"),
        )
    },
}
_COMPATIBLE_ONLY: Refusals = dict.fromkeys(
    (*Operation, KEEP_ALIVE, CONTEXT_LENGTH),
    (
        "The OpenAI-compatible routes of LM Studio do not manage models.",
        "Allow its own routes: `use_openai_compat=False`.",
    ),
)


class Config(msgspec.Struct):
    """What a model is loaded with."""

    context_length: Count | None = None
    parallel: Count | None = None


class Instance(msgspec.Struct):
    """A copy of a model in memory."""

    id: Name
    config: Config | None = None
    remaining_ttl_seconds: float | None = None

    @property
    def context_length(self) -> int | None:
        """The context it has, in tokens."""
        return self.config.context_length if self.config else None


class Quantization(msgspec.Struct):
    """How its weights are stored."""

    name: str | None = None


class Abilities(msgspec.Struct):
    """What a model can do."""

    vision: bool | None = None
    trained_for_tool_use: bool | None = None
    reasoning: dict[str, Any] | None = None


class NativeModel(msgspec.Struct, gc=False):
    """An entry of `/api/v1/models`, LM Studio 0.4 and later."""

    key: Name
    type: str | None = None
    display_name: str | None = None
    publisher: str | None = None
    architecture: str | None = None
    quantization: Quantization | None = None
    size_bytes: Count | None = None
    params_string: str | None = None
    loaded_instances: list[Instance] | None = None
    max_context_length: Count | None = None
    format: str | None = None
    capabilities: Abilities | None = None
    variants: list[str] | None = None


class NativeList(msgspec.Struct):
    """What `/api/v1/models` lists."""

    models: list[msgspec.Raw]


class _Loaded(msgspec.Struct):
    """What came of a load."""

    instance_id: Name
    load_time_seconds: float | None = None
    load_config: Config | None = None


class _Job(msgspec.Struct):
    """A download."""

    status: str
    job_id: str | None = None
    total_size_bytes: Count | None = None
    downloaded_bytes: Count | None = None
    bytes_per_second: float | None = None


class LMStudioLifecycle(ServiceProvider):
    """What LM Studio does with its models beside answering."""

    _version: str | None = None

    refusals: ClassVar[Refusals] = _NOT_OVER_HTTP
    pulls_alone: ClassVar[bool] = True

    async def refusals_now(self) -> Refusals:
        """Return what this version cannot do."""
        if isinstance(self.config, LMStudioConfig) and self.config.use_openai_compat:
            return _COMPATIBLE_ONLY
        await self._catalog.get()
        if self._version == NATIVE_VERSION:
            return _NOT_OVER_HTTP
        return _BEFORE_0_4 if self._version else _COMPATIBLE_ONLY

    async def native_models(self) -> list[NativeModel]:
        """List what is on the disk, and of each what is in memory."""
        listed = await self.ask(_MODELS, NativeList)
        return await self.entries(_MODELS, listed.models, NativeModel, at="$.models")

    async def running_models(self) -> list[RunningModel]:
        """List every copy in memory; its memory is not told."""
        if self._version != NATIVE_VERSION:
            return await super().running_models()
        now = datetime.now(tz=UTC).timestamp()
        return [
            RunningModel(
                model=model.key,
                service=self.id,
                expires_at=_leaves(now, one.remaining_ttl_seconds),
                context_length=one.context_length,
                instance=one.id,
            )
            for model in await self.native_models()
            for one in model.loaded_instances or ()
        ]

    async def resident(self, info: ModelInfo) -> LoadedModel | None:
        """Find the copy with the longest context."""
        if self._version != NATIVE_VERSION:
            return await super().resident(info)
        copies = await self._copies(info)
        if not copies:
            return None
        best = max(copies, key=lambda one: one.context_length or 0)
        return LoadedModel(
            model=info.id, service=self.id, instance=best.id, context_length=best.context_length
        )

    async def load_model(
        self,
        info: ModelInfo,
        context_length: int | None,
        keep_alive: float | None,  # noqa: ARG002  refused before
    ) -> LoadedModel:
        """Load it and read back with which context; a copy in memory would stay beside it."""
        await self.unload_model(info, info.id)
        body: dict[str, Any] = {"model": info.id, "echo_load_config": True}
        if context_length is not None:
            body["context_length"] = context_length
        loaded = await self._order("load", body, _Loaded)
        length = loaded.load_config.context_length if loaded.load_config else None
        if length is None:
            copies = {one.id: one.context_length for one in await self._copies(info)}
            length = copies.get(loaded.instance_id)
        return LoadedModel(
            model=info.id,
            service=self.id,
            instance=loaded.instance_id,
            context_length=length,
            load_seconds=loaded.load_time_seconds or 0.0,
        )

    async def unload_model(self, info: ModelInfo, name: str) -> bool:
        """Take every copy out of memory, or the one called `name`."""
        copies = await self._copies(info)
        for one in [one for one in copies if one.id == name != info.id] or copies:
            with contextlib.suppress(ModelNotFound):  # it left by itself meanwhile
                await self.order(json_request("POST", f"{_ROOT}/unload", {"instance_id": one.id}))
        return bool(copies)

    async def pull_model(self, name: str) -> AsyncGenerator[PullProgress]:
        """Have it downloaded, and look how far it is; LM Studio does it, whether we look or not."""
        place, _, quantization = name.rpartition("@") if "://" in name else ("", "", "")
        body = {"model": place or name, **({"quantization": quantization} if place else {})}
        job = await self._order("download", body, _Job)
        meter = PullMeter(self._clock)
        moved, here = self._clock(), None
        while True:
            yield (progress := _progress(job, meter))
            if progress.done:
                return
            if job.status == "failed" or job.job_id is None:
                msg = f"LM Studio could not download {name!r} ({job.status})."
                raise ServiceError(msg, hint="Its window says why: Downloads.")
            if progress.completed_bytes != here:
                moved, here = self._clock(), progress.completed_bytes
            elif self._clock() - moved > self.config.deadlines.idle:
                raise self._stalled(name, job.status)
            await self.pause(_LOOK)
            told = await self.ask(
                HTTPRequest(path=f"{_ROOT}/download/status/{quote(job.job_id, safe='')}"), _Job
            )
            job = msgspec.structs.replace(told, job_id=job.job_id)

    def _stalled(self, name: str, status: str) -> ServiceTimeout:
        seconds = self.config.deadlines.idle
        return ServiceTimeout(
            f"The download of {name!r} by LM Studio does not go on: {status} (idle).",
            phase="idle",
            seconds=seconds,
            hint="See its window: Downloads.",
        )

    async def _copies(self, info: ModelInfo) -> list[Instance]:
        for model in await self.native_models():
            if model.key == info.id:
                return model.loaded_instances or []
        return []

    async def _order(self, what: str, body: dict[str, Any], kind: type[S]) -> S:
        path = f"{_ROOT}/{what}"
        reply = await self.order(json_request("POST", path, body))
        return decode_leniently(reply.body, kind, what=f"The reply of LM Studio to POST {path}")


def _progress(job: _Job, meter: PullMeter) -> PullProgress:
    progress = meter.see(
        job.status,
        completed=job.downloaded_bytes,
        total=job.total_size_bytes,
        rate=job.bytes_per_second,
    )
    done = job.status in {"completed", "already_downloaded"}
    return msgspec.structs.replace(progress, done=done)


def _leaves(now: float, left: float | None) -> float | None:
    return None if left is None or left > LONGEST_TIME else now + max(left, 0.0)
