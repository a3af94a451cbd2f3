"""Events as metrics of Prometheus.

    async with LocalProvider(observers=[PrometheusObserver()]) as local: ...

It counts into a registry of `prometheus_client`, which you expose: `start_http_server(9000)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.events import (
    AttemptFinished,
    AttemptStarted,
    CallFinished,
    CallStarted,
    Event,
    QueueWaited,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.types import ServiceStatus
from patinox.telemetry.labels import (
    NONE,
    SECONDS,
    TOKENS,
    Bounded,
    check_most_models,
    library,
    model_label,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MAX_MODELS = 100
MAX_SERVICES = 50


class Metric(NamedTuple):
    """One metric: its name without the prefix, its kind, its labels and what it tells."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    buckets: Sequence[float] = ()


_CALL = ("operation", "service", "model")
METRICS = {
    metric.name: metric
    for metric in (
        Metric("requests", "counter", (*_CALL, "outcome", "error"), "Requests that ended."),
        Metric("request_seconds", "histogram", _CALL, "Time of a request to its end.", SECONDS),
        Metric(
            "time_to_first_token_seconds",
            "histogram",
            _CALL,
            "Time of a request to its first output.",
            SECONDS,
        ),
        Metric(
            "time_per_output_chunk_seconds",
            "histogram",
            _CALL,
            "Time from one piece of output to the next.",
            SECONDS,
        ),
        Metric(
            "request_tokens",
            "histogram",
            (*_CALL, "type"),
            "Tokens of a request, as the server counted them: input or output.",
            TOKENS,
        ),
        Metric("requests_in_flight", "gauge", ("operation",), "Requests that have not ended."),
        Metric("fallbacks", "counter", _CALL, "Answers from another service than the first."),
        Metric(
            "attempts",
            "counter",
            ("service", "outcome", "error", "phase", "executed"),
            "Times that a service was asked, and whether it may have done work.",
        ),
        Metric("attempt_seconds", "histogram", ("service",), "Time of asking a service.", SECONDS),
        Metric("attempts_in_flight", "gauge", ("service",), "Attempts that have not ended."),
        Metric(
            "wasted_characters",
            "counter",
            ("service",),
            "Characters of output of attempts that failed.",
        ),
        Metric(
            "wasted_seconds",
            "counter",
            ("service",),
            "Time that services may have worked for no answer.",
        ),
        Metric("sent_bytes", "counter", ("service",), "Bytes of requests' bodies."),
        Metric("received_bytes", "counter", ("service",), "Bytes of replies' bodies."),
        Metric("queue_seconds", "histogram", ("service",), "Time of waiting for a turn.", SECONDS),
        Metric("service_state", "gauge", ("service", "state"), "1 for the state a service has."),
        Metric(
            "service_last_change_timestamp_seconds",
            "gauge",
            ("service",),
            "When the state of a service changed, in Unix seconds.",
        ),
        Metric("service_opened", "counter", ("service",), "Times a service was put aside."),
        Metric("probe_seconds", "histogram", ("service", "outcome"), "Time of a probe.", SECONDS),
        Metric("skipped_entries", "counter", ("service",), "Unreadable entries of lists."),
        Metric(
            "protocol_violations",
            "counter",
            ("service",),
            "Replies of a service that broke its contract.",
        ),
    )
}


class _Kept(NamedTuple):
    """What the observers of one registry share: its metrics, and what their labels may be.

    Attributes:
        metrics: by their names without the prefix.
        models: those that have a label of their own.
        services: likewise.
        states: of each service, what each of the observers was told last.
    """

    metrics: Mapping[str, Any]
    models: set[str]
    services: Bounded
    states: dict[str, WeakKeyDictionary[PrometheusObserver, ServiceStatus]]


# A registry takes each name once, and lives longer than a provider: by registry and prefix.
_KEPT: WeakKeyDictionary[CollectorRegistry, dict[str, _Kept]] = WeakKeyDictionary()
_LOCK = Lock()


