"""What is known about a service: replaced as a whole, never changed in place."""

from __future__ import annotations

import enum

import msgspec


class ServiceType(enum.StrEnum):
    """The kinds of service that Patinox knows from the start."""

    OLLAMA = "ollama"
    LMSTUDIO = "lmstudio"
    LLAMACPP = "llamacpp"
    EMBEDDED = "embedded"


class LocalService(enum.StrEnum):
    """Which service to prefer where several could answer."""

    OLLAMA = "ollama"
    LMSTUDIO = "lmstudio"
    LLAMACPP = "llamacpp"
    EMBEDDED = "embedded"
    AUTO = "auto"


class ServiceStatus(enum.StrEnum):
    """How a service is."""

    AVAILABLE = "available"
    DEGRADED = "degraded"
    WARMING = "warming"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"

    @property
    def routable(self) -> bool:
        """Whether requests may be sent there."""
        return self in _ROUTABLE


_ROUTABLE = {
    ServiceStatus.AVAILABLE,
    ServiceStatus.DEGRADED,
    ServiceStatus.WARMING,
    ServiceStatus.RATE_LIMITED,
}


class ServiceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on a service; `None` before there is anything to measure.

    It is about what a `LocalProvider` asked it for: answers and vectors, each attempt by itself.
    An attempt that was cancelled, left or over the caller's limit tells nothing of whether the
    service works, nor does a caller's mistake, a refused key, or being busy or loading a model.

    Attributes:
        avg_response_time: mean time of the probes it answered, in seconds; not of requests.
        avg_request_time: mean time of the requests that succeeded, in seconds, from the attempt's
            beginning to the end of the answer, waiting for a turn and for the model included.
        model_count: number of models it lists.
        last_request: when the last attempt ended, however it did, in Unix seconds.
        success_rate: share of `requests` that succeeded, 0 to 1.
        probes: number of probes it answered.
        attempts: number of times it was asked and that has ended, in whatever way.
        requests: those of `attempts` that tell whether it works: it answered, or was at fault.
        failures: those of `requests` that failed.
    """

    avg_response_time: float | None = None
    avg_request_time: float | None = None
    model_count: int | None = None
    last_request: float | None = None
    probes: int = 0
    attempts: int = 0
    requests: int = 0
    failures: int = 0

    @property
    def success_rate(self) -> float | None:
        """Share of `requests` that succeeded, 0 to 1; `None` before the first."""
        return 1 - self.failures / self.requests if self.requests else None


class Occupancy(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a service is with requests from here.

    Attributes:
        in_flight: requests that are running.
        waiting: requests that wait for a place.
        limit: how many may run at once; `None` for any number.
        slots: how many the server itself works on at once, where it tells.
    """

    in_flight: int = 0
    waiting: int = 0
    limit: int | None = None
    slots: int | None = None

    @property
    def ahead(self) -> int:
        """How many requests another one would wait for; 0 where a place is free."""
        return max(0, self.in_flight + self.waiting + 1 - (self.slots or 1))


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps requests from a service that fails, and lets one through to try it again.

    Times are seconds of the monotonic clock.

    Attributes:
        until: before this only an answered request makes the state better, no probe.
        by_requests: requests failed that had reached the service, which a probe alone cannot undo.
        half_open: probes are answered again; requests are let through one at a time until one is.
        trial_until: when the trial under way is given up; `None` if there is none.
        opened: how often the service became unavailable.
        generation: grows with every change after which the results of earlier attempts are late.
    """

    until: float = 0.0
    by_requests: bool = False
    half_open: bool = False
    trial_until: float | None = None
    opened: int = 0
    generation: int = 0


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it was last seen.

    Attributes:
        id: its stable name: `ollama`, or `ollama@127.0.0.1:11500` for a second of its kind. The
            first is the one with a setting of its own, else the one at the usual address.
        service_type: what it proved to be: a `ServiceType`, or the name of a plugin's service.
        label: its name for people.
        endpoint: base URL.
        version: version of the server; `None` if it does not tell and nothing can be inferred.
        version_inferred: the version was concluded from what the server can do.
        models: the server's own names of its models.
        loaded: those of them that are in memory, where the server tells.
        status: how it is.
        detail: why it is so, in a few words, where that is not plain.
        last_health_check: when it last answered a probe, in seconds of the monotonic clock.
        consecutive_failures: probes and requests that failed since the last that did not.
        next_check: when the next probe is due, in seconds of the monotonic clock.
        metrics: what was measured.
        breaker: what keeps requests away after failures.
    """

    id: str
    service_type: str
    label: str
    endpoint: str
    version: str | None = None
    version_inferred: bool = False
    models: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    status: ServiceStatus = ServiceStatus.UNKNOWN
    detail: str | None = None
    last_health_check: float | None = None
    consecutive_failures: int = 0
    next_check: float = 0.0
    metrics: ServiceMetrics = ServiceMetrics()
    breaker: Breaker = Breaker()
