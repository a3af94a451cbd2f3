"""How a service's state follows from what is seen: pure functions from one snapshot to the next.

Requests and probes feed the same state. A caller's own mistake never counts against a service.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from patinox.provider.errors import (
    AuthenticationError,
    InvalidRequest,
    ModelNotAvailable,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.errors import (
    ModelNotLoaded,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.types import ServiceInfo, ServiceStatus

# Given the longest pause, 0.8 to 1.2 of it: so that several watchers do not knock all at once.
JITTER = 0.2

Random = Callable[[], float]


def seen_alive(
    info: ServiceInfo,
    config: HealthCheckConfig,
    *,
    now: float,
    response_time: float,
    models: tuple[str, ...],
    loaded: tuple[str, ...],
) -> ServiceInfo:
    """Note a probe that was answered well, `response_time` seconds after it was sent."""
    metrics = info.metrics
    probes = metrics.probes + 1
    before = metrics.avg_response_time or 0.0
    return replace(
        info,
        status=ServiceStatus.AVAILABLE,
        detail=None,
        models=models,
        loaded=loaded,
        last_health_check=now,
        consecutive_failures=0,
        next_check=now + config.interval,
        metrics=replace(
            metrics,
            probes=probes,
            avg_response_time=before + (response_time - before) / probes,
            model_count=len(models),
        ),
    )


def seen_failing(
    info: ServiceInfo,
    config: HealthCheckConfig,
    error: ProviderError,
    *,
    now: float,
    random: Random,
    local: bool,
) -> ServiceInfo:
    """Note a probe or a request that failed by `error`; `random` gives numbers from 0 to 1."""
    if not counts_against(error):
        return info
    if isinstance(error, AuthenticationError):
        return replace(
            info,
            status=ServiceStatus.UNAUTHORIZED,
            detail=error.message,
            next_check=now + config.interval,
        )
    if isinstance(error, ModelNotLoaded):
        return replace(
            info,
            status=ServiceStatus.WARMING,
            detail=error.message,
            next_check=now + config.retry_delay,
        )
    failures = info.consecutive_failures + 1
    definite = local and isinstance(error, ServiceUnavailable) and error.refused
    gone = definite or failures >= config.max_failures
    return replace(
        info,
        status=ServiceStatus.UNAVAILABLE if gone else ServiceStatus.DEGRADED,
        detail=error.message,
        consecutive_failures=failures,
        next_check=now + pause(config, failures, random=random, local=local),
    )


def seen_request(
    info: ServiceInfo, *, ok: bool, at: float | None = None, error: ProviderError | None = None
) -> ServiceInfo:
    """Count a request that ended, at Unix time `at`; one that failed counts by its error."""
    failed = not ok and error is not None and counts_against(error)
    metrics = info.metrics
    return replace(
        info,
        consecutive_failures=0 if ok else info.consecutive_failures,
        metrics=replace(
            metrics,
            requests=metrics.requests + (1 if ok or failed else 0),
            failures=metrics.failures + (1 if failed else 0),
            last_request=at if at is not None else metrics.last_request,
        ),
    )


def counts_against(error: ProviderError) -> bool:
    """Whether an error says something about the service, and not about what it was asked."""
    if isinstance(error, StreamInterrupted) and isinstance(error.__cause__, ProviderError):
        return counts_against(error.__cause__)
    if isinstance(error, ServiceTimeout) and not error.retryable:
        return False  # the caller's own limit
    if isinstance(error, ModelNotLoaded):
        return True
    return not isinstance(error, InvalidRequest | RateLimited | ModelNotAvailable)


def pause(config: HealthCheckConfig, failures: int, *, random: Random, local: bool) -> float:
    """Return the seconds until the next probe after so many failures in a row."""
    longest = config.max_local_retry_delay if local else config.max_retry_delay
    # Beyond 2**32 the pause is the longest one anyway, and a float would overflow.
    doubled = config.retry_delay * 2.0 ** min(failures - 1, 32)
    return min(doubled, longest) * (1 - JITTER + 2 * JITTER * random())


def due(info: ServiceInfo, now: float) -> bool:
    """Whether the next probe of the service should be sent."""
    return now >= info.next_check
