"""How a service's state follows from what is seen of it."""

import pytest
from msgspec.structs import replace

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
    ModelMismatch,
    ProviderError,
    RateLimited,
)
from patinox.provider.local import health
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.errors import (
    LocalResourcesExhausted,
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.types import Breaker, ServiceInfo, ServiceStatus

CONFIG = HealthCheckConfig(
    interval=5, max_failures=3, retry_delay=1, max_retry_delay=30, max_local_retry_delay=2
)
HERE = health.Rules(config=CONFIG, local=True, random=lambda: 0.5)
THERE = health.Rules(config=CONFIG, local=False, random=lambda: 0.5)
NEW = ServiceInfo(id="ollama", service_type="ollama", label="Ollama", endpoint="http://x")
REFUSED = ServiceUnavailable("Refused.", refused=True)
RESET = ServiceUnavailable("Reset.")
BROKEN = ServiceError("It broke.")
SILENT = ServiceTimeout("Silent.", phase="idle", seconds=1)
UNREACHED = ServiceTimeout("No connection.", phase="connect", seconds=1)
UP, SHAKY, DOWN = ServiceStatus.AVAILABLE, ServiceStatus.DEGRADED, ServiceStatus.UNAVAILABLE
LOCKED, BUSY, WARMING = (
    ServiceStatus.UNAUTHORIZED,
    ServiceStatus.RATE_LIMITED,
    ServiceStatus.WARMING,
)


def caused(error: ProviderError, cause: BaseException) -> ProviderError:
    error.__cause__ = cause
    return error


def interrupted(cause: ProviderError) -> ProviderError:
    return caused(StreamInterrupted(f"Stopped: {cause.message}"), cause)


def answered(error: ProviderError, status: int) -> ProviderError:
    error.status = status
    return error


NEUTRAL = [
    InvalidRequest("Wrong."),
    ContextLengthExceeded("Too long."),
    CapabilityNotSupported("It cannot."),
    ModelNotFound("Not here."),
    ModelMismatch("Another."),
    CloudModelRefused("Cloud."),
    answered(ParseError("No such route."), 404),
    answered(ParseError("No such method."), 405),
    ServiceTimeout("Your own limit.", phase="total", seconds=1, retryable=False),
    LocalResourcesExhausted("No descriptor."),
    interrupted(ContextLengthExceeded("Too long.")),
    interrupted(interrupted(RateLimited("Busy."))),
    interrupted(ServiceTimeout("A long answer.", phase="attempt", seconds=1)),
]
FAULTS = [
    REFUSED,
    RESET,
    BROKEN,
    SILENT,
    UNREACHED,
    ServiceTimeout("No output.", phase="first_token", seconds=1),
    ParseError("Rubbish."),
    answered(ServiceError("Bad gateway."), 502),
    caused(ServiceUnavailable("Reset by peer."), ConnectionResetError()),
    StreamInterrupted("Broke off."),
    interrupted(BROKEN),
    interrupted(SILENT),
    interrupted(ServiceTimeout("Pings only.", phase="first_token", seconds=1)),
    ProviderError("Who knows."),
]


def probed(info: ServiceInfo, *, now: float = 100) -> ServiceInfo:
    """Begin a probe that is answered at once."""
    return health.seen_alive(
        info,
        health.begin_probe(info),
        HERE,
        now=now,
        models=("a", "b"),
        loaded=("b",),
    )


def unanswered(
    info: ServiceInfo, error: ProviderError, *, now: float = 100, rules: health.Rules = HERE
) -> ServiceInfo:
    """Begin a probe that fails at once."""
    return health.seen_failing(info, health.begin_probe(info), rules, error, now=now)


def asked(
    info: ServiceInfo,
    error: ProviderError | None = None,
    *,
    now: float = 100,
    rules: health.Rules = HERE,
) -> ServiceInfo:
    """Begin a request that ends at once."""
    info, ticket = health.begin_request(info, now=now, limit=300)
    return health.seen_request(info, ticket, rules, error, now=now)


def opened_by_requests(*, now: float = 100) -> ServiceInfo:
    info = probed(NEW, now=now)
    for _ in range(3):
        info = asked(info, BROKEN, now=now)
    return info


# Probes.


def test_an_answer_makes_a_service_available() -> None:
    down = unanswered(NEW, REFUSED)
    assert down.status is DOWN
    up = probed(down)
    assert (up.status, up.detail, up.consecutive_failures) == (UP, None, 0)
    assert (up.models, up.loaded) == (("a", "b"), ("b",))
    assert (up.last_health_check, up.next_check) == (100, 105)


def test_a_service_is_degraded_until_it_has_failed_too_often() -> None:
    one = asked(probed(NEW), BROKEN)
    two = unanswered(one, RESET)
    three = asked(two, SILENT)
    assert [info.status for info in (one, two, three)] == [SHAKY, SHAKY, DOWN]
    assert [info.consecutive_failures for info in (one, two, three)] == [1, 2, 3]
    assert [info.detail for info in (one, two, three)] == ["It broke.", "Reset.", "Silent."]
    assert [info.breaker.opened for info in (one, two, three)] == [0, 0, 1]
    assert three.models == ("a", "b")
    assert three.last_health_check == 100


@pytest.mark.parametrize(("now", "due"), [(99.9, False), (100, True), (101, True)])
def test_a_probe_is_due_when_its_time_has_come(now: float, *, due: bool) -> None:
    assert health.due(replace(NEW, next_check=100), now) is due
    assert health.due(NEW, 0)


# What one error tells.


@pytest.mark.parametrize("begin", [asked, unanswered], ids=["request", "probe"])
@pytest.mark.parametrize(
    ("error", "rules", "status"),
    [
        (REFUSED, HERE, DOWN),
        (REFUSED, THERE, SHAKY),
        (RESET, HERE, SHAKY),
        (BROKEN, HERE, SHAKY),
        (AuthenticationError("Key."), HERE, LOCKED),
        (AuthenticationError("Key."), THERE, LOCKED),
        (ModelNotLoaded("Loading."), HERE, WARMING),
        (RateLimited("Busy."), HERE, BUSY),
    ],
)
def test_one_failure_tells_what_it_tells(
    begin: object, error: ProviderError, rules: health.Rules, status: ServiceStatus
) -> None:
    happens = asked if begin is asked else unanswered
    info = happens(probed(NEW), error, rules=rules)
    assert (info.status, info.detail) == (status, error.message)


@pytest.mark.parametrize(
    ("error", "next_check"),
    [
        (AuthenticationError("Key."), 105),
        (ModelNotLoaded("Loading."), 101),
        (RateLimited("Busy."), 101),
        (RateLimited("Busy.", retry_after=4.0), 104),
        (RateLimited("Busy.", retry_after=1e9), 110),
        (RateLimited("Busy.", retry_after=-1.0), 100),
    ],
)
def test_a_service_that_answers_is_no_failure(error: ProviderError, next_check: float) -> None:
    info = unanswered(unanswered(NEW, BROKEN), error)
    assert (info.consecutive_failures, info.next_check) == (1, next_check)
    assert not health.counts_against(error)


@pytest.mark.parametrize("error", NEUTRAL, ids=str)
@pytest.mark.parametrize("rules", [HERE, THERE], ids=["here", "there"])
def test_what_is_not_the_services_fault_changes_nothing(
    error: ProviderError, rules: health.Rules
) -> None:
    assert not health.counts_against(error)
    for info in (NEW, probed(NEW), unanswered(probed(NEW), BROKEN), asked(NEW, REFUSED)):
        assert unanswered(info, error, rules=rules) is info
        after = asked(info, error, rules=rules)
        assert after == info


@pytest.mark.parametrize("error", FAULTS, ids=str)
def test_the_services_faults_count(error: ProviderError) -> None:
    assert health.counts_against(error)


# Pauses.


@pytest.mark.parametrize(("longest", "most"), [(2.0, 2), (None, 30)])
def test_the_pause_doubles_up_to_its_limit(longest: float | None, most: float) -> None:
    pauses = [
        health.pause(CONFIG, failures, random=0.5, longest=longest) for failures in range(1, 9)
    ]
    assert pauses == pytest.approx([min(2.0**n, most) for n in range(8)])
    assert health.pause(CONFIG, 10**9, random=0.5, longest=longest) == pytest.approx(most)


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_the_pause_is_spread(random: float, share: float) -> None:
    assert health.pause(CONFIG, 3, random=random) == pytest.approx(4 * share)
    rules = health.Rules(config=CONFIG, local=False, random=lambda: random)
    assert unanswered(NEW, BROKEN, rules=rules).next_check == pytest.approx(100 + share)


def test_a_server_on_this_machine_is_looked_at_again_within_two_seconds() -> None:
    info = NEW
    for _ in range(20):
        info = unanswered(info, REFUSED)
        assert 100 < info.next_check <= 100 + 2 * 1.2
        assert info.breaker.until == info.next_check


def test_one_that_fails_its_requests_is_kept_away_longer_than_it_is_probed() -> None:
    info = NEW
    for _ in range(20):
        info = asked(info, BROKEN)
    assert (info.next_check, info.breaker.until) == (102, 130)


# Half open.


def test_a_probe_alone_does_not_undo_what_requests_have_found() -> None:
    info = opened_by_requests()
    early = probed(info, now=103)
    assert (early.status, early.consecutive_failures) == (DOWN, 3)
    assert early.next_check == info.breaker.until == 104
    half = probed(early, now=104)
    assert (half.status, half.breaker.half_open) == (SHAKY, True)
    assert half.consecutive_failures == 3


def test_one_request_at_a_time_tries_a_service_that_is_half_open() -> None:
    half = probed(opened_by_requests(), now=104)
    assert health.admits(half, 104)
    tried, trial = health.begin_request(half, now=104, limit=10)
    assert trial.trial
    assert not health.admits(tried, 104)
    again, other = health.begin_request(tried, now=104, limit=10)
    assert (again, other.trial) == (tried, False)


def test_the_trial_that_is_answered_makes_it_available() -> None:
    half = probed(opened_by_requests(), now=104)
    up = asked(half, now=105)
    assert (up.status, up.consecutive_failures, up.detail) == (UP, 0, None)
    assert up.breaker == Breaker(opened=1, generation=up.breaker.generation)
    assert health.admits(up, 105)


def test_the_trial_that_fails_keeps_it_away_for_longer() -> None:
    half = probed(opened_by_requests(), now=104)
    down = asked(half, BROKEN, now=105)
    assert (down.status, down.consecutive_failures) == (DOWN, 4)
    assert (down.breaker.until, down.breaker.opened) == (113, 2)
    assert not health.admits(down, 112.9)
    assert health.admits(down, 113)


def test_a_trial_whose_caller_left_gives_its_place_back() -> None:
    half = probed(opened_by_requests(), now=104)
    tried, trial = health.begin_request(half, now=104, limit=10)
    left = health.seen_left(tried, trial)
    assert health.admits(left, 104)
    assert (left.status, left.consecutive_failures) == (half.status, half.consecutive_failures)


@pytest.mark.parametrize("error", [InvalidRequest("Wrong."), RateLimited("Busy.")], ids=str)
def test_a_trial_that_proves_nothing_gives_its_place_back(error: ProviderError) -> None:
    half = probed(opened_by_requests(), now=104)
    after = asked(half, error, now=104)
    assert health.admits(after, 104)
    assert (after.status, after.breaker.half_open) == (SHAKY, True)


def test_a_trial_that_nobody_hears_of_is_given_up_after_twice_its_limit() -> None:
    half = probed(opened_by_requests(), now=104)
    tried, old = health.begin_request(half, now=104, limit=10)
    assert not health.admits(tried, 123.9)
    assert health.admits(tried, 124)
    anew, new = health.begin_request(tried, now=124, limit=10)
    assert new.trial
    # Its result comes all the same, and is too late.
    late = health.seen_request(anew, old, HERE, BROKEN, now=125)
    assert late == anew
    assert health.seen_left(anew, old) is anew
    assert health.seen_answer(anew, old) is anew
    assert health.seen_answer(anew, new).status is UP


def test_the_place_of_a_trial_is_free_when_the_time_has_come_even_without_a_probe() -> None:
    info = opened_by_requests()
    assert not health.admits(info, 103.9)
    assert health.admits(info, 104)
    _, ticket = health.begin_request(info, now=103.9, limit=10)
    assert not ticket.trial
    _, ticket = health.begin_request(info, now=104, limit=10)
    assert ticket.trial


def test_a_request_that_is_answered_though_nobody_would_have_asked_counts() -> None:
    info = opened_by_requests()
    assert asked(info, now=101).status is UP


def test_where_nobody_tries_it_a_half_open_service_gets_another_chance() -> None:
    half = probed(opened_by_requests(), now=104)
    assert probed(half, now=133).breaker.half_open
    up = probed(half, now=134)
    assert (up.status, up.consecutive_failures, up.breaker.half_open) == (UP, 2, False)
    assert asked(up, BROKEN, now=135).status is DOWN
    assert asked(asked(up, now=135), BROKEN, now=135).status is SHAKY


def test_what_was_begun_before_it_went_down_changes_nothing_any_more() -> None:
    up = probed(NEW)
    _, early = health.begin_request(up, now=100, limit=10)
    probe = health.begin_probe(up)
    down = asked(up, REFUSED, now=101)
    late = health.seen_request(down, early, HERE, None, now=102)
    assert late == down
    assert health.seen_alive(down, probe, HERE, now=102, models=(), loaded=()) is down
    assert health.seen_failing(down, probe, HERE, BROKEN, now=102) is down


def test_a_closed_port_is_all_that_a_probe_can_disprove_alone() -> None:
    refused = asked(opened_by_requests(), REFUSED, now=101)
    assert not refused.breaker.by_requests
    assert probed(refused, now=102).status is UP
    for error in (UNREACHED, REFUSED):
        remote = NEW
        for _ in range(3):
            remote = asked(remote, error, rules=THERE)
        assert remote.status is DOWN
        assert probed(remote, now=101).status is UP


def test_one_request_that_failed_is_forgiven_after_its_pause_but_not_forgotten() -> None:
    shaky = asked(probed(NEW), BROKEN)
    assert probed(shaky, now=100.9).status is SHAKY
    up = probed(shaky, now=101)
    assert (up.status, up.consecutive_failures) == (UP, 1)
    assert asked(up, BROKEN, now=101).consecutive_failures == 2
    assert asked(up, now=101).consecutive_failures == 0


# States that waiting does not end, or only waiting.


def test_a_key_that_requests_lack_is_not_found_by_a_probe_that_needs_none() -> None:
    locked = asked(probed(NEW), AuthenticationError("Key."))
    assert not health.admits(locked, 100)
    assert probed(locked, now=129).status is LOCKED
    assert probed(locked, now=130).status is UP
    assert asked(locked, now=101).status is UP
    by_probe = unanswered(probed(NEW), AuthenticationError("Key."))
    assert probed(by_probe, now=101).status is UP


def test_a_busy_service_stays_so_for_as_long_as_it_asked() -> None:
    busy = asked(probed(NEW), RateLimited("Busy.", retry_after=4.0))
    assert probed(busy, now=103).status is BUSY
    assert probed(busy, now=103).next_check == 104
    assert probed(busy, now=104).status is UP
    assert asked(busy, now=101).status is UP
    assert health.admits(busy, 100)
    assert BUSY.routable


def test_on_a_machine_that_has_just_started_the_clock_is_near_zero() -> None:
    busy = asked(asked(NEW, now=0), RateLimited("Busy.", retry_after=0.5), now=0)
    assert probed(busy, now=0.4).status is BUSY
    assert probed(busy, now=0.5).status is UP
    by_probe = unanswered(NEW, AuthenticationError("Key."), now=0)
    assert probed(by_probe, now=0.5).status is UP


@pytest.mark.parametrize("info", [asked(NEW, REFUSED), asked(NEW, AuthenticationError("Key."))])
def test_being_busy_makes_no_worse_state_better(info: ServiceInfo) -> None:
    assert asked(info, RateLimited("Busy.")) == info


def test_after_a_sleep_nothing_that_was_under_way_counts_and_a_probe_is_due() -> None:
    info, ticket = health.begin_request(probed(NEW), now=100, limit=10)
    woken = health.seen_asleep(info, now=5000)
    assert health.due(woken, 5000)
    late = health.seen_request(woken, ticket, HERE, SILENT, now=5000)
    assert (late.status, late.consecutive_failures) == (UP, 0)
    half = probed(opened_by_requests(), now=104)
    tried, _ = health.begin_request(half, now=104, limit=10)
    assert health.admits(health.seen_asleep(tried, now=5000), 5000)


def test_an_answer_resets_the_failures() -> None:
    info = asked(unanswered(NEW, BROKEN))
    assert (info.status, info.consecutive_failures) == (UP, 0)
