"""Events as spans and metrics of OpenTelemetry, by its conventions for generative AI.

    async with LocalProvider(observers=[OpenTelemetryObserver()]) as local: ...

Only the API is used: without an SDK set up by your program all of it is a no-op. A request is a
span of its own below the one that is current; below it stands a span for each server that was
asked. What the conventions have no name for is named `patinox.*`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from patinox._version import __version__
from patinox.provider.local.environment import semconv_opt_in
from patinox.provider.local.events import (
    AttemptFinished,
    AttemptStarted,
    CallContent,
    CallFinished,
    CallStarted,
    Event,
    QueueWaited,
    Server,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.types import ServiceType
from patinox.provider.types import CompletionMessage, ModelId
from patinox.telemetry import semconv as name
from patinox.telemetry.labels import Bounded, check_most_models, library, model_label
from patinox.telemetry.semconv import LATEST, V1_41, Metric, Names, metrics_of

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

SCOPE = "patinox"
MAX_MODELS = 100


class OpenTelemetryObserver:
    """Makes a span for each request and attempt, and records the metrics."""

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        latest: bool | None = None,
        content: bool = False,
        max_models: int = MAX_MODELS,
    ) -> None:
        """Get a tracer and a meter.

        Args:
            tracer_provider: where spans go; the one set up in the process if none is given.
            meter_provider: where metrics go; likewise.
            latest: whether to use the conventions' newest names; `None` asks the environment's
                `OTEL_SEMCONV_STABILITY_OPT_IN`.
            content: whether spans carry prompts and answers.
            max_models: how many models have a metric attribute of their own; the others share
                `other`.

        Raises:
            ConfigurationError: the extra `otel` is not installed.
            InvalidConfiguration: `max_models` is no number of models.
        """
        check_most_models(max_models)
        me = type(self).__name__
        self._trace = library("opentelemetry.trace", "otel", needed_by=me)
        metrics = library("opentelemetry.metrics", "otel", needed_by=me)
        if latest is None:
            latest = name.LATEST_OPT_IN in semconv_opt_in()
        self.content = content
        self._names: Names = LATEST if latest else V1_41
        schema = self._names.schema_url
        self._tracer = self._trace.get_tracer(
            SCOPE, __version__, tracer_provider=tracer_provider, schema_url=schema
        )
        meter = metrics.get_meter(
            SCOPE, __version__, meter_provider=meter_provider, schema_url=schema
        )
        self._metrics: Mapping[str, Any] = {
            metric.name: _instrument(meter, metric) for metric in metrics_of(self._names)
        }
        self._models = Bounded(max_models)
        self._calls: dict[int, Span] = {}
        self._attempts: dict[tuple[int, int], Span] = {}

    def observe(self, event: Event) -> None:
        """Take an event into spans and metrics."""
        match event:
            case CallStarted():
                self._call_started(event)
            case AttemptStarted():
                self._attempt_started(event)
            case AttemptFinished():
                self._attempt_finished(event)
            case CallContent():
                self._calls[event.call].set_attributes(_content(event))
            case CallFinished():
                self._call_finished(event)
            case _:
                self._service(event)

    # Spans.

    def _call_started(self, event: CallStarted) -> None:
        model = ModelId.parse(event.requested).name if event.requested else None
        inside = event.server is not None and event.server.kind == ServiceType.EMBEDDED
        kinds = self._trace.SpanKind
        attributes = {
            name.OPERATION: event.operation,
            name.PROVIDER: _provider(event.server),
            **_told({name.REQUEST_MODEL: model, name.OUTPUT_TYPE: event.output_type}),
            **({name.STREAM: True} if event.streaming else {}),
            **{name.PARAMETERS[field]: value for field, value in event.parameters.items()},
        }
        self._calls[event.call] = self._tracer.start_span(
            " ".join(filter(None, (event.operation, model))),
            kind=kinds.INTERNAL if inside else kinds.CLIENT,
            attributes=attributes,
        )
        self._metrics["patinox.client.active_requests"].add(1, {name.OPERATION: event.operation})

    def _attempt_started(self, event: AttemptStarted) -> None:
        self._attempts[event.call, event.attempt] = self._tracer.start_span(
            f"attempt {event.server.id}",
            context=self._trace.set_span_in_context(self._calls[event.call]),
            attributes={
                **_server(event.server),
                "patinox.attempt.number": event.attempt,
                **_told({"patinox.routing.reason": event.reason}),
            },
        )

    def _attempt_finished(self, event: AttemptFinished) -> None:
        span = self._attempts.pop((event.call, event.attempt))
        span.set_attributes(
            {
                "patinox.outcome": event.outcome,
                "patinox.attempt.phase": event.phase,
                "patinox.attempt.may_have_executed": event.may_have_executed,
                "patinox.attempt.wasted_characters": event.wasted_characters,
                **_told({"patinox.model": event.model, "patinox.model.loaded": event.loaded}),
            }
        )
        self._end(span, event.error)
        of = {"patinox.service.id": event.server.id}
        ended = {"patinox.outcome": event.outcome, **_told({name.ERROR_TYPE: event.error})}
        self._metrics["patinox.client.attempt.duration"].record(
            event.seconds, {**of, **ended, "patinox.attempt.phase": event.phase}
        )
        self._metrics["patinox.client.wasted_characters"].add(event.wasted_characters, of)

    def _call_finished(self, event: CallFinished) -> None:
        span = self._calls.pop(event.call)
        usage = {name.USAGE[field]: getattr(event.usage, field) for field in name.USAGE}
        span.set_attributes(
            {
                "patinox.outcome": event.outcome,
                "patinox.attempts": event.attempts,
                "patinox.fallback": event.fallback,
                name.PROVIDER: _provider(event.server),
                **(_server(event.server) if event.server else {}),
                **_told(
                    {
                        "patinox.routing.reason": event.reason,
                        name.RESPONSE_MODEL: event.answered_model,
                        name.RESPONSE_ID: event.response_id,
                        name.FIRST_CHUNK: event.time_to_first_token,
                        **usage,
                    }
                ),
                **({name.FINISH_REASONS: [event.finish_reason]} if event.finish_reason else {}),
            }
        )
        self._end(span, event.error)
        self._measure(event)

    def _end(self, span: Span, error: str | None) -> None:
        if error is not None:
            span.set_attribute(name.ERROR_TYPE, error)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    # Metrics.

    def _measure(self, event: CallFinished) -> None:
        metrics, names = self._metrics, self._names
        common = {
            name.OPERATION: event.operation,
            name.PROVIDER: _provider(event.server),
            **_told({name.REQUEST_MODEL: model_label(event, self._models)}),
            **(_address(event.server) if event.server else {}),
        }
        metrics["patinox.client.active_requests"].add(-1, {name.OPERATION: event.operation})
        metrics[names.duration[event.operation]].record(
            event.seconds, common | _told({name.ERROR_TYPE: event.error})
        )
        if event.streaming and event.time_to_first_token is not None:
            metrics[names.first_chunk].record(event.time_to_first_token, common)
            for seconds in event.chunk_seconds:
                metrics[names.per_chunk].record(seconds, common)
        for field, metric in names.tokens.items():
            if (count := getattr(event.usage, field)) is not None:
                kind = {name.TOKEN_TYPE: name.TOKEN_TYPES[field]} if names.token_type else {}
                metrics[metric].record(count, common | kind)
        for field, metric in names.token_counters.items():
            if (count := getattr(event.usage, field)) is not None:
                metrics[metric].add(count, {**common, name.TOKEN_MODALITY: "text"})

    def _service(self, event: Event) -> None:
        match event:
            case QueueWaited():
                metric, value = "patinox.client.queue.duration", event.seconds
                more = dict[str, str]()
            case ServiceProbed():
                metric, value = "patinox.service.probe.duration", event.seconds
                more = {"patinox.outcome": str(event.outcome)}
                more |= _told({name.ERROR_TYPE: event.error})
            case ServiceChanged():
                metric, value = "patinox.service.state_changes", 1
                more = {"patinox.service.state": str(event.after)}
            case _:
                return
        instrument = self._metrics[metric]
        tell = instrument.add if isinstance(event, ServiceChanged) else instrument.record
        tell(value, {"patinox.service.id": event.server.id, **more})


def _instrument(meter: Any, metric: Metric) -> Any:  # noqa: ANN401  those of the library
    make = getattr(meter, f"create_{metric.kind}")
    buckets = (
        {"explicit_bucket_boundaries_advisory": list(metric.buckets)} if metric.buckets else {}
    )
    return make(metric.name, unit=metric.unit, description=metric.help, **buckets)


def _provider(server: Server | None) -> str:
    if server is None:
        return name.NO_PROVIDER
    return name.PROVIDERS.get(server.kind, server.kind)


def _server(server: Server) -> dict[str, Any]:
    return {
        "patinox.service.id": server.id,
        "patinox.service.kind": server.kind,
        **_address(server),
    }


def _address(server: Server) -> dict[str, Any]:
    return {name.ADDRESS: server.address, name.PORT: server.port} if server.address else {}


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _content(event: CallContent) -> dict[str, str]:
    """Write what was said as the conventions want it on a span: as JSON."""
    system = [each for each in event.request.messages if each.role == "system"]
    others = [each for each in event.request.messages if each.role != "system"]
    written = {name.INPUT_MESSAGES: _json(_message(each) for each in others)}
    if system:
        written[name.SYSTEM_INSTRUCTIONS] = _json(part for each in system for part in _parts(each))
    if event.response is not None:
        answer = _message(event.response.choices[0].message)
        answer["finish_reason"] = event.response.finish_reason or "unknown"
        written[name.OUTPUT_MESSAGES] = _json([answer])
    return written


def _json(values: Iterable[object]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def _message(message: CompletionMessage) -> dict[str, Any]:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: CompletionMessage) -> list[dict[str, Any]]:
    parts = list[dict[str, Any]]()
    if message.reasoning:
        parts.append({"type": "reasoning", "content": message.reasoning})
    if message.role == "tool":
        parts.append(
            {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}
        )
    elif message.content:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return parts
