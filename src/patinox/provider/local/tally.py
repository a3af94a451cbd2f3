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
            before = metrics.avg_response_time or 0.0
            return replace(
                metrics,
                probes=probes,
                avg_response_time=before + (event.seconds - before) / probes,
                model_count=metrics.model_count if event.models is None else event.models,
            )
        case _:
            return metrics


def _attempted(metrics: ServiceMetrics, event: AttemptFinished, at: float) -> ServiceMetrics:
    """Count what says something about the service: a caller's mistake does not."""
    counts = event.outcome is Outcome.SUCCESS or event.at_fault
    return replace(
        metrics,
        requests=metrics.requests + counts,
        failures=metrics.failures + event.at_fault,
        last_request=at,
    )
