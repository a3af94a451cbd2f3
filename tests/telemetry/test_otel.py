"""What OpenTelemetry's own SDK keeps in memory of what it was told."""

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from patinox.provider.local.accounts import Call
from patinox.provider.local.errors import InvalidConfiguration, ServiceError
from patinox.provider.local.events import (
    CallFinished,
    CallStarted,
    Event,
    Operation,
    Outcome,
    QueueWaited,
    Server,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.observers import Observers
from patinox.provider.local.types import ServiceStatus
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    ReasoningDelta,
    ResponseFinished,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from patinox.telemetry import OpenTelemetryObserver
from patinox.telemetry.labels import SECONDS, TOKENS
from patinox.telemetry.semconv import LATEST, V1_41, metrics_of

Story: TypeAlias = Any  # that of `conftest.py`
OLLAMA = Server("ollama", "ollama", "127.0.0.1", 11434)


class Backend:
    """An SDK that keeps in memory what it is told."""

    def __init__(self) -> None:
        self.memory = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.memory))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def observer(self, **settings: Any) -> OpenTelemetryObserver:  # noqa: ANN401 - those it has
        return OpenTelemetryObserver(
            tracer_provider=self.tracers, meter_provider=self.meters, **settings
        )

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.memory.get_finished_spans()}

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        return list(self.metrics()[name].data.data_points)


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.tracers.shutdown()
    backend.meters.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_a_span_below_the_current_one(backend: Backend, story: Story) -> None:
    observer = backend.observer()
    with backend.tracers.get_tracer("app").start_as_current_span("work") as work:
        story.tell(observer)
    span = backend.spans["chat qwen3:4b"]
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == work.get_span_context().span_id
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lm_studio",
        "gen_ai.request.model": "qwen3:4b",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.response.model": "qwen3-4b",
        "gen_ai.response.id": "chat-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.75,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "server.address": "127.0.0.1",
        "server.port": 1234,
        "patinox.service.id": "lmstudio",
        "patinox.service.kind": "lmstudio",
        "patinox.routing.reason": "is available",
        "patinox.outcome": "success",
        "patinox.attempts": 2,
        "patinox.fallback": True,
    }
    scope = span.instrumentation_scope
    assert scope is not None
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.41.0"


def test_each_attempt_is_a_span_with_its_reason(backend: Backend, story: Story) -> None:
    story.tell(backend.observer())
    call, failed = backend.spans["chat qwen3:4b"], backend.spans["attempt ollama"]
    answered = backend.spans["attempt lmstudio"]
    for span in (failed, answered):
        assert span.parent is not None
        assert call.context is not None
        assert span.parent.span_id == call.context.span_id
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed) == {
        "error.type": "ServiceError",
        "server.address": "127.0.0.1",
        "server.port": 11434,
        "patinox.service.id": "ollama",
        "patinox.service.kind": "ollama",
        "patinox.attempt.number": 1,
        "patinox.routing.reason": "has the model in memory",
        "patinox.outcome": "error",
        "patinox.attempt.phase": "sent",
        "patinox.attempt.may_have_executed": True,
        "patinox.attempt.wasted_characters": 0,
        "patinox.model": "qwen3:4b",
        "patinox.model.loaded": True,
    }
    assert attributes(answered)["patinox.attempt.phase"] == "ended"


def test_a_request_that_fails_says_by_what(backend: Backend, story: Story) -> None:
    with pytest.raises(ServiceError):
        story.tell(backend.observer(), answered=False)
    span = backend.spans["chat qwen3:4b"]
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "ServiceError"
    (point,) = backend.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "ServiceError"
    assert not backend.metrics().keys() & {"gen_ai.client.token.usage"}


COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "lm_studio",
    "gen_ai.request.model": "qwen3:4b",
    "server.address": "127.0.0.1",
    "server.port": 1234,
}


def test_the_metrics_have_the_names_of_1_41_and_the_given_buckets(
    backend: Backend, story: Story
) -> None:
    story.tell(backend.observer())
    expected = {
        "gen_ai.client.operation.duration": ("s", SECONDS, 0.8),
        "gen_ai.client.operation.time_to_first_chunk": ("s", SECONDS, 0.75),
        "gen_ai.client.operation.time_per_output_chunk": ("s", SECONDS, 0.05),
    }
    for name, (unit, buckets, total) in expected.items():
        (point,) = backend.points(name)
        assert backend.metrics()[name].unit == unit
        assert point.explicit_bounds == buckets
        assert dict(point.attributes) == COMMON
        assert point.sum == pytest.approx(total)
    tokens = backend.points("gen_ai.client.token.usage")
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in tokens} == {
        "input": 12,
        "output": 3,
    }
    assert all(point.explicit_bounds == TOKENS for point in tokens)


