import pytest

from patinox.provider.local.events import (
    AttemptFinished,
    CallStarted,
    Operation,
    Outcome,
    Server,
    ServiceProbed,
)
from patinox.provider.local.tally import tally
from patinox.provider.local.types import ServiceMetrics

OLLAMA = Server("ollama", "ollama")
NOTHING = ServiceMetrics()


def attempt(outcome: Outcome, *, at_fault: bool = False, seconds: float = 1.0) -> AttemptFinished:
    return AttemptFinished(
        call=1, attempt=1, server=OLLAMA, outcome=outcome, at_fault=at_fault, seconds=seconds
    )


def probe(seconds: float, models: int | None = None) -> ServiceProbed:
    return ServiceProbed(server=OLLAMA, outcome=Outcome.SUCCESS, seconds=seconds, models=models)


@pytest.mark.parametrize(
    ("event", "requests", "failures"),
    [
        (attempt(Outcome.SUCCESS), 1, 0),
        (attempt(Outcome.ERROR, at_fault=True), 1, 1),
        (attempt(Outcome.ERROR), 0, 0),
        (attempt(Outcome.CANCELLED), 0, 0),
        (attempt(Outcome.CLIENT_GONE), 0, 0),
    ],
)
def test_an_attempt_counts_by_whose_fault_it_was(
    event: AttemptFinished, requests: int, failures: int
) -> None:
    metrics = tally(NOTHING, event, at=5.0)
    assert (metrics.requests, metrics.failures, metrics.last_request) == (requests, failures, 5.0)
    assert metrics.attempts == 1


def test_probes_that_went_well_give_a_mean() -> None:
    metrics = tally(tally(NOTHING, probe(0.1, 3), at=1.0), probe(0.3), at=2.0)
    assert metrics.avg_response_time == pytest.approx(0.2)
    assert (metrics.probes, metrics.model_count, metrics.last_request) == (2, 3, None)
    assert metrics.avg_request_time is None


def test_requests_that_succeeded_give_a_mean_of_their_own() -> None:
    metrics = NOTHING
    for event in (
        attempt(Outcome.ERROR, at_fault=True, seconds=9.0),
        attempt(Outcome.SUCCESS, seconds=1.0),
        attempt(Outcome.CANCELLED, seconds=9.0),
        attempt(Outcome.CLIENT_GONE, seconds=9.0),
        attempt(Outcome.SUCCESS, seconds=2.0),
    ):
        metrics = tally(metrics, event, at=1.0)
    assert metrics.avg_request_time == pytest.approx(1.5)
    assert (metrics.attempts, metrics.requests, metrics.failures) == (5, 3, 1)
    assert metrics.avg_response_time is None


def test_what_says_nothing_of_a_service_changes_nothing() -> None:
    failed = ServiceProbed(server=OLLAMA, outcome=Outcome.ERROR, seconds=9.0)
    started = CallStarted(call=1, operation=Operation.CHAT, requested="m")
    assert tally(NOTHING, failed, at=1.0) == tally(NOTHING, started, at=1.0) == NOTHING


def test_the_share_of_success_is_of_the_requests_that_count() -> None:
    metrics = NOTHING
    assert metrics.success_rate is None
    failed, wrong = attempt(Outcome.ERROR, at_fault=True), attempt(Outcome.ERROR)
    good = attempt(Outcome.SUCCESS)
    for event in (good, failed, wrong, good, good):
        metrics = tally(metrics, event, at=1.0)
    assert (metrics.requests, metrics.failures, metrics.success_rate) == (4, 1, 0.75)
