"""One service after the other, until one answers: who comes next is told by `retrying`.

The caller's limit holds over all of it, waiting included. Nothing of an answer goes out before its
first output, and once that has gone out no other answer follows.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from msgspec.structs import replace

from patinox.provider.errors import ProviderError
from patinox.provider.local.accounts import AnyRequest, Call, operation_of
from patinox.provider.local.continuing import Way, continued, obstacle, shortened, ways
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.errors import FailedAttempt, ServiceTimeout, StreamInterrupted
from patinox.provider.local.events import Operation
from patinox.provider.local.features import Prompt
from patinox.provider.local.holding import Held
from patinox.provider.local.lookup import ModelLookup
from patinox.provider.local.retrying import Tries
from patinox.provider.local.routing import Choice
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.waiting import in_time
from patinox.provider.requests import attempt_at
from patinox.provider.stream import LoadProgress, ResponseFinished, ResponseStarted, StreamEvent
from patinox.provider.types import EmbeddingRequest, EmbeddingResponse

_TOO_MANY = "too many answers are asked for again already"

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Until:
    """The caller's limit on a whole call."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        """Let it begin now; `None` is no limit."""
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float | None:
        """Return the seconds that are left, `None` for any number.

        Raises:
            ServiceTimeout: none are.
        """
        if self._end is None:
            return None
        left = self._end - self._clock()
        if left <= 0:
            msg = "The time for the whole call is over."
            raise ServiceTimeout(msg, phase="total", seconds=0.0, retryable=False)
        return left

    def allows(self, seconds: float) -> bool:
        """Whether so many seconds may be waited, and something be done afterwards."""
        left = self.left()
        return left is None or seconds < left


