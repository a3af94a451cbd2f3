"""What was measured on a service, from what happened: the one place where it is counted."""

from __future__ import annotations

from msgspec.structs import replace

from patinox.provider.local.events import AttemptFinished, Event, Outcome, ServiceProbed
from patinox.provider.local.types import ServiceMetrics


def tally(metrics: ServiceMetrics, event: Event, *, at: float) -> ServiceMetrics:
    """Take an event of the service, at Unix time `at`, into what was measured on it."""
    match event:
        case AttemptFinished():
            return _attempted(metrics, event, at)
        case ServiceProbed(outcome=Outcome.SUCCESS):
            probes = metrics.probes + 1
            return replace(
                metrics,
                probes=probes,
                avg_response_time=_mean(metrics.avg_response_time, event.seconds, probes),
                model_count=metrics.model_count if event.models is None else event.models,
            )
        case _:
            return metrics


def _attempted(metrics: ServiceMetrics, event: AttemptFinished, at: float) -> ServiceMetrics:
    """Count what says something about the service apart: a caller's mistake does not."""
    metrics = replace(metrics, attempts=metrics.attempts + 1, last_request=at)
    if event.at_fault:
        return replace(metrics, requests=metrics.requests + 1, failures=metrics.failures + 1)
    if event.outcome is not Outcome.SUCCESS:
        return metrics
    requests = metrics.requests + 1
    mean = _mean(metrics.avg_request_time, event.seconds, requests - metrics.failures)
    return replace(metrics, requests=requests, avg_request_time=mean)


def _mean(before: float | None, value: float, count: int) -> float:
    """Take one more value into a mean, with which it is of so many."""
    before = before or 0.0
    return before + (value - before) / count
