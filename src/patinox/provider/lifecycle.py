"""Getting, loading and removing models: what is told of it, as values. Free of I/O.

Which service can do what is in `patinox.provider.local.lifecycle`.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Self

import msgspec

from patinox.provider.checks import LONGEST_TIME, shown
from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.local.errors import StreamInterrupted

MAX_CONTEXT = 2**31 - 1
# The rate is that of the last seconds; over less time than the least it would be noise.
_WINDOW = 10.0
_LEAST = 0.5
_STEP = 0.1
# Bytes per second, below which an estimate of the rest says nothing.
_SLOWEST = 1.0
_MOST_PARTS = 10_000
_LONGEST_NAME = 512
GO_ON = "Pull it again: what is there already is not fetched twice."


class Operation(enum.StrEnum):
    """What can be done with a model beside asking it."""

    PULL = "pull"
    LOAD = "load"
    UNLOAD = "unload"
    DELETE = "delete"
    COPY = "copy"
    RUNNING = "running"


class PullProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a download is.

    Attributes:
        status: what the server is doing, in its own words.
        service: id of the service that downloads.
        digest: the layer it is about, where the server tells.
        completed_bytes: what is here of all parts that were named so far; `None`: not told.
        total_bytes: size of these parts; it grows while more of them become known.
        bytes_per_second: how fast it came in the last seconds.
        eta_seconds: how long the rest takes at that rate.
        done: it is complete and can be used.
    """

    status: str
    service: str = ""
    digest: str | None = None
    completed_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_second: float | None = None
    eta_seconds: float | None = None
    done: bool = False

    @property
    def fraction(self) -> float | None:
        """How much of it is here, 0 to 1; `None` if that is not known."""
        if self.done:
            return 1.0
        if not self.total_bytes or self.completed_bytes is None:
            return None
        return min(self.completed_bytes / self.total_bytes, 1.0)


class RunningModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in memory.

    Attributes:
        model: the server's own name of it.
        service: id of the service that has it.
        size_bytes: memory it takes, of whichever kind; `None`: not told.
        vram_bytes: the part of that on a GPU; `None`: not told.
        expires_at: when it leaves if nobody uses it, in Unix seconds; `None`: it stays.
        context_length: the context it has now, in tokens.
        instance: name of this copy, where a server may have several of one model.
    """

    model: str
    service: str
    size_bytes: int | None = None
    vram_bytes: int | None = None
    expires_at: float | None = None
    context_length: int | None = None
    instance: str | None = None


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was to be in memory, as the server then described it.

    Attributes:
        model: the server's own name of it.
        service: id of the service that has it.
        instance: name of this copy, where a server may have several of one model.
        context_length: the context it really has, in tokens; `None`: the server does not tell.
        asked_context_length: the context that was asked for, or `None`.
        load_seconds: how long loading took; 0 if it was there.
        already: it was in memory before, and nothing was loaded.
    """

    model: str
    service: str
    instance: str | None = None
    context_length: int | None = None
    asked_context_length: int | None = None
    load_seconds: float = 0.0
    already: bool = False

    @property
    def fits(self) -> bool | None:
        """Whether the context is as long as asked for; `None` if that is not known."""
        if self.asked_context_length is None:
            return True
        if self.context_length is None:
            return None
        return self.context_length >= self.asked_context_length


class _Part(msgspec.Struct):
    """What came of one part; `before` was here when it was first named."""

    before: int
    completed: int
    total: int


