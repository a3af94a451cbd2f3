"""How a service's state follows from what is seen: pure functions from one snapshot to the next.

Requests and probes feed the same state. Each begins with a `Ticket`; what ends after the state has
moved on, so that its ticket is of an older generation, is late and changes nothing.

A service that fails too often, or refuses on this machine, is unavailable: requests go there last.
Probes decide when it is back. If requests had failed although it could be reached, a probe that is
answered only opens it half: one request at a time tries it, and one that is answered closes it.

What the caller did wrong, gave up or had no time for never counts, nor does being busy, wanting a
key or loading a model, nor what this machine ran out of.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import (
    AuthenticationError,
    InvalidRequest,
    ModelNotAvailable,
    ProviderClosed,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.config import HealthCheckConfig
from patinox.provider.local.errors import (
    LocalResourcesExhausted,
    ModelNotLoaded,
    ParseError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.types import Breaker, ServiceInfo, ServiceStatus

# Given the longest pause, 0.8 to 1.2 of it: so that several watchers do not knock all at once.
JITTER = 0.2
# The longest that a busy server is believed, in seconds, however long it asks for.
LONGEST_BUSY = 10.0
# Of an attempt's own limit: when its place is given to another, should nobody tell of its end.
STALE = 2.0
_NO_SUCH_ROUTE = (404, 405)
# About what was asked, or about this machine.
_NEUTRAL = (
    InvalidRequest,
    RateLimited,
    ModelNotAvailable,
    AuthenticationError,
    LocalResourcesExhausted,
    ProviderClosed,
)

Random = Callable[[], float]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """By what one service is judged.

    Attributes:
        config: limits and pauses.
        local: it is on this machine, where a refused connection is definite.
        random: gives numbers from 0 to 1.
    """

    config: HealthCheckConfig
    local: bool
    random: Random


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt was begun with.

    Attributes:
        service: id of the service.
        generation: that of the state at the time.
        trial: it is the one that tries whether the service works again.
        probe: it is a look at the service, and no request.
    """

    service: str
    generation: int
    trial: bool = False
    probe: bool = False


# Beginning.


def admits(info: ServiceInfo, now: float) -> bool:
    """Whether a request may be sent there as to any other, or as the one that tries it."""
    if info.status is ServiceStatus.UNAUTHORIZED:
        return False
    if not _kept_away(info):
        return True
    waited = info.breaker.half_open or now >= info.breaker.until
    return waited and not _tried_now(info.breaker, now)


def begin_request(info: ServiceInfo, *, now: float, limit: float) -> tuple[ServiceInfo, Ticket]:
    """Begin a request that has `limit` seconds to its first output; nobody is refused here.

    A request to a service that would not admit it counts all the same, but holds no place.
    """
    if not (_kept_away(info) and admits(info, now)):
        return info, Ticket(service=info.id, generation=info.breaker.generation)
    breaker = replace(_next(info.breaker), trial_until=now + STALE * limit)
    ticket = Ticket(service=info.id, generation=breaker.generation, trial=True)
    return replace(info, breaker=breaker), ticket


def begin_probe(info: ServiceInfo) -> Ticket:
    """Begin a probe."""
    return Ticket(service=info.id, generation=info.breaker.generation, probe=True)


# Ending.


def seen_alive(
    info: ServiceInfo,
    ticket: Ticket,
    rules: Rules,
    *,
    now: float,
    models: tuple[str, ...],
    loaded: tuple[str, ...],
) -> ServiceInfo:
    """Note a probe that was answered well."""
    if _late(info, ticket):
        return info
    info = replace(
        info,
        models=models,
        loaded=loaded,
        last_health_check=now,
        next_check=now + rules.config.interval,
    )
    return _recovered(info, rules.config, now)


def seen_request(
    info: ServiceInfo,
    ticket: Ticket,
    rules: Rules,
    error: ProviderError | None,
    *,
    now: float,
) -> ServiceInfo:
    """Note a request that ended, well or by `error`."""
    if error is None:
        return seen_answer(info, ticket)
    return seen_failing(info, ticket, rules, error, now=now)


def seen_answer(info: ServiceInfo, ticket: Ticket) -> ServiceInfo:
    """Note that a request is being answered, or was: the best of all signs."""
    if _late(info, ticket):
        return info
    breaker = _closed(info.breaker) if _kept_away(info) else replace(info.breaker, until=0.0)
    return replace(
        info,
        status=ServiceStatus.AVAILABLE,
        detail=None,
        consecutive_failures=0,
        breaker=replace(breaker, by_requests=False),
    )


def seen_failing(
    info: ServiceInfo,
    ticket: Ticket,
    rules: Rules,
    error: ProviderError,
    *,
    now: float,
    gone: bool = False,
) -> ServiceInfo:
    """Note a probe or a request that failed by `error`; `gone` if another answers in its place."""
    if _late(info, ticket):
        return info
    info = seen_left(info, ticket)
    if isinstance(error, RateLimited):
        return _busy(info, rules, error, now)
    if isinstance(error, AuthenticationError):
        wait = rules.config.interval if ticket.probe else rules.config.max_retry_delay
        breaker = replace(info.breaker, until=0.0 if ticket.probe else now + wait)
        return _waits(info, ServiceStatus.UNAUTHORIZED, error, now + wait, breaker)
    if isinstance(error, ModelNotLoaded):
        again = now + rules.config.retry_delay
        return _waits(info, ServiceStatus.WARMING, error, again, info.breaker)
    if not counts_against(error):
        return info
    refused = isinstance(error, ServiceUnavailable) and error.refused
    return _failed(info, ticket, rules, error, now, definite=gone or (refused and rules.local))