def test_the_newest_names_are_behind_the_documented_switch(
    backend: Backend, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "database, gen_ai_latest_experimental")
    story.tell(backend.observer())
    names = set(backend.metrics())
    assert names >= {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.client.inference.time_per_output_chunk",
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.usage.cache_read.input_tokens",
    }
    assert not any("operation.duration" in name or "token.usage" in name for name in names)
    (point,) = backend.points("gen_ai.client.inference.usage.input_tokens")
    assert (point.value, point.attributes["gen_ai.token.modality"]) == (12, "text")


def test_the_argument_wins_over_the_switch(
    backend: Backend, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    story.tell(backend.observer(latest=False))
    assert "gen_ai.client.operation.duration" in backend.metrics()


def embed(observer: OpenTelemetryObserver) -> None:
    request = EmbeddingRequest("nomic", ["my secret"], dimensions=8)
    with (
        Call(
            Operation.EMBEDDINGS, request, clock=lambda: 1.0, observers=Observers([observer])
        ) as call,
        call.attempt(OLLAMA) as attempt,
    ):
        attempt.model = "nomic"
        attempt.usage = Usage(prompt_tokens=2)


@pytest.mark.parametrize(
    ("latest", "name"),
    [(False, "gen_ai.client.operation.duration"), (True, "gen_ai.client.embeddings.duration")],
)
def test_vectors_are_an_operation_of_their_own(
    backend: Backend,
    latest: bool,  # noqa: FBT001
    name: str,
) -> None:
    embed(backend.observer(latest=latest))
    span = backend.spans["embeddings nomic"]
    assert attributes(span)["gen_ai.embeddings.dimension.count"] == 8
    assert attributes(span)["gen_ai.usage.input_tokens"] == 2
    (point,) = backend.points(name)
    assert point.attributes["gen_ai.operation.name"] == "embeddings"


def test_an_answer_that_must_keep_to_a_schema_is_json(backend: Backend) -> None:
    request = CompletionRequest("m", "x", schema={"type": "object"})
    observers = Observers([backend.observer()])
    with Call(Operation.CHAT, request, clock=lambda: 1.0, observers=observers):
        pass
    assert attributes(backend.spans["chat m"])["gen_ai.output.type"] == "json"


def test_a_list_of_models_names_none(backend: Backend) -> None:
    observers = Observers([backend.observer(latest=True)])
    with Call(Operation.LIST_MODELS, None, clock=lambda: 1.0, observers=observers):
        pass
    assert "gen_ai.request.model" not in attributes(backend.spans["list_models"])
    (point,) = backend.points("gen_ai.client.operation.duration")
    assert dict(point.attributes) == {
        "gen_ai.operation.name": "list_models",
        "gen_ai.provider.name": "patinox",
    }


def test_an_answer_in_one_piece_has_no_times_of_pieces(backend: Backend, story: Story) -> None:
    story.tell(backend.observer(), streaming=False)
    assert "gen_ai.request.stream" not in attributes(backend.spans["chat qwen3:4b"])
    assert not any("chunk" in name for name in backend.metrics())


def test_nothing_that_was_said_is_told_unless_it_is_asked_for(
    backend: Backend, story: Story
) -> None:
    story.tell(backend.observer())
    everything = [attributes(span) for span in backend.memory.get_finished_spans()]
    assert "secret" not in repr(everything)
    assert "Blue" not in repr(everything)


def test_what_was_said_is_json_on_the_span_where_it_is_asked_for(
    backend: Backend, story: Story
) -> None:
    story.tell(backend.observer(content=True))
    said = attributes(backend.spans["chat qwen3:4b"])
    assert json.loads(said["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Be a secret poet."}
    ]
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "My secret: the sky?"}]}
    ]
    assert json.loads(said["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "Blue, mostly."}],
            "finish_reason": "stop",
        }
    ]


def test_thoughts_and_tools_are_parts_of_what_was_said(backend: Backend) -> None:
    calls = (ToolCall("1", "look", '{"at": "sky"}'),)
    request = CompletionRequest(
        "m",
        [
            "Look.",
            CompletionMessage(role="assistant", tool_calls=calls),
            CompletionMessage(role="tool", content="blue", tool_call_id="1"),
        ],
    )
    observer = backend.observer(content=True)
    with (
        Call(Operation.CHAT, request, clock=lambda: 1.0, observers=Observers([observer])) as call,
        call.attempt(OLLAMA) as attempt,
    ):
        attempt.takes([ReasoningDelta("Hm."), ToolCallDelta(index=0, id="2", name="look")])
        attempt.takes([ResponseFinished()])
    said = attributes(backend.spans["chat m"])
    assert [message["parts"] for message in json.loads(said["gen_ai.input.messages"])][1:] == [
        [{"type": "tool_call", "id": "1", "name": "look", "arguments": '{"at": "sky"}'}],
        [{"type": "tool_call_response", "id": "1", "response": "blue"}],
    ]
    (answer,) = json.loads(said["gen_ai.output.messages"])
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "tool_call"]
    assert answer["finish_reason"] == "unknown"