class Failover:
    """Makes a request, again and elsewhere where that may help."""

    def __init__(
        self,
        discovery: ServiceDiscovery,
        *,
        clock: Clock,
        sleep: Sleep | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Keep whom to ask.

        Args:
            discovery: knows the services.
            clock: monotonic seconds.
            sleep: waits for so many seconds; usually until the provider is closed at most.
            random: gives numbers from 0 to 1, for the pauses between attempts.

        """
        self._discovery = discovery
        self._watch = discovery.watch
        self._clock = clock
        self._sleep = sleep or self._watch.rest
        self._random = random

    async def batches(self, request: Prompt, *, whole: bool) -> AsyncGenerator[list[StreamEvent]]:
        """Answer as events, in batches; `whole` if the caller takes them in one piece.

        Raises:
            StreamInterrupted: the answer broke off after its first output.
            AllServicesFailed: several services were tried, and each failed.
            ProviderError: what the one service that was tried says, or that none has the model.
        """
        until = Until(self._clock, request.timeout)
        call = self._call(operation_of(request), request, streaming=not whole)
        with call, self._watch.budget.request() as may_repeat:
            tries = Tries(await self._route(request, until), random=self._random)
            while (choice := await self._next(tries, until, may_repeat)) is not None:
                answer = self._answer(request, choice, until, call, whole=whole)
                pieces = 0
                try:
                    async with contextlib.aclosing(answer):
                        async for batch in answer:
                            pieces += len(batch)
                            yield _routed(batch, choice, tries.failures)
                except ProviderError as error:
                    tries.failed(choice, error, self._clock(), call.reached)
                    broken = error
                else:
                    return
                if isinstance(broken, StreamInterrupted) and self._continues(request, broken):
                    request = shortened(request, pieces)
                    rest = self._go_on(request, choice, broken, until, call, may_repeat)
                    async with contextlib.aclosing(rest):
                        async for batch in rest:
                            yield batch
                    return
            raise tries.error()

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors; another service must have the very same weights.

        Raises:
            ProviderError: as for `batches`.
        """
        until = Until(self._clock, request.timeout)
        call = self._call(Operation.EMBEDDINGS, request)
        with call, self._watch.budget.request() as may_repeat:
            choices = await self._route(request, until)
            tries = Tries(choices, random=self._random, repeatable=True)
            while (choice := await self._next(tries, until, may_repeat)) is not None:
                provider = self._discovery.provider(choice.service)
                limit = provider.config.deadlines.embed + len(request.input)
                asking = call.attempt(provider.server, reason=choice.reason)
                try:
                    with asking as account, self._watch.request(choice.service, limit=limit):
                        attempt = attempt_at(request, choice.model, until.left())
                        return await provider.vectors(attempt, account=account)
                except ProviderError as error:
                    tries.failed(choice, error, self._clock(), call.reached)
            raise tries.error()

    def _call(self, operation: Operation, request: AnyRequest, *, streaming: bool = False) -> Call:
        return Call(
            operation,
            request,
            clock=self._clock,
            observers=self._discovery.observers,
            ledger=self._watch.attempted,
            streaming=streaming,
        )

    async def _route(self, request: Prompt | EmbeddingRequest, until: Until) -> Sequence[Choice]:
        lookup = ModelLookup(self._discovery)
        left = until.left()
        return await in_time(left, "total", "The search", lookup.route(request.model, request))

    def _continues(self, request: Prompt, broken: StreamInterrupted) -> bool:
        """Whether it is wanted that an answer which broke off is gone on with."""
        wanted = request.continuation
        wanted = self._discovery.config.continuation if wanted is None else wanted
        return wanted and broken.delivered

    async def _go_on(
        self,
        request: Prompt,
        choice: Choice,
        broken: StreamInterrupted,
        until: Until,
        call: Call,
        may_repeat: Callable[[], bool],
    ) -> AsyncGenerator[list[StreamEvent]]:
        """Go on with an answer that broke off; raises `broken`, with all text, where that fails."""
        why, found = obstacle(request, broken), list[Way]()
        if why is None:
            try:
                left = until.left()
                found = await in_time(left, "total", "The search", ways(self._discovery, choice))
            except ServiceTimeout as error:
                why = error.message
        for way in found:
            # The rest may have broken off too, and where nobody can go on.
            if why := obstacle(request, broken) or (None if may_repeat() else _TOO_MANY):
                break
            try:
                left = until.left()
                asked = way.provider.resumed(request, way.choice.model, broken.text)
                resumed = await in_time(left, "total", way.provider.label, asked)
                answer = self._answer(resumed, way.choice, until, call, whole=False)
                async with contextlib.aclosing(answer):
                    async for batch in answer:
                        request = shortened(request, len(batch))
                        yield continued(batch, way.choice, after=len(broken.text))
            except ProviderError as error:
                why = f"{way.choice.service}: {error.message}"
                if isinstance(error, StreamInterrupted):
                    broken.text += error.text
                    broken.reasoning += error.reasoning
                    broken.tool_calls += error.tool_calls
            else:
                return
        broken.hint = f"It was not gone on with: {why}"
        raise broken

    async def _answer(
        self, request: Prompt, choice: Choice, until: Until, call: Call, *, whole: bool
    ) -> AsyncGenerator[list[StreamEvent]]:
        """Ask one service once."""
        provider = self._discovery.provider(choice.service)
        streaming = provider.config.streaming if whole else True
        held, limit = Held(), provider.config.deadlines.first_token
        asking = call.attempt(provider.server, reason=choice.reason)
        with asking as account, self._watch.request(choice.service, limit=limit) as running:
            attempt = attempt_at(request, choice.model, until.left())
            batches = provider.batches(attempt, streaming=streaming, account=account)
            async with contextlib.aclosing(batches):
                try:
                    async for batch in batches:
                        going = held.take(batch)
                        if held.committed:
                            running.answers()
                        if isinstance(end := batch[-1], ResponseFinished):
                            running.ends()
                            self._watch.speeds.note(choice.service, choice.model.name, end.timings)
                        if going:
                            yield going
                except ProviderError as error:
                    error.delivered = error.delivered or held.committed
                    raise

    async def _next(
        self, tries: Tries, until: Until, may_repeat: Callable[[], bool]
    ) -> Choice | None:
        """Return whom to ask next, when it is time; `None` if nobody, or not now."""
        following = tries.next(self._clock())
        if following is None or (tries.failures and not may_repeat()):
            return None
        if following.warming:
            await self._warmed(following.choice.service, until)
        elif not until.allows(following.wait):
            return None
        elif following.wait:
            await self._sleep(following.wait)
        return following.choice

    async def _warmed(self, name: str, until: Until) -> None:
        """Wait until a service has loaded its model, or for as long as that may take."""
        within = self._discovery.provider(name).config.deadlines.first_token
        pause = self._discovery.config.discovery_config.health_check.retry_delay
        end = self._clock() + within
        while self._clock() < end and until.allows(pause):
            await self._sleep(pause)
            left = until.left()
            await in_time(left, "total", "The search", self._watch.check(name))
            info = self._discovery.get_service_info(name)
            if info is None or info.status is not ServiceStatus.WARMING:
                return


def _routed(
    batch: list[StreamEvent], choice: Choice, failures: Sequence[FailedAttempt]
) -> list[StreamEvent]:
    """Write on the beginning of an answer why it comes from there, and who failed before."""
    if not isinstance(batch[0], ResponseStarted | LoadProgress):
        return batch
    attempts = tuple(f"{failed.service}: {failed.error.message}" for failed in failures)
    return [
        replace(event, reason=choice.reason, attempts=attempts)
        if isinstance(event, ResponseStarted)
        else event
        for event in batch
    ]
