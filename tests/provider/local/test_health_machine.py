"""Whatever happens to a service, in whatever order: what always holds of its state."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)
from msgspec.structs import replace

from patinox.provider.errors import AuthenticationError, InvalidRequest, ProviderError, RateLimited
from patinox.provider.local import health
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
)
from patinox.provider.local.types import ServiceInfo, ServiceStatus

LIMIT = 10.0
LONGEST = 30.0
SPREAD = 1 + health.JITTER
CONFIG = HealthCheckConfig(max_retry_delay=LONGEST)
FAULTS = [
    ServiceUnavailable("Refused.", refused=True),
    ServiceUnavailable("Reset."),
    ServiceError("It broke."),
    ServiceTimeout("Silent.", phase="first_token", seconds=1),
]
ANSWERS = [AuthenticationError("Key."), RateLimited("Busy."), ModelNotLoaded("Loading.")]
NEUTRAL = [
    InvalidRequest("Wrong."),
    ModelNotFound("Not here."),
    ServiceTimeout("Your own limit.", phase="total", seconds=1, retryable=False),
]
Step = Callable[[ServiceInfo], ServiceInfo]


class HealthMachine(RuleBasedStateMachine):
    """One service, its requests and its probes, each of which may end late or never."""

    requests: Bundle[health.Ticket] = Bundle("requests")
    probes: Bundle[health.Ticket] = Bundle("probes")

    def __init__(self) -> None:
        super().__init__()
        self.info = ServiceInfo(id="o", service_type="o", label="O", endpoint="http://x")
        self.first = self.info
        self.now = 100.0
        self.steps: list[Step] = []
        self.trials: list[health.Ticket] = []

    # What may happen.

    @rule(target=requests)
    def begin(self) -> health.Ticket:
        now, admitted = self.now, health.admits(self.info, self.now)
        away = self.info.status is ServiceStatus.UNAVAILABLE or self.info.breaker.half_open
        _, ticket = health.begin_request(self.info, now=now, limit=LIMIT)
        self.does(lambda info: health.begin_request(info, now=now, limit=LIMIT)[0])
        assert ticket.trial is (admitted and away)
        if ticket.trial:
            self.trials.append(ticket)
            assert not health.admits(self.info, now)
        return ticket

    @rule(target=probes)
    def begin_probe(self) -> health.Ticket:
        return health.begin_probe(self.info)

    @rule(ticket=consumes(requests), how=st.sampled_from([None, *FAULTS, *ANSWERS, *NEUTRAL]))
    def end(self, ticket: health.Ticket, how: ProviderError | None) -> None:
        before, now, rules = self.info, self.now, self.judges()
        self.does(lambda info: health.seen_request(info, ticket, rules, how, now=now))
        self.check(ticket, before, how)

    @rule(ticket=consumes(requests))
    def give_up(self, ticket: health.Ticket) -> None:
        before = self.info
        self.does(lambda info: health.seen_left(info, ticket))
        assert without_trial(self.info) == without_trial(before)
        if ticket.trial and not self.is_late(ticket, before):
            assert self.info.breaker.trial_until is None
            half = before.breaker.half_open
            away = half or before.status is ServiceStatus.UNAVAILABLE
            admitted = not away or half or self.now >= before.breaker.until
            locked = before.status is ServiceStatus.UNAUTHORIZED
            assert health.admits(self.info, self.now) is (admitted and not locked)

    @rule(ticket=consumes(probes))
    def probe_answered(self, ticket: health.Ticket) -> None:
        before, now, rules = self.info, self.now, self.judges()
        self.does(
            lambda info: health.seen_alive(info, ticket, rules, now=now, models=(), loaded=())
        )
        if self.is_late(ticket, before):
            assert self.info is before

    @rule(ticket=consumes(probes), how=st.sampled_from([*FAULTS, *ANSWERS, *NEUTRAL]))
    def probe_failed(self, ticket: health.Ticket, how: ProviderError) -> None:
        before, now, rules = self.info, self.now, self.judges()
        self.does(lambda info: health.seen_failing(info, ticket, rules, how, now=now))
        self.check(ticket, before, how)

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(5, 1e5))
    def machine_sleeps(self, seconds: float) -> None:
        self.now += seconds
        now = self.now
        self.does(lambda info: health.seen_asleep(info, now=now))

    # What holds.

    def check(self, ticket: health.Ticket, before: ServiceInfo, how: ProviderError | None) -> None:
        after = self.info
        if self.is_late(ticket, before):
            assert after == before
        elif how is None:
            assert (after.status, after.consecutive_failures) == (ServiceStatus.AVAILABLE, 0)
        elif how in NEUTRAL:
            assert without_trial(after) == without_trial(before)
        elif how in FAULTS:
            assert after.consecutive_failures == before.consecutive_failures + 1
            shortest = CONFIG.retry_delay * (1 - health.JITTER)
            assert shortest - 1e-6 <= after.breaker.until - self.now <= LONGEST * SPREAD + 1e-6
            assert after.next_check - self.now <= CONFIG.max_local_retry_delay * SPREAD + 1e-6
        else:
            assert after.consecutive_failures == before.consecutive_failures

    @invariant()
    def at_most_one_tries(self) -> None:
        live = [ticket for ticket in self.trials if not self.is_late(ticket, self.info)]
        assert len(live) <= 1

    @invariant()
    def nobody_is_locked_out(self) -> None:
        """A server that is well again is let through to, at the latest after the longest pause."""
        later = self.now + max(LONGEST * SPREAD, health.STALE * LIMIT, CONFIG.interval)
        assert health.due(self.info, later)
        well = health.seen_alive(
            self.info,
            health.begin_probe(self.info),
            self.judges(),
            now=later,
            models=(),
            loaded=(),
        )
        assert health.admits(well, later)
        if self.info.status is not ServiceStatus.UNAUTHORIZED:
            assert health.admits(self.info, later)  # even if nobody probes

    def teardown(self) -> None:
        """The same events lead to the same state."""
        again = self.first
        for step in self.steps:
            again = step(again)
        assert again == self.info

    # How it is done.

    def does(self, step: Step) -> None:
        self.info = step(self.info)
        self.steps.append(step)

    def judges(self) -> health.Rules:
        draw = (len(self.steps) * 0.37) % 1
        return health.Rules(config=CONFIG, local=True, random=lambda: draw)

    @staticmethod
    def is_late(ticket: health.Ticket, info: ServiceInfo) -> bool:
        return ticket.generation != info.breaker.generation


def without_trial(info: ServiceInfo) -> ServiceInfo:
    """Leave out what a neutral end may change: the place of the trial."""
    return replace(info, breaker=replace(info.breaker, trial_until=None))


TestHealth = HealthMachine.TestCase
TestHealth.settings = settings(max_examples=150, stateful_step_count=40)