def seen_left(info: ServiceInfo, ticket: Ticket) -> ServiceInfo:
    """Note an attempt that was given up by its caller: all it does is to leave its place."""
    if not ticket.trial or _late(info, ticket):
        return info
    return replace(info, breaker=replace(info.breaker, trial_until=None))


def seen_asleep(info: ServiceInfo, *, now: float) -> ServiceInfo:
    """Note that this machine slept: what was under way proves nothing, and a probe is due."""
    breaker = replace(_next(info.breaker), trial_until=None)
    return replace(info, next_check=now, breaker=breaker)


# What follows.


def counts_against(error: ProviderError) -> bool:
    """Whether an error says that the service fails, and not something about what it was asked."""
    cause = error.__cause__
    if isinstance(error, StreamInterrupted) and isinstance(cause, ServiceTimeout):
        # A long answer is no failure: only silence is, and pings without end.
        return cause.phase in {"idle", "first_token"}
    if isinstance(error, StreamInterrupted) and isinstance(cause, ProviderError):
        return counts_against(cause)
    if isinstance(error, ServiceTimeout):
        return error.retryable  # else it is the caller's own limit
    if isinstance(error, ParseError) and error.status in _NO_SUCH_ROUTE:
        return False
    return not isinstance(error, _NEUTRAL)


def pause(
    config: HealthCheckConfig, failures: int, *, random: float, longest: float | None = None
) -> float:
    """Return the seconds to wait after so many failures in a row; `random` is from 0 to 1."""
    longest = config.max_retry_delay if longest is None else longest
    # Beyond 2**32 the pause is the longest one anyway, and a float would overflow.
    doubled = config.retry_delay * 2.0 ** min(failures - 1, 32)
    return min(doubled, longest) * (1 - JITTER + 2 * JITTER * random)


def due(info: ServiceInfo, now: float) -> bool:
    """Whether the next probe of the service should be sent."""
    return now >= info.next_check


def _failed(
    info: ServiceInfo,
    ticket: Ticket,
    rules: Rules,
    error: ProviderError,
    now: float,
    *,
    definite: bool,
) -> ServiceInfo:
    config, failures = rules.config, info.consecutive_failures + 1
    gone = definite or failures >= config.max_failures
    draw = rules.random()
    probed = pause(
        config,
        failures,
        random=draw,
        longest=config.max_local_retry_delay if rules.local else config.max_retry_delay,
    )
    # A port of this machine that refuses is asked again soon, since asking is free and exact.
    kept = probed if definite else pause(config, failures, random=draw)
    breaker = replace(
        _next(info.breaker) if gone else info.breaker,
        until=now + kept,
        # A new start may mend what the requests had found.
        by_requests=not definite
        and (info.breaker.by_requests or not (ticket.probe or _unreached(error))),
        half_open=False,
        trial_until=None,
    )
    if gone and info.status is not ServiceStatus.UNAVAILABLE:
        breaker = replace(breaker, opened=breaker.opened + 1)
    return replace(
        info,
        status=ServiceStatus.UNAVAILABLE if gone else ServiceStatus.DEGRADED,
        detail=error.message,
        consecutive_failures=failures,
        next_check=now + probed,
        breaker=breaker,
    )


def _recovered(info: ServiceInfo, config: HealthCheckConfig, now: float) -> ServiceInfo:
    """Judge a service by a probe that was answered just now."""
    breaker = info.breaker
    patient = info.status in (ServiceStatus.UNAUTHORIZED, ServiceStatus.RATE_LIMITED)
    if now < breaker.until and (breaker.by_requests or patient):
        return replace(info, next_check=min(info.next_check, breaker.until))
    if info.status is ServiceStatus.UNAVAILABLE and breaker.by_requests:
        return replace(
            info,
            status=ServiceStatus.DEGRADED,
            breaker=replace(breaker, half_open=True, until=now + config.max_retry_delay),
        )
    # Where nobody tried it meanwhile it gets another chance, but a failure more is one too many.
    failures = min(info.consecutive_failures, config.max_failures - 1)
    return replace(
        info,
        status=ServiceStatus.AVAILABLE,
        detail=None,
        consecutive_failures=failures if breaker.by_requests else 0,
        breaker=_closed(breaker) if _kept_away(info) else breaker,
    )


def _busy(info: ServiceInfo, rules: Rules, error: RateLimited, now: float) -> ServiceInfo:
    if _kept_away(info) or info.status is ServiceStatus.UNAUTHORIZED:
        return info
    asked = rules.config.retry_delay if error.retry_after is None else error.retry_after
    until = now + min(max(asked, 0.0), LONGEST_BUSY)
    breaker = replace(info.breaker, until=max(until, info.breaker.until))
    return _waits(info, ServiceStatus.RATE_LIMITED, error, until, breaker)


def _waits(
    info: ServiceInfo, status: ServiceStatus, error: ProviderError, again: float, breaker: Breaker
) -> ServiceInfo:
    return replace(info, status=status, detail=error.message, next_check=again, breaker=breaker)


def _unreached(error: ProviderError) -> bool:
    if isinstance(error, ServiceTimeout):
        return error.phase == "connect"
    return isinstance(error, ServiceUnavailable) and error.refused


def _kept_away(info: ServiceInfo) -> bool:
    return info.status is ServiceStatus.UNAVAILABLE or info.breaker.half_open


def _tried_now(breaker: Breaker, now: float) -> bool:
    return breaker.trial_until is not None and now < breaker.trial_until


def _late(info: ServiceInfo, ticket: Ticket) -> bool:
    return ticket.generation != info.breaker.generation


def _next(breaker: Breaker) -> Breaker:
    return replace(breaker, generation=breaker.generation + 1)


def _closed(breaker: Breaker) -> Breaker:
    return replace(_next(breaker), half_open=False, trial_until=None, until=0.0)