class PrometheusObserver:
    """Counts events into a registry; those that have one registry and prefix count together."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        prefix: str = "patinox",
        max_models: int = MAX_MODELS,
        wall_clock: Callable[[], float] = lambda: datetime.now(tz=UTC).timestamp(),
    ) -> None:
        """Register the metrics, or go on with those that an earlier observer registered there.

        Args:
            registry: where; the library's own if none is given.
            prefix: what their names begin with.
            max_models: how many models have a label of their own; the others share `other`.
            wall_clock: Unix seconds.

        Raises:
            ConfigurationError: the extra `prometheus` is not installed.
            InvalidConfiguration: `max_models` is no number of models, or the registry refuses the
                names, as they are somebody else's there.
        """
        client = library("prometheus_client", "prometheus", needed_by="PrometheusObserver")
        where: CollectorRegistry = registry or client.REGISTRY
        check_most_models(max_models)
        with _LOCK:
            prefixes = _KEPT.setdefault(where, {})
            if prefix not in prefixes:
                metrics = _registered(client, where, prefix)
                prefixes[prefix] = _Kept(metrics, set(), Bounded(MAX_SERVICES), {})
            kept = prefixes[prefix]
        self._metrics, self._services, self._states = kept.metrics, kept.services, kept.states
        self._models = Bounded(max_models, kept.models)
        self._wall_clock = wall_clock

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case CallStarted():
                self._of("requests_in_flight", event.operation).inc()
            case CallFinished():
                self._call(event)
            case AttemptStarted():
                self._of("attempts_in_flight", self._services(event.server.id)).inc()
            case AttemptFinished():
                self._attempt(event)
            case QueueWaited():
                self._of("queue_seconds", self._services(event.server.id)).observe(event.seconds)
            case ServiceChanged():
                self._changed(event)
            case ServiceProbed():
                self._probed(event)
            case _:
                pass

    def _of(self, metric: str, *labels: str) -> Any:  # noqa: ANN401  a metric of the library
        return self._metrics[metric].labels(*labels)

    def _call(self, event: CallFinished) -> None:
        model = model_label(event, self._models) or NONE
        service = self._services(event.server.id) if event.server else NONE
        call = (event.operation, service, model)
        self._of("requests_in_flight", event.operation).dec()
        self._of("requests", *call, event.outcome, event.error or NONE).inc()
        self._of("request_seconds", *call).observe(event.seconds)
        if event.fallback:
            self._of("fallbacks", *call).inc()
        if event.time_to_first_token is not None:
            self._of("time_to_first_token_seconds", *call).observe(event.time_to_first_token)
            chunks = self._of("time_per_output_chunk_seconds", *call)
            for seconds in event.chunk_seconds:
                chunks.observe(seconds)
        counts = {"input": event.usage.prompt_tokens, "output": event.usage.completion_tokens}
        for kind, count in counts.items():
            if count is not None:
                self._of("request_tokens", *call, kind).observe(count)

    def _attempt(self, event: AttemptFinished) -> None:
        service = self._services(event.server.id)
        executed = "yes" if event.may_have_executed else "no"
        ended = (event.outcome, event.error or NONE, event.phase, executed)
        self._of("attempts_in_flight", service).dec()
        self._of("attempts", service, *ended).inc()
        self._of("attempt_seconds", service).observe(event.seconds)
        self._of("sent_bytes", service).inc(event.sent_bytes)
        self._of("received_bytes", service).inc(event.received_bytes)
        self._of("wasted_characters", service).inc(event.wasted_characters)
        self._of("wasted_seconds", service).inc(event.wasted_seconds)
        self._of("protocol_violations", service).inc(event.breach)

    def _changed(self, event: ServiceChanged) -> None:
        service = self._services(event.server.id)
        now = self._state(service, event.after)
        for state in ServiceStatus:
            self._of("service_state", service, state).set(state is now)
        self._of("service_last_change_timestamp_seconds", service).set(self._wall_clock())
        self._of("service_opened", service).inc(event.opened)

    def _state(self, service: str, told: ServiceStatus) -> ServiceStatus:
        """Return the state of a service; if it is watched no more here, what others see."""
        with _LOCK:
            states = self._states.setdefault(service, WeakKeyDictionary())
            states.pop(self, None)
            if told is not ServiceStatus.UNKNOWN:
                states[self] = told
            return next(reversed([*states.values()]), ServiceStatus.UNKNOWN)

    def _probed(self, event: ServiceProbed) -> None:
        service = self._services(event.server.id)
        self._of("probe_seconds", service, event.outcome).observe(event.seconds)
        self._of("skipped_entries", service).inc(event.skipped)
        self._of("protocol_violations", service).inc(event.breach)


def _registered(client: ModuleType, registry: CollectorRegistry, prefix: str) -> Mapping[str, Any]:
    """Register every metric, or none of them."""
    kinds = {"counter": client.Counter, "gauge": client.Gauge, "histogram": client.Histogram}
    made = dict[str, Any]()
    for metric in METRICS.values():
        buckets = {"buckets": metric.buckets} if metric.buckets else {}
        name = f"{prefix}_{metric.name}"
        try:
            made[metric.name] = kinds[metric.kind](
                name, metric.help, metric.labels, registry=registry, **buckets
            )
        except ValueError as error:
            for collector in made.values():
                registry.unregister(collector)
            msg = f"The registry of Prometheus does not take the metric {name!r}: {error}"
            hint = "Give PrometheusObserver a `prefix` or a `registry` of its own."
            raise InvalidConfiguration(msg, hint=hint) from error
    return made