def test_a_request_without_an_answer_tells_what_was_asked(backend: Backend, story: Story) -> None:
    observer = backend.observer(content=True)
    with (
        pytest.raises(ServiceError),
        Call(Operation.CHAT, story.request, clock=lambda: 1.0, observers=Observers([observer])),
    ):
        raise ServiceError("x")
    said = attributes(backend.spans["chat qwen3:4b"])
    assert "gen_ai.input.messages" in said
    assert "gen_ai.output.messages" not in said
    assert said["gen_ai.provider.name"] == "patinox"


@pytest.mark.parametrize(
    ("kind", "provider"),
    [
        ("ollama", "ollama"),
        ("lmstudio", "lm_studio"),
        ("llamacpp", "llama_cpp"),
        ("embedded", "llama_cpp"),
        ("mine", "mine"),
    ],
)
def test_providers_are_named_as_that_world_does(backend: Backend, kind: str, provider: str) -> None:
    observer = backend.observer()
    start = CallStarted(
        call=1, operation=Operation.CHAT, requested="m", server=Server("here", kind)
    )
    observer.observe(start)
    observer.observe(
        CallFinished(
            call=1,
            operation=Operation.CHAT,
            requested="m",
            server=Server("here", kind),
            outcome=Outcome.SUCCESS,
        )
    )
    span = backend.spans["chat m"]
    assert attributes(span)["gen_ai.provider.name"] == provider
    assert span.kind is (SpanKind.INTERNAL if kind == "embedded" else SpanKind.CLIENT)
    assert "server.address" not in attributes(span)


def test_models_beyond_the_bound_share_an_attribute(backend: Backend) -> None:
    observer = backend.observer(max_models=1)
    for number, model in enumerate(("a", "b", "c", None)):
        observer.observe(
            CallStarted(call=number, operation=Operation.CHAT, requested=model or "typo")
        )
        observer.observe(
            CallFinished(
                call=number,
                operation=Operation.CHAT,
                requested=model or "typo",
                model=model,
                outcome=Outcome.SUCCESS,
            )
        )
    points = backend.points("gen_ai.client.operation.duration")
    counts = {point.attributes["gen_ai.request.model"]: point.count for point in points}
    assert counts == {"a": 1, "other": 3}


def test_services_have_metrics_in_our_own_namespace(backend: Backend) -> None:
    observer = backend.observer()
    for event in (
        QueueWaited(call=1, server=OLLAMA, seconds=0.5),
        ServiceProbed(server=OLLAMA, outcome=Outcome.ERROR, error="ParseError", seconds=0.25),
        ServiceChanged(server=OLLAMA, before=ServiceStatus.UNKNOWN, after=ServiceStatus.AVAILABLE),
        Event(),
    ):
        observer.observe(event)
    (waited,) = backend.points("patinox.client.queue.duration")
    assert (waited.sum, dict(waited.attributes)) == (0.5, {"patinox.service.id": "ollama"})
    (probed,) = backend.points("patinox.service.probe.duration")
    assert (probed.sum, probed.attributes["error.type"]) == (0.25, "ParseError")
    (changed,) = backend.points("patinox.service.state_changes")
    assert (changed.value, changed.attributes["patinox.service.state"]) == (1, "available")


def test_nothing_is_left_behind(backend: Backend, story: Story) -> None:
    observer = backend.observer()
    story.tell(observer)
    with pytest.raises(ServiceError):
        story.tell(observer, answered=False)
    (active,) = backend.points("patinox.client.active_requests")
    assert active.value == 0
    assert (observer._calls, observer._attempts) == ({}, {})  # noqa: SLF001


@pytest.mark.parametrize("names", [V1_41, LATEST])
def test_every_metric_of_the_table_can_be_made(backend: Backend, names: object) -> None:
    backend.observer(latest=names is LATEST)
    listed = [metric.name for metric in metrics_of(LATEST if names is LATEST else V1_41)]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("wrong", [-1, True, "100"])
def test_what_is_no_number_of_models_is_refused(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidConfiguration, match=r"`max_models` is .+; allowed: a whole number"):
        OpenTelemetryObserver(max_models=wrong)
