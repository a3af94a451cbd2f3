"""How the services that were found are, from one look to the next and from one request to the next.

What is seen goes into `health`, which says what follows; here is only when to look, and at whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local import health
from patinox.provider.local.accounts import is_breach
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.events import (
    AttemptFinished,
    Event,
    Outcome,
    ServiceChanged,
    ServiceProbed,
    error_name,
)
from patinox.provider.local.flight import Flights, SingleFlight
from patinox.provider.local.limits import RetryBudget
from patinox.provider.local.observers import NOBODY, Observers
from patinox.provider.local.routing import Speeds
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.spec import ServiceSpec
from patinox.provider.local.tally import tally
from patinox.provider.local.types import ServiceInfo, ServiceStatus
from patinox.provider.local.waiting import slept

# The shortest pause between two rounds of probes, and the least time for one of them, in seconds.
LEAST = 0.05
# After so many seconds without use nobody is probed, until the next use.
UNUSED = 60.0
# So late, in seconds, is no delay: the machine, or this loop, stood still.
ASLEEP = 5.0

Clock = Callable[[], float]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A service that was found: what it is, who talks to it, and how it is now."""

    spec: ServiceSpec
    provider: ServiceProvider
    info: ServiceInfo


class Running:
    """A request that a service works on; how it is left as a context manager says how it ended."""

    __slots__ = ("_ticket", "_watch", "_whole")

    def __init__(self, watch: Watch, ticket: health.Ticket) -> None:
        """Keep who watches it, and what it was begun with."""
        self._ticket = ticket
        self._whole = False
        self._watch = watch

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Note how it ended."""
        if isinstance(error, ProviderError):
            self._watch.ended(self._ticket, error)
        elif error is None or self._whole:
            # Its caller may have left: what had come whole was answered all the same.
            self._watch.ended(self._ticket, None)
        else:
            self._watch.left(self._ticket)

    def answers(self) -> None:
        """Note that output has come."""
        self._ticket = self._watch.answering(self._ticket)

    def ends(self) -> None:
        """Note that the answer is whole."""
        self._whole = True


Prove = Callable[[Known], Awaitable[None]]


class Watch:
    """Keeps the state of each known service: probes it, and takes in how requests ended."""

    def __init__(
        self,
        config: HealthCheckConfig,
        *,
        prove: Prove,
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,  # noqa: TID251  a date for people, never a duration
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        slept: Clock = slept,
        observers: Observers = NOBODY,
    ) -> None:
        """Make it without any I/O.

        Args:
            config: how services are watched.
            prove: asks a service who it is, where that matters; raises if it is another.
            clock: monotonic seconds.
            wall_clock: Unix seconds, for dates that people see.
            rng: randomness of the pauses between probes.
            sleep: waits for so many seconds.
            slept: seconds that the machine slept, unseen by `clock`.
            observers: who is told of probes and changes.

        """
        self.known: dict[str, Known] = {}
        self.speeds = Speeds()
        self.budget = RetryBudget()
        self._config = config
        self._prove = prove
        self._clock = clock
        self._wall = wall_clock
        self._random = rng or random.Random()  # noqa: S311  pauses, not secrets
        self._sleep = sleep
        self._slept = slept
        self._slept_before = slept()
        self._observers = observers
        self._told = dict[str, ServiceInfo]()
        self._monitor: asyncio.Task[None] | None = None
        self._probes = Flights[None]()
        self._refresh = SingleFlight(self.check_due)
        self._used_at = clock()
        self._used = asyncio.Event()
        self._wakes_at: float | None = None
        self._closed = asyncio.Event()

    # Use.

    def in_use(self) -> None:
        """Note that the services are of use: they are probed from now on for a while."""
        self._used_at = self._clock()
        self._used.set()

    async def fresh(self) -> None:
        """Before a use: after a pause look at those that are due, once for all who wait."""
        idle = self._stood_still() or self._clock() - self._used_at > UNUSED
        self.in_use()
        if self._monitor is None:
            return
        if idle or self._refresh.running:
            await self._refresh.run()

    # Probes.

    async def start(self) -> None:
        """Probe the services in the background until `aclose`."""
        if self._monitor is None:
            self.in_use()
            # Owned here: `aclose` ends it, and the provider's `async with` calls that.
            self._monitor = asyncio.create_task(self._go_on())  # noqa: TID251

    async def check_due(self) -> None:
        """Probe every service whose next probe is due, all at once."""
        now = self._clock()
        due = [name for name, known in self.known.items() if health.due(known.info, now)]
        await asyncio.gather(*map(self.check, due))

    async def check(self, name: str, *, end: float | None = None) -> None:
        """Probe one service, before `end` of the clock; its state tells the outcome."""
        within = self._config.timeout
        if end is not None:
            within = min(within, max(end - self._clock(), LEAST))
        await self._probes.run(name, partial(self._probe, name, within))

    async def rest(self, seconds: float) -> None:
        """Wait so many seconds.

        Raises:
            ProviderClosed: the provider is closed, or was meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        raise ProviderClosed("This provider was closed while a request waited.")

    async def aclose(self) -> None:
        """Stop probing, and tell that nobody looks at the services any more."""
        self._closed.set()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._looks_away)
            stack.push_async_callback(self._probes.aclose)
            stack.push_async_callback(self._refresh.aclose)
            if self._monitor is not None:
                stack.push_async_callback(_stop, self._monitor)
                self._monitor = None

    async def _probe(self, name: str, within: float) -> None:
        known = self.known[name]
        ticket = health.begin_probe(known.info)
        started, skipped = self._clock(), known.provider.skipped_entries
        try:
            async with asyncio.timeout(within):
                await self._prove(known)
                survey = await known.provider.survey()
        except TimeoutError:
            self._unanswered(ticket, started, ProviderError("It did not list its models in time."))
        except ProviderError as error:
            self._unanswered(ticket, started, error)
        except Exception as error:  # noqa: BLE001  a plugin's fault must not end the watch
            what = f"{type(error).__name__} in the code of {known.info.label}: {error}"
            self._unanswered(ticket, started, ProviderError(what))
        else:
            now = self._clock()
            self._note(
                name,
                ServiceProbed(
                    server=known.provider.server,
                    outcome=Outcome.SUCCESS,
                    seconds=now - started,
                    models=len(survey.models),
                    skipped=known.provider.skipped_entries - skipped,
                ),
            )
            info = health.seen_alive(
                self.known[name].info,
                ticket,
                self._rules(known),
                now=now,
                models=survey.models,
                loaded=survey.loaded,
            )
            version = info.version or known.provider.inferred_version
            inferred = info.version is None and version is not None
            self._take(
                replace(info, version=version, version_inferred=inferred or info.version_inferred)
            )

    def _unanswered(self, ticket: health.Ticket, started: float, error: ProviderError) -> None:
        self._note(
            ticket.service,
            ServiceProbed(
                server=self.known[ticket.service].provider.server,
                outcome=Outcome.ERROR,
                error=error_name(error),
                seconds=self._clock() - started,
                breach=is_breach(error),
            ),
        )
        self.failed(ticket, error)

    async def _go_on(self) -> None:
        while True:
            now = self._clock()
            if now - self._used_at > UNUSED:
                self._used.clear()
                await self._used.wait()
                continue  # whoever uses it has the probes made
            upcoming = (known.info.next_check - now for known in self.known.values())
            pause = max(LEAST, min(upcoming, default=self._config.interval))
            self._wakes_at = now + pause
            await self._sleep(pause)
            self._stood_still()
            self._wakes_at = None
            await self.check_due()

    def _stood_still(self) -> bool:
        """Start anew if the machine slept, or this loop stood still, and tell whether that was so.

        What then comes in late says nothing of the services, and what was kept is old.
        """
        now, before = self._clock(), self._slept_before
        self._slept_before = self._slept()
        late = self._wakes_at is not None and now - self._wakes_at > ASLEEP
        if not late and self._slept_before - before <= ASLEEP:
            return False
        self._wakes_at = None
        for known in tuple(self.known.values()):
            known.provider.forget()
            self._take(health.seen_asleep(known.info, now=now))
        return True

    # What is seen.

    def admits(self, info: ServiceInfo) -> bool:
        """Whether requests may be sent to the service, rather than only if nobody else is left."""
        return health.admits(info, self._clock())

    def request(self, name: str, *, limit: float) -> Running:
        """Note a request as long as a context lasts; it has `limit` seconds to its first output."""
        return Running(self, self.begin(name, limit=limit))

    def begin(self, name: str, *, limit: float) -> health.Ticket:
        """Note a request that has `limit` seconds to its first output."""
        info, ticket = health.begin_request(self.known[name].info, now=self._clock(), limit=limit)
        self._take(info)
        return ticket

    def answering(self, ticket: health.Ticket) -> health.Ticket:
        """Note the first output of a request, and return what it goes on with."""
        if not ticket.trial:
            return ticket
        info = self._take(health.seen_answer(self.known[ticket.service].info, ticket))
        return replace(ticket, generation=info.breaker.generation, trial=False)

    def ended(self, ticket: health.Ticket, error: ProviderError | None) -> None:
        """Note the end of a request: `None` went well."""
        if error is not None:
            self._stood_still()  # then it is no failure that its limit is over
        known = self.known[ticket.service]
        now, rules = self._clock(), self._rules(known)
        self._take(health.seen_request(known.info, ticket, rules, error, now=now))

    def attempted(self, event: AttemptFinished) -> None:
        """Count a request that ended."""
        self._count(event.server.id, event)

    def left(self, ticket: health.Ticket) -> None:
        """Note that a request was given up by its caller."""
        self._take(health.seen_left(self.known[ticket.service].info, ticket))

    def failed(self, ticket: health.Ticket, error: ProviderError, *, gone: bool = False) -> None:
        """Note a probe that failed; `gone` if another answers in the service's place."""
        known = self.known[ticket.service]
        now, rules = self._clock(), self._rules(known)
        info = health.seen_failing(known.info, ticket, rules, error, now=now, gone=gone)
        if health.due(info, now):
            # What is not the service's own failure changes nothing; it is no reason for haste.
            info = replace(info, next_check=now + self._config.interval)
        self._take(info)

    def _take(self, info: ServiceInfo) -> ServiceInfo:
        """Replace what is known of a service: the one place where that is done."""
        self.known[info.id] = replace(self.known[info.id], info=info)
        self.tell_changes(info.id)
        return info

    def _note(self, name: str, event: ServiceProbed) -> None:
        """Count a probe, and tell it."""
        self._count(name, event)
        self._observers.tell(event)

    def _count(self, name: str, event: Event) -> None:
        info = self.known[name].info
        self._take(replace(info, metrics=tally(info.metrics, event, at=self._wall())))

    def tell_changes(self, *names: str) -> None:
        """Tell of those of these services whose state is another than was told before."""
        if not self._observers:
            return
        for name in names:
            known = self.known[name]
            told, self._told[name] = self._told.get(name), known.info
            before = told.status if told else ServiceStatus.UNKNOWN
            opened = known.info.breaker.opened > (told.breaker.opened if told else 0)
            if told is None or opened or before is not known.info.status:
                server, after = known.provider.server, known.info.status
                self._observers.tell(
                    ServiceChanged(server=server, before=before, after=after, opened=opened)
                )

    def _looks_away(self) -> None:
        """Take back what was told of states; what still ends later changes nothing of that."""
        observers, self._observers = self._observers, NOBODY
        for name, told in self._told.items():
            server, unknown = self.known[name].provider.server, ServiceStatus.UNKNOWN
            if told.status is not unknown:
                observers.tell(ServiceChanged(server=server, before=told.status, after=unknown))

    def _rules(self, known: Known) -> health.Rules:
        local = known.provider.endpoint.is_loopback
        return health.Rules(config=self._config, local=local, random=self._random.random)


async def _stop(task: asyncio.Task[None]) -> None:
    """End a task of our own; its error, if it had one, comes out."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