class PullMeter:
    """Adds up the parts of a download and measures how fast it comes.

    What was there before it began, left over from an earlier try, counts as here but not as speed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start with nothing; `clock` gives monotonic seconds."""
        self._clock = clock
        self._parts: dict[str, _Part] = {}
        self._here = self._whole = self._before = 0  # of all parts together
        self._samples = deque[tuple[float, int]]()

    def see(
        self,
        status: str,
        *,
        digest: str | None = None,
        completed: int | None = None,
        total: int | None = None,
        rate: float | None = None,
    ) -> PullProgress:
        """Take in what the server tells of one part, and tell how all of it stands.

        `rate` is the server's own, in bytes per second, if it has one.
        """
        if total is not None or completed is not None:
            self._take(digest or "", completed or 0, total or 0)
            rate = self._rate() if rate is None else rate
        if rate is not None and not 0 <= rate < math.inf:
            rate = None  # a server's own may be anything
        here, whole = self._here, self._whole
        return PullProgress(
            status=status,
            digest=digest,
            completed_bytes=here if self._parts else None,
            total_bytes=whole or None,
            bytes_per_second=rate,
            eta_seconds=max(whole - here, 0) / rate
            if rate and whole and rate >= _SLOWEST
            else None,
        )

    def _take(self, name: str, completed: int, total: int) -> None:
        completed = min(completed, total or completed)
        part = self._parts.get(name)
        if part is None:
            if len(self._parts) == _MOST_PARTS or len(name) > _LONGEST_NAME:
                return  # no model has them
            part = self._parts[name] = _Part(completed, 0, 0)
            self._before += completed
        # A part that is begun anew was not there before.
        before = min(part.before, completed)
        self._here += completed - part.completed
        self._whole += total - part.total
        self._before += before - part.before
        part.before, part.completed, part.total = before, completed, total

    def _rate(self) -> float | None:
        now = self._clock()
        fetched = self._here - self._before
        samples = self._samples
        if not samples or now - samples[-1][0] >= _STEP:
            samples.append((now, fetched))
        while len(samples) > 1 and now - samples[1][0] >= _WINDOW:
            samples.popleft()
        since, before = samples[0]
        if now - since < _LEAST:
            return None
        return max(fetched - before, 0) / (now - since)


class PullStream:
    """A download as it goes on.

    Use it as a context manager, so that leaving early ends it:

        async with provider.pull("llama3.2:3b") as download:
            async for progress in download:
                print(progress.status, progress.fraction)

    Pulling again goes on with what is there.
    """

    def __init__(self, told: AsyncGenerator[PullProgress]) -> None:
        """Wrap what is told of one download; nothing is sent before the first is asked for."""
        self._progress = PullProgress(status="")
        self._told = told
        self._entered = False
        self._broken: ProviderError | None = None

    async def __aenter__(self) -> Self:
        """Enter; the request is sent when the first progress is asked for."""
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; a server that downloads on behalf of nobody goes on (LM Studio)."""
        await self._told.aclose()

    def __aiter__(self) -> AsyncIterator[PullProgress]:
        """Go through the progress as it comes."""
        return self

    async def __anext__(self) -> PullProgress:
        """Wait for the next progress; the last one is `done`.

        Raises:
            RuntimeError: it was not entered with `async with`.
            StreamInterrupted: the download broke off, or was left.
            ProviderError: the server says why it failed.
        """
        if not self._entered:
            msg = "Write `async with provider.pull(model) as download:` first."
            raise RuntimeError(msg)
        try:
            self._progress = await anext(self._told)
        except ProviderError as error:
            self._broken = error
            raise
        except StopAsyncIteration:
            if self._progress.done:
                raise
            raise self._broken or _left() from None
        return self._progress

    async def wait(self) -> PullProgress:
        """Wait for the end of the download and return it."""
        async for _ in self:
            pass
        return self._progress

    @property
    def progress(self) -> PullProgress:
        """The last that was told."""
        return self._progress


def _left() -> StreamInterrupted:
    return StreamInterrupted("The download was left before its end.", hint=GO_ON, retryable=False)


def check_context(length: int | None) -> None:
    """Refuse a context that cannot be.

    Raises:
        InvalidRequest: it is no whole number of tokens.
    """
    if length is None:
        return
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length <= MAX_CONTEXT:
        msg = f"`context_length` is {shown(length)}; allowed: a whole number of tokens from 1."
        raise InvalidRequest(msg)


def check_keep_alive(seconds: float | None) -> None:
    """Refuse a time to stay in memory that cannot be.

    Raises:
        InvalidRequest: it is no number, or 0, which would unload the model at once.
    """
    if seconds is None:
        return
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not abs(seconds) <= LONGEST_TIME or seconds == 0:
        msg = f"`keep_alive` is {shown(seconds)}; allowed: seconds, or a negative number for ever."
        raise InvalidRequest(msg, hint="To take a model out of memory: `unload`.")
