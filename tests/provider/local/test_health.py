from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.types import ServiceInfo, ServiceMetrics, ServiceStatus

CONFIG = HealthCheckConfig(
    interval=5, max_failures=3, retry_delay=1, max_retry_delay=30, max_local_retry_delay=2
)
NEW = ServiceInfo(id="ollama", service_type="ollama", label="Ollama", endpoint="http://x")
REFUSED = ServiceUnavailable("Refused.", refused=True)
RESET = ServiceUnavailable("Reset.")
BROKEN = ServiceError("It broke.")
SILENT = ServiceTimeout("Silent.", phase="idle", seconds=1)


def interrupted(cause: ProviderError) -> ProviderError:
    error = StreamInterrupted(f"Stopped: {cause.message}")
    error.__cause__ = cause
    return error


CALLERS = [
    InvalidRequest("Wrong."),
    ContextLengthExceeded("Too long."),
    CapabilityNotSupported("It cannot."),
    RateLimited("Busy."),
    ModelNotFound("Not here."),
    ModelMismatch("Another."),
    CloudModelRefused("Cloud."),
    ServiceTimeout("Your own limit.", phase="total", seconds=1, retryable=False),
    interrupted(ContextLengthExceeded("Too long.")),
    interrupted(interrupted(RateLimited("Busy."))),
]
SERVICES = [
    REFUSED,
    RESET,
    BROKEN,
    SILENT,
    ParseError("Rubbish."),
    StreamInterrupted("Broke off."),
    interrupted(BROKEN),
    interrupted(SILENT),
    ProviderError("Who knows."),
]


def alive(info: ServiceInfo, *, now: float = 100, took: float = 0.1) -> ServiceInfo:
    return health.seen_alive(
        info, CONFIG, now=now, response_time=took, models=("a", "b"), loaded=("b",)
    )


def failing(
    info: ServiceInfo,
    error: ProviderError,
    *,
    now: float = 100,
    random: float = 0.5,
    local: bool = False,
) -> ServiceInfo:
    return health.seen_failing(info, CONFIG, error, now=now, random=lambda: random, local=local)


def test_an_answer_makes_a_service_available() -> None:
    down = replace(NEW, status=ServiceStatus.UNAVAILABLE, detail="Refused.", consecutive_failures=7)
    up = alive(down)
    assert (up.status, up.detail, up.consecutive_failures) == (ServiceStatus.AVAILABLE, None, 0)
    assert (up.models, up.loaded, up.metrics.model_count) == (("a", "b"), ("b",), 2)
    assert (up.last_health_check, up.next_check) == (100, 105)


def test_the_mean_time_is_over_all_probes() -> None:
    info, times = NEW, [0.1, 0.3, 0.8, 0.0]
    for took in times:
        info = alive(info, took=took)
    assert info.metrics.probes == 4
    assert info.metrics.avg_response_time == pytest.approx(sum(times) / 4)


def test_a_service_is_degraded_until_it_has_failed_too_often() -> None:
    one = failing(alive(NEW), BROKEN)
    two = failing(one, RESET)
    three = failing(two, SILENT)
    assert [info.status for info in (one, two, three)] == [
        ServiceStatus.DEGRADED,
        ServiceStatus.DEGRADED,
        ServiceStatus.UNAVAILABLE,
    ]
    assert [info.consecutive_failures for info in (one, two, three)] == [1, 2, 3]
    assert [info.detail for info in (one, two, three)] == ["It broke.", "Reset.", "Silent."]
    assert three.models == ("a", "b")
    assert three.last_health_check == 100


@pytest.mark.parametrize(
    ("error", "local", "status"),
    [
        (REFUSED, True, ServiceStatus.UNAVAILABLE),
        (REFUSED, False, ServiceStatus.DEGRADED),
        (RESET, True, ServiceStatus.DEGRADED),
        (BROKEN, True, ServiceStatus.DEGRADED),
        (AuthenticationError("Key."), True, ServiceStatus.UNAUTHORIZED),
        (AuthenticationError("Key."), False, ServiceStatus.UNAUTHORIZED),
        (ModelNotLoaded("Loading."), True, ServiceStatus.WARMING),
    ],
)
def test_one_failure_tells_what_it_tells(
    error: ProviderError, *, local: bool, status: ServiceStatus
) -> None:
    info = failing(alive(NEW), error, local=local)
    assert (info.status, info.detail) == (status, error.message)


@pytest.mark.parametrize(
    ("error", "next_check"),
    [(AuthenticationError("Key."), 105), (ModelNotLoaded("Loading."), 101)],
)
def test_a_service_that_answers_is_no_failure(error: ProviderError, next_check: float) -> None:
    info = failing(failing(alive(NEW), BROKEN), error)
    assert (info.consecutive_failures, info.next_check) == (1, next_check)


@pytest.mark.parametrize("error", CALLERS, ids=str)
@pytest.mark.parametrize("local", [True, False])
def test_the_callers_faults_change_nothing(error: ProviderError, *, local: bool) -> None:
    for info in (NEW, alive(NEW), failing(alive(NEW), BROKEN)):
        assert failing(info, error, local=local) is info
    assert not health.counts_against(error)
    assert health.seen_request(NEW, ok=False, error=error).metrics == ServiceMetrics()


