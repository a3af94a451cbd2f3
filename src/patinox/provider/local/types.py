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
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"

    @property
    def routable(self) -> bool:
        """Whether requests may be sent there."""
        return self in (ServiceStatus.AVAILABLE, ServiceStatus.DEGRADED, ServiceStatus.WARMING)


class ServiceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on a service; `None` before there is anything to measure.

    Attributes:
        avg_response_time: mean time of its answers to probes, in seconds.
        model_count: number of models it lists.
        last_request: when it was last asked for an answer or vectors, in Unix seconds.
        success_rate: share of those requests that succeeded, 0 to 1.
        probes: number of probes it answered.
        requests: number of requests that ended, well or not.
        failures: number of requests that failed by the service's fault.
    """

    avg_response_time: float | None = None
    model_count: int | None = None
    last_request: float | None = None
    probes: int = 0
    requests: int = 0
    failures: int = 0

    @property
    def success_rate(self) -> float | None:
        """Share of the requests that succeeded, 0 to 1; `None` before the first."""
        return 1 - self.failures / self.requests if self.requests else None


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it was last seen.

    Attributes:
        id: its stable name: `ollama`, or `ollama@127.0.0.1:11500` for a second of its kind.
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
