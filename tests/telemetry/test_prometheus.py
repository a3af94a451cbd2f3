"""What Prometheus would read, by its own client's parser."""

import gc
import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from patinox import EndpointConfig, LocalProvider, LocalProviderConfig
from patinox.provider.local.accounts import Call
from patinox.provider.local.errors import InvalidConfiguration, ServiceError
from patinox.provider.local.events import (
    AttemptStarted,
    CallContent,
    CallFinished,
    Operation,
    Outcome,
    QueueWaited,
    Server,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.observers import Observers
from patinox.provider.local.types import ServiceStatus
from patinox.telemetry import PrometheusObserver
from patinox.telemetry.labels import SECONDS, TOKENS
from patinox.telemetry.prometheus import METRICS
from patinox.testing import OllamaEmulator

Story: TypeAlias = Any  # that of `conftest.py`
CALL = {"operation": "chat", "service": "lmstudio", "model": "qwen3:4b"}
OLLAMA = Server("ollama", "ollama", "127.0.0.1", 11434)


class Exposed:
    """An observer and what its registry shows."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - those of the observer
        self.registry = CollectorRegistry()
        self.observer = PrometheusObserver(self.registry, wall_clock=lambda: 1e9, **settings)

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def samples(self) -> Iterator[Any]:
        for family in text_string_to_metric_families(self.text):
            yield from family.samples

    def value(self, name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for sample in self.samples()
            if sample.name == f"patinox_{name}" and sample.labels == labels
        ]
        return found[0] if found else None

    def buckets(self, name: str) -> list[float]:
        bounds = [
            float(sample.labels["le"])
            for sample in self.samples()
            if sample.name == f"patinox_{name}_bucket"
        ]
        return list(dict.fromkeys(bounds))


@pytest.fixture
def exposed() -> Exposed:
    return Exposed()


def test_a_request_is_counted_once_with_both_attempts(exposed: Exposed, story: Story) -> None:
    story.tell(exposed.observer)
    assert exposed.value("requests_total", **CALL, outcome="success", error="none") == 1
    failed = {"outcome": "error", "error": "ServiceError", "phase": "sent", "executed": "yes"}
    ended = {"outcome": "success", "error": "none", "phase": "ended", "executed": "yes"}
    assert exposed.value("attempts_total", service="ollama", **failed) == 1
    assert exposed.value("attempts_total", service="lmstudio", **ended) == 1
    assert exposed.value("fallbacks_total", **CALL) == 1
    assert exposed.value("requests_in_flight", operation="chat") == 0
    assert exposed.value("attempts_in_flight", service="ollama") == 0
    assert exposed.value("wasted_seconds_total", service="ollama") == 0.25
    assert exposed.value("sent_bytes_total", service="lmstudio") == 310
    assert exposed.value("received_bytes_total", service="ollama") == 20


def test_times_and_tokens_fall_into_the_given_buckets(exposed: Exposed, story: Story) -> None:
    story.tell(exposed.observer)
    assert exposed.value("time_to_first_token_seconds_sum", **CALL) == 0.75
    assert exposed.value("time_per_output_chunk_seconds_count", **CALL) == 1
    assert exposed.value("request_seconds_sum", **CALL) == pytest.approx(0.8)
    assert exposed.value("request_tokens_sum", **CALL, type="input") == 12
    assert exposed.value("request_tokens_bucket", **CALL, type="output", le="4.0") == 1
    assert exposed.buckets("request_seconds") == [*SECONDS, math.inf]
    assert exposed.buckets("request_tokens") == [*TOKENS, math.inf]
    assert SECONDS[0] == 0.01
    assert SECONDS[-1] == pytest.approx(81.92)
    assert TOKENS[-1] == 67108864


def test_a_failed_request_has_no_tokens(exposed: Exposed, story: Story) -> None:
    with pytest.raises(ServiceError):
        story.tell(exposed.observer, answered=False)
    call = {**CALL, "service": "ollama"}
    assert exposed.value("requests_total", **call, outcome="error", error="ServiceError") == 1
    assert not [sample for sample in exposed.samples() if "request_tokens" in sample.name]


def test_names_from_outside_are_no_labels(exposed: Exposed) -> None:
    for number in range(500):
        exposed.observer.observe(
            CallFinished(
                call=number,
                operation=Operation.CHAT,
                requested=f"typo-{number}",
                outcome=Outcome.ERROR,
                error="ModelNotFound",
            )
        )
    unknown = {"operation": "chat", "service": "none", "model": "other"}
    count = exposed.value("requests_total", **unknown, outcome="error", error="ModelNotFound")
    assert count == 500
    assert "typo" not in exposed.text


def test_a_list_of_models_names_none(exposed: Exposed) -> None:
    observers = Observers([exposed.observer])
    with Call(Operation.LIST_MODELS, None, clock=lambda: 1.0, observers=observers):
        pass
    listed = {"operation": "list_models", "service": "none", "model": "none"}
    assert exposed.value("requests_total", **listed, outcome="success", error="none") == 1


def test_models_beyond_the_bound_share_a_label() -> None:
    exposed = Exposed(max_models=2)
    for name in ("a", "b", "c", "d", "a"):
        exposed.observer.observe(
            CallFinished(
                call=1,
                operation=Operation.EMBEDDINGS,
                requested=name,
                model=name,
                server=OLLAMA,
                outcome=Outcome.SUCCESS,
            )
        )
    asked = {
        sample.labels["model"]: sample.value
        for sample in exposed.samples()
        if sample.name == "patinox_requests_total"
    }
    assert asked == {"a": 2, "b": 1, "other": 2}


def test_a_service_shows_its_state_and_when_it_changed(exposed: Exposed) -> None:
    for before, after, opened in (
        (ServiceStatus.UNKNOWN, ServiceStatus.AVAILABLE, False),
        (ServiceStatus.AVAILABLE, ServiceStatus.UNAVAILABLE, True),
    ):
        exposed.observer.observe(
            ServiceChanged(server=OLLAMA, before=before, after=after, opened=opened)
        )
    states = {
        state: exposed.value("service_state", service="ollama", state=state)
        for state in ServiceStatus
    }
    assert [state for state, value in states.items() if value] == ["unavailable"]
    assert exposed.value("service_opened_total", service="ollama") == 1
    changed = exposed.value("service_last_change_timestamp_seconds", service="ollama")
    assert changed == 1e9


def test_probes_and_queues_are_measured(exposed: Exposed) -> None:
    exposed.observer.observe(
        ServiceProbed(
            server=OLLAMA,
            outcome=Outcome.ERROR,
            error="ParseError",
            seconds=0.5,
            skipped=2,
            breach=True,
        )
    )
    exposed.observer.observe(QueueWaited(call=1, server=OLLAMA, seconds=0.25))
    assert exposed.value("probe_seconds_sum", service="ollama", outcome="error") == 0.5
    assert exposed.value("skipped_entries_total", service="ollama") == 2
    assert exposed.value("protocol_violations_total", service="ollama") == 1
    assert exposed.value("queue_seconds_sum", service="ollama") == 0.25


def test_what_was_said_is_not_counted(exposed: Exposed, story: Story) -> None:
    exposed.observer.observe(CallContent(call=1, request=story.request))
    story.tell(exposed.observer)
    assert "secret" not in exposed.text


def test_an_attempt_under_way_is_in_flight(exposed: Exposed) -> None:
    exposed.observer.observe(AttemptStarted(call=1, attempt=1, server=OLLAMA))
    assert exposed.value("attempts_in_flight", service="ollama") == 1


def test_every_metric_is_exposed_under_its_name_and_help(exposed: Exposed) -> None:
    shown = {family.name: family for family in text_string_to_metric_families(exposed.text)}
    for metric in METRICS.values():
        family = shown[f"patinox_{metric.name}"]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def states(registry: CollectorRegistry) -> list[str]:
    """List the states that Ollama is shown to have."""
    of_ollama = {state: {"service": "ollama", "state": state} for state in ServiceStatus}
    return [
        str(state)
        for state, labels in of_ollama.items()
        if registry.get_sample_value("patinox_service_state", labels)
    ]


async def test_providers_one_after_the_other_and_at_once_count_into_one_registry() -> None:
    registry = CollectorRegistry()
    async with OllamaEmulator() as ollama:
        config = LocalProviderConfig(
            auto_discover=False, monitor=False, endpoints=(EndpointConfig.parse(ollama.url),)
        )

        async def use() -> None:
            async with LocalProvider(config, observers=[PrometheusObserver(registry)]) as local:
                await local.list_models()
                assert states(registry) == ["available"]

        await use()
        assert states(registry) == ["unknown"]
        async with LocalProvider(config, observers=[PrometheusObserver(registry)]) as local:
            await local.list_models()
            await use()
            assert states(registry) == ["available"]
        assert states(registry) == ["unknown"]
    listed = {"operation": "list_models", "service": "none", "model": "none"}
    count = registry.get_sample_value(
        "patinox_requests_total", {**listed, "outcome": "success", "error": "none"}
    )
    assert count == 3


def test_observers_of_one_registry_keep_to_one_bound() -> None:
    registry = CollectorRegistry()
    for name in ("a", "b", "c"):
        PrometheusObserver(registry, max_models=2).observe(
            CallFinished(
                call=1,
                operation=Operation.CHAT,
                requested=name,
                model=name,
                server=OLLAMA,
                outcome=Outcome.SUCCESS,
            )
        )
    text = generate_latest(registry).decode()
    assert {*re.findall(r'model="(.+?)"', text)} == {"a", "b", "other"}


def test_an_observer_that_is_dropped_leaves_no_state_behind() -> None:
    registry = CollectorRegistry()
    found = ServiceChanged(
        server=OLLAMA, before=ServiceStatus.UNKNOWN, after=ServiceStatus.AVAILABLE
    )
    left = ServiceChanged(
        server=OLLAMA, before=ServiceStatus.AVAILABLE, after=ServiceStatus.UNKNOWN
    )
    dropped, kept = PrometheusObserver(registry), PrometheusObserver(registry)
    dropped.observe(found)
    kept.observe(found)
    del dropped
    gc.collect()
    kept.observe(left)
    assert states(registry) == ["unknown"]


def test_names_that_somebody_else_has_are_refused_and_none_is_taken() -> None:
    registry = CollectorRegistry()
    Gauge("patinox_service_state", "Theirs.", registry=registry)
    before = generate_latest(registry)
    with pytest.raises(InvalidConfiguration, match="'patinox_service_state'") as caught:
        PrometheusObserver(registry)
    assert caught.value.hint == "Give PrometheusObserver a `prefix` or a `registry` of its own."
    assert generate_latest(registry) == before
    PrometheusObserver(registry, prefix="other")


@pytest.mark.parametrize("wrong", [-1, True, "100", 2.5])
def test_what_is_no_number_of_models_is_refused(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidConfiguration, match=r"`max_models` is .+; allowed: a whole number"):
        PrometheusObserver(CollectorRegistry(), max_models=wrong)
