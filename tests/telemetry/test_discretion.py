"""What is told of real requests: nothing that was said, no key, and names within their bounds."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from patinox import (
    CompletionMessage,
    CompletionRequest,
    DiscoveryConfig,
    EmbeddingRequest,
    EndpointConfig,
    LocalProvider,
    LocalProviderConfig,
    ModelId,
    OllamaConfig,
    ProviderError,
    Secret,
    TextCompletionRequest,
)
from patinox.provider.local.events import Observer
from patinox.telemetry import LogObserver, OpenTelemetryObserver, PrometheusObserver
from patinox.testing import Exchange, OllamaAnswer, OllamaEmulator, OllamaModel, OllamaToolCall

KEY = "sk-of-the-canary-0123456789"
SAID = {
    what: f"canary of the {what} that nobody may see"
    for what in ("system", "prompt", "answer", "argument", "result", "vectors", "suffix")
}
EVIL = ('a"b', "a\n# TYPE evil counter\nevil 1", "\\", "\u202ea", "::a", "a::b", 'a"} 5\n', "other")
MOST = 20


class Everything:
    """All that is written down by all three observers."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.handler = logging.StreamHandler(self.log)
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.registry = CollectorRegistry()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider(metric_readers=[self.reader])
        self.observers: list[Observer] = [
            LogObserver(),
            PrometheusObserver(self.registry, max_models=MOST),
            OpenTelemetryObserver(tracer_provider=tracers, meter_provider=meters, max_models=MOST),
        ]

    def exposed(self) -> str:
        return generate_latest(self.registry).decode()

    def measured(self) -> str:
        data = self.reader.get_metrics_data()
        assert data is not None
        return str(data.to_json())

    def texts(self) -> dict[str, str]:
        spans = "\n".join(span.to_json() for span in self.spans.get_finished_spans())
        return {
            "log": self.log.getvalue(),
            "exposition": self.exposed(),
            "spans": spans,
            "metrics": self.measured(),
        }


@pytest.fixture
def everything() -> Iterator[Everything]:
    told, root = Everything(), logging.getLogger()
    told.handler.setFormatter(logging.Formatter("%(message)s %(patinox)s", defaults={"patinox": 0}))
    level = root.level
    root.addHandler(told.handler)
    root.setLevel(logging.DEBUG)
    yield told
    root.removeHandler(told.handler)
    root.setLevel(level)


def look(city: str) -> str:
    """Look."""
    assert city == SAID["argument"]
    raise ValueError(SAID["result"])


async def echo(exchange: Exchange) -> bool:
    """Repeat all that came, as a server's error."""
    if exchange.path != "/api/chat":
        return False
    said = f"failed on {exchange.body.decode()} with {dict(exchange.headers)}"
    await exchange.reply(500, json.dumps({"error": said}).encode())
    return True


async def test_nothing_that_was_said_is_written_anywhere_even_at_debug(
    everything: Everything,
) -> None:
    chatting = OllamaModel(
        name="chats", capabilities=("completion", "insert"), reply=OllamaAnswer(SAID["answer"])
    )
    calls = (OllamaToolCall("look", {"city": SAID["argument"]}),)
    calling = OllamaModel(
        name="calls", capabilities=("completion", "tools"), reply=OllamaAnswer(tool_calls=calls)
    )
    vectors = OllamaModel(name="vectors", capabilities=("embedding",))
    messages = [
        CompletionMessage(role="system", content=SAID["system"]),
        CompletionMessage.user(SAID["prompt"]),
    ]
    async with OllamaEmulator(models=[chatting, calling, vectors]) as server:
        config = LocalProviderConfig(
            endpoints=(EndpointConfig.parse(server.url, service="ollama"),),
            auto_discover=False,
            ollama=OllamaConfig(api_key=Secret(KEY)),
        )
        async with LocalProvider(config, observers=everything.observers) as local:
            chat = CompletionRequest("chats", messages)
            assert SAID["answer"] in (await local.complete(chat)).text
            await local.complete_text(
                TextCompletionRequest("chats", SAID["prompt"], suffix=SAID["suffix"])
            )
            await local.embed(EmbeddingRequest("vectors", SAID["vectors"]))
            calling_request = CompletionRequest("calls", messages)
            with pytest.raises(ProviderError):
                await local.run_tools(calling_request, tools=[look], max_steps=1)
            server.faults.append(echo)
            with pytest.raises(ProviderError) as caught:
                await local.complete(chat)
            logging.getLogger("app").error("It failed.", exc_info=caught.value)
    for place, text in everything.texts().items():
        assert "chats" in text
        assert [what for what, said in SAID.items() if said[:30] in text] == [], place
        assert KEY not in text


async def test_many_evil_names_stay_within_the_bounds(everything: Everything) -> None:
    names = [f"{EVIL[number % len(EVIL)]}{number}" for number in range(3 * MOST)]

    async def serve(exchange: Exchange) -> bool:
        if exchange.path == "/api/tags":
            body = json.dumps({"models": [{"name": name} for name in names]}).encode()
        elif exchange.path == "/api/chat":
            model = json.loads(exchange.body)["model"]
            body = json.dumps({"model": model, "message": {"content": "a"}, "done": True}).encode()
        elif exchange.path == "/api/show":
            body = b"{}"
        else:
            return False
        await exchange.reply(200, body)
        return True

    async with OllamaEmulator() as server:
        server.faults.append(serve)
        config = LocalProviderConfig(
            endpoints=(EndpointConfig.parse(server.url),),
            auto_discover=False,
            monitor=False,
            discovery_config=DiscoveryConfig(enabled_services=("ollama",)),
            ollama=OllamaConfig(cache_ttl=1000),
        )
        async with LocalProvider(config, observers=everything.observers) as local:
            for name in names:
                await local.complete(CompletionRequest(ModelId(name, "ollama"), "Hi"))
            for name in names[:3]:
                with pytest.raises(ProviderError):
                    await local.complete(CompletionRequest(ModelId(f"no{name}"), "Hi"))
    families = list(text_string_to_metric_families(everything.exposed()))
    assert "evil" not in {family.name for family in families}
    models = {sample.labels.get("model") for family in families for sample in family.samples}
    assert len(models - {None, "none"}) == MOST + 1, "and `other`"
    spans = everything.spans.get_finished_spans()
    assert len([span for span in spans if span.parent is None]) == 3 * MOST + 3
    points = json.loads(everything.measured())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    told = {
        point["attributes"].get("gen_ai.request.model")
        for metric in points
        for point in metric["data"]["data_points"]
    }
    assert len(told - {None}) == MOST + 1
    assert "\n# TYPE" not in everything.log.getvalue()
