"""Ollama's models: got from its registry, loaded by an empty request, shown by `/api/ps`.

API: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import ClassVar

import msgspec

from patinox.provider.errors import CloudModelRefused
from patinox.provider.lifecycle import (
    GO_ON,
    LoadedModel,
    PullMeter,
    PullProgress,
    RunningModel,
)
from patinox.provider.local.dialects.ollama_reply import unix_time
from patinox.provider.local.errors import (
    ModelNotFound,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.lifecycle import Refusals
from patinox.provider.local.link import by_contract
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.transport import StreamReply
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, Name, breaks_off, decode_leniently
from patinox.provider.local.wire.lines import LineDecoder
from patinox.provider.types import ModelInfo

PS = HTTPRequest(path="/api/ps")
_SUCCESS = "success"
# Seconds between two looks at a model that is being loaded: its context is 0 until then.
_LOOK = 0.25
# One that nobody uses leaves within milliseconds.
_SOON = 0.005
# It reads all that came once more, in silence.
_CHECKING = "verifying"
# A model that stays for ever leaves 292 years from now: later than this is never.
_NEVER = 7_258_118_400  # 2200-01-01
CLOUD = re.compile(r"[:-]cloud$", re.IGNORECASE)


class Running(msgspec.Struct):
    """An entry of `/api/ps`."""

    name: Name
    size: Count | None = None
    size_vram: Count | None = None
    digest: str | None = None
    expires_at: str | None = None
    context_length: Count | None = None


class Listed(msgspec.Struct):
    """What `/api/tags` and `/api/ps` list."""

    models: list[msgspec.Raw] | None


class _Told(msgspec.Struct):
    """A line of the progress of a download."""

    status: str = ""
    digest: str | None = None
    total: Count | None = None
    completed: Count | None = None
    error: object | None = None


class OllamaLifecycle(ServiceProvider):
    """What Ollama does with its models beside answering."""

    refusals: ClassVar[Refusals] = {}

    async def running_models(self) -> list[RunningModel]:
        """List what `/api/ps` says."""
        return [
            RunningModel(
                model=item.name,
                service=self.id,
                size_bytes=item.size,
                vram_bytes=item.size_vram,
                expires_at=_leaves(item.expires_at),
                context_length=item.context_length or None,
            )
            for item in await self.in_memory()
        ]

    async def in_memory(self) -> list[Running]:
        """Ask what is in memory."""
        told = await self.ask(PS, Listed)
        return await self.entries(PS, told.models or (), Running, at="$.models")

    async def resident(self, info: ModelInfo) -> LoadedModel | None:
        """Find the model in `/api/ps`; one that somebody else has loaded just now is waited for."""
        end = self._clock() + self.config.deadlines.first_token
        while (item := await self._listed_as(info)) is not None:
            if item.context_length != 0 or self._clock() > end:
                length = item.context_length or None
                return LoadedModel(model=info.id, service=self.id, context_length=length)
            await self.pause(_LOOK)
        return None

    async def _listed_as(self, info: ModelInfo) -> Running | None:
        return self.resident_among(await self.in_memory())(info.id, info.digest)

    def resident_among(
        self, items: Sequence[Running]
    ) -> Callable[[str, str | None], Running | None]:
        """Return what finds a model in memory by its name and digest.

        A copy of another is there under the name that loaded it.
        """
        named = {self.normalize(item.name): item for item in items[::-1]}
        copied = {item.digest: item for item in items[::-1] if item.digest}
        return lambda name, digest: named.get(self.normalize(name)) or copied.get(digest or "")

    async def load_model(
        self, info: ModelInfo, context_length: int | None, keep_alive: float | None
    ) -> LoadedModel:
        """Ask it nothing, which loads it; another context than it has loads it anew."""
        await self._touch(info, context_length, keep_alive)
        return await self.resident(info) or LoadedModel(model=info.id, service=self.id)

    async def keep_model(self, info: ModelInfo, there: LoadedModel, keep_alive: float) -> None:
        """Ask it nothing with the context it has, so that it is not loaded anew."""
        await self._touch(info, there.context_length, keep_alive)

    async def _touch(
        self, info: ModelInfo, context_length: int | None, keep_alive: float | None
    ) -> None:
        body: dict[str, object] = {"model": info.id}
        if context_length is not None:
            body["options"] = {"num_ctx": context_length}
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        if info.capabilities.supports_chat is False:
            request = json_request("POST", "/api/embed", {**body, "input": []})
        else:
            request = json_request("POST", "/api/chat", {**body, "messages": [], "stream": False})
        await self.order(request)

    async def unload_model(self, info: ModelInfo, name: str) -> bool:  # noqa: ARG002  one copy each
        """Ask it nothing and to stay no longer; answers under way end first."""
        if await self.resident(info) is None:
            return False
        body = {"model": info.id, "prompt": "", "keep_alive": 0, "stream": False}
        await self.order(json_request("POST", "/api/generate", body))
        await self._gone(info)
        return True

    async def _gone(self, info: ModelInfo) -> None:
        """Wait until it is out of memory: that it is to leave is answered before it has left."""
        within, look = self.config.deadlines.first_token, _SOON
        end = self._clock() + within
        while await self._listed_as(info) is not None:
            if self._clock() > end:
                msg = f"{info.id!r} on {self.label} stays in memory (first_token)."
                raise ServiceTimeout(msg, phase="first_token", seconds=within)
            await self.pause(look)
            look = min(2 * look, _LOOK)

    async def delete_model(self, info: ModelInfo) -> None:
        """Delete it; what other models share stays. In memory it would outlive that."""
        name = self.normalize(info.id)
        if name in {self.normalize(item.name) for item in await self.in_memory()}:
            await self.unload_model(info, name)
        await self.order(json_request("DELETE", "/api/delete", {"model": info.id}))

    async def copy_model(self, info: ModelInfo, destination: str) -> None:
        """Give it a second name, which takes no room on the disk."""
        body = {"source": info.id, "destination": destination}
        await self.order(json_request("POST", "/api/copy", body))

    async def pull_model(self, name: str) -> AsyncGenerator[PullProgress]:
        """Download it; only `success` is the end."""
        if named_cloud(name) and not self.config.allow_cloud:
            raise CloudModelRefused(
                f"{name!r} runs in the cloud: only its name would be here.",
                hint="To let prompts leave this machine: PATINOX_ALLOW_CLOUD=true.",
            )
        request = json_request("POST", "/api/pull", {"model": name, "stream": True})
        meter, decoder, progress = PullMeter(self._clock), LineDecoder(), PullProgress(status="")
        with await self._download(request) as reply:
            data, waited = b"\n", 0.0  # seconds since it got further
            while data:
                began = self._clock()
                data = await self._more(reply, progress, name, waited)
                waited += self._clock() - began
                for line in _lines(decoder, data):
                    before, progress = progress, self._progress(line, meter, name)
                    if _stands(progress) != _stands(before):
                        waited = 0.0
                    yield progress
                    if progress.done:
                        return
        raise _broken(name)

    async def _download(self, request: HTTPRequest) -> StreamReply:
        within = self.config.deadlines.first_token
        try:
            reply = await self._transport.stream(
                self.endpoint,
                request,
                within=within,
                phase="first_token",
                connect=self._connect(self.endpoint),
                api_key=await self.key(),
            )
        except ServiceUnavailable as error:
            raise by_contract(error) from error.__cause__
        if reply.status != 200:  # noqa: PLR2004  the one status of an answer
            with reply:
                raise self.dialect.classify(await reply.whole(within=within, phase="idle"))
        return reply

    async def _more(
        self, reply: StreamReply, progress: PullProgress, name: str, waited: float
    ) -> bytes:
        limits = self.config.deadlines
        checking = progress.status.startswith(_CHECKING)
        seconds = max(limits.first_token, limits.idle) if checking else limits.idle
        try:
            return await reply.read(within=seconds - waited, phase="idle")
        except ServiceTimeout as error:
            told = progress.status or "nothing is told"
            msg = f"The download of {name!r} does not go on: {told} (idle)."
            raise ServiceTimeout(msg, phase="idle", seconds=seconds, hint=GO_ON) from error
        except StreamInterrupted as error:
            raise _broken(name) from error

    def _progress(self, line: bytes, meter: PullMeter, name: str) -> PullProgress:
        told = decode_leniently(line, _Told, what="A line of the reply to /api/pull")
        if told.error is not None:
            error = self.dialect.classify(HTTPReply(status=500, headers={}, body=line))
            if isinstance(error, ModelNotFound):
                msg = f"There is no model {name!r} to download."
                raise ModelNotFound(msg, hint="What there is: https://ollama.com/search")
            raise error
        progress = meter.see(
            told.status, digest=told.digest, completed=told.completed, total=told.total
        )
        return msgspec.structs.replace(progress, done=told.status == _SUCCESS)


def named_cloud(name: str) -> bool:
    """Tell whether the tag says that the model runs in the cloud."""
    last = name.rpartition("/")[2]
    return ":" in last and CLOUD.search(last) is not None


def _broken(name: str) -> StreamInterrupted:
    msg = f"The download of {name!r} broke off before its end."
    return StreamInterrupted(msg, hint=GO_ON, retryable=False)


def _stands(progress: PullProgress) -> tuple[object, ...]:
    """Tell how far it is: what is said over and over is no progress."""
    return progress.status, progress.digest, progress.completed_bytes, progress.total_bytes


def _leaves(text: str | None) -> float | None:
    seconds = unix_time(text)
    return None if seconds is None or seconds > _NEVER else float(seconds)


def _lines(decoder: LineDecoder, data: bytes) -> list[bytes]:
    """Return the lines that are whole now, without blank ones; no data is the end of the last."""
    lines = list[bytes]()
    if data:
        decoder.feed(data, lines)
    elif not breaks_off(rest := decoder.close()):
        lines.append(rest)
    return [line for line in lines if line.strip()]