@pytest.mark.parametrize("error", [*SERVICES, ModelNotLoaded("Loading.")], ids=str)
def test_the_services_faults_count(error: ProviderError) -> None:
    assert health.counts_against(error)
    metrics = health.seen_request(NEW, ok=False, error=error).metrics
    assert (metrics.requests, metrics.failures, metrics.success_rate) == (1, 1, 0)


@pytest.mark.parametrize(("local", "longest"), [(True, 2), (False, 30)])
def test_the_pause_doubles_up_to_its_limit(*, local: bool, longest: float) -> None:
    pauses = [
        health.pause(CONFIG, failures, random=lambda: 0.5, local=local) for failures in range(1, 9)
    ]
    assert pauses == pytest.approx([min(2.0**n, longest) for n in range(8)])
    assert health.pause(CONFIG, 10**9, random=lambda: 0.5, local=local) == pytest.approx(longest)


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_the_pause_is_spread(random: float, share: float) -> None:
    pause = health.pause(CONFIG, 3, random=lambda: random, local=False)
    assert pause == pytest.approx(4 * share)
    assert failing(NEW, BROKEN, random=random).next_check == pytest.approx(100 + share)


@pytest.mark.parametrize(("now", "due"), [(99.9, False), (100, True), (101, True)])
def test_a_probe_is_due_when_its_time_has_come(now: float, *, due: bool) -> None:
    assert health.due(replace(NEW, next_check=100), now) is due
    assert health.due(NEW, 0)


def test_requests_that_ended_well_are_counted_and_reset_the_failures() -> None:
    info = health.seen_request(failing(NEW, BROKEN), ok=True, at=1000)
    assert info.consecutive_failures == 0
    assert info.metrics == ServiceMetrics(requests=1, last_request=1000)
    assert health.seen_request(info, ok=True).metrics.last_request == 1000


def test_the_share_of_success_is_of_the_requests_that_count() -> None:
    info = NEW
    assert info.metrics.success_rate is None
    for error in (None, BROKEN, RateLimited("Busy."), None, None, InvalidRequest("Wrong.")):
        info = health.seen_request(info, ok=error is None, error=error, at=1)
    assert (info.metrics.requests, info.metrics.failures) == (4, 1)
    assert info.metrics.success_rate == 0.75
    assert health.seen_request(info, ok=False).metrics == info.metrics


def test_a_failed_request_leaves_the_state_to_what_it_means() -> None:
    info = failing(NEW, BROKEN)
    assert health.seen_request(info, ok=False, error=BROKEN).consecutive_failures == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["alive", "ok", *CALLERS, *SERVICES]),
        st.floats(0, 60),
        st.floats(0, 1),
    ),
    max_size=25,
)


def walk(
    steps: list[tuple[str | ProviderError, float, float]], *, local: bool
) -> Iterator[tuple[ServiceInfo, str | ProviderError, float]]:
    """Go from state to state: the new one, what led to it, and when."""
    info, now = NEW, 0.0
    for what, passed, random in steps:
        now += passed
        if isinstance(what, ProviderError):
            info = health.seen_request(info, ok=False, error=what, at=now)
            info = failing(info, what, now=now, random=random, local=local)
        elif what == "ok":
            info = health.seen_request(info, ok=True, at=now)
        else:
            info = alive(info, now=now, took=random)
        yield info, what, now


@settings(max_examples=100, deadline=None)
@given(STEPS, st.booleans())
def test_whatever_happens_the_state_stays_true(
    steps: list[tuple[str | ProviderError, float, float]],
    local: bool,  # noqa: FBT001
) -> None:
    shortest, longest = 0.8 - 1e-9, (2 if local else 30) * 1.2 + 1e-9
    states = [(NEW, "", 0.0), *walk(steps, local=local)]
    for (before, _, _), (info, what, now) in pairwise(states):
        assert info.next_check <= now + max(longest, CONFIG.interval)
        if what == "alive":
            assert (info.status, info.consecutive_failures) == (ServiceStatus.AVAILABLE, 0)
        elif what == "ok":
            assert (info.status, info.consecutive_failures) == (before.status, 0)
        elif what in CALLERS:
            assert replace(info, metrics=before.metrics) == before
        else:
            assert info.consecutive_failures == before.consecutive_failures + 1
            assert now + shortest <= info.next_check <= now + longest
            gone = info.consecutive_failures >= 3 or (what is REFUSED and local)
            assert info.status is (ServiceStatus.UNAVAILABLE if gone else ServiceStatus.DEGRADED)
    last = states[-1][0]
    ended = [what for what, _, _ in steps if what not in {"alive", *CALLERS}]
    assert last.metrics.requests == len(ended)
    assert last.metrics.failures == sum(what != "ok" for what in ended)
    taken = [random for what, _, random in steps if what == "alive"]
    assert last.metrics.probes == len(taken)
    if taken:
        mean = sum(taken) / len(taken)
        assert last.metrics.avg_response_time == pytest.approx(mean)
    assert list(walk(steps, local=local)) == states[1:]


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_a_service_that_is_back_is_found_after_the_longest_pause(
    steps: list[tuple[str | ProviderError, float, float]],
) -> None:
    *_, (info, _, now) = [(NEW, "", 0.0), *walk(steps, local=True)]
    later = now + CONFIG.interval
    assert health.due(info, later)
    assert alive(info, now=later).status is ServiceStatus.AVAILABLE
