"""The names of OpenTelemetry's conventions for generative AI, in both generations. No I/O.

The stable switch of that world is `OTEL_SEMCONV_STABILITY_OPT_IN`: without it the names are those
of version 1.41; with `gen_ai_latest_experimental` in it they are the newer ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from patinox.provider.local.events import Operation
from patinox.provider.local.types import ServiceType
from patinox.telemetry.labels import SECONDS, TOKENS

LATEST_OPT_IN = "gen_ai_latest_experimental"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
STREAM = "gen_ai.request.stream"
OUTPUT_TYPE = "gen_ai.output.type"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  no secret
TOKEN_MODALITY = "gen_ai.token.modality"  # noqa: S105  no secret
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
ERROR_TYPE = "error.type"
ADDRESS = "server.address"
PORT = "server.port"

# Those of the conventions' custom values that their tools expect; a plugin's kind is its own.
PROVIDERS: Mapping[str, str] = {
    ServiceType.OLLAMA: "ollama",
    ServiceType.LMSTUDIO: "lm_studio",
    ServiceType.LLAMACPP: "llama_cpp",
    ServiceType.EMBEDDED: "llama_cpp",
}
# Where nobody was asked yet, we are who answers.
NO_PROVIDER = "patinox"

PARAMETERS: Mapping[str, str] = {
    "temperature": "gen_ai.request.temperature",
    "max_tokens": "gen_ai.request.max_tokens",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
# A field of `Usage`, and what it is called on a span.
USAGE: Mapping[str, str] = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
TOKEN_TYPES: Mapping[str, str] = {"prompt_tokens": "input", "completion_tokens": "output"}


class Names(msgspec.Struct, frozen=True):
    """The names of one generation that differ between the two.

    Attributes:
        duration: of the metric of a request's time, by operation.
        first_chunk: of the metric of the time to the first piece.
        per_chunk: of the metric of the time from one piece to the next.
        tokens: of histograms of tokens, by field of `Usage`.
        token_counters: of counters of tokens, by field of `Usage`.
        token_type: the attribute `gen_ai.token.type` tells the two kinds in one metric apart.
        schema_url: where the conventions are.
    """

    duration: Mapping[Operation, str]
    first_chunk: str
    per_chunk: str
    tokens: Mapping[str, str]
    token_counters: Mapping[str, str]
    token_type: bool
    schema_url: str | None


V1_41 = Names(
    duration=dict.fromkeys(Operation, "gen_ai.client.operation.duration"),
    first_chunk="gen_ai.client.operation.time_to_first_chunk",
    per_chunk="gen_ai.client.operation.time_per_output_chunk",
    tokens=dict.fromkeys(("prompt_tokens", "completion_tokens"), "gen_ai.client.token.usage"),
    token_counters={},
    token_type=True,
    schema_url=SCHEMA_URL,
)
_INFERENCE = "gen_ai.client.inference"
LATEST = Names(
    duration={
        Operation.CHAT: f"{_INFERENCE}.duration",
        Operation.TEXT_COMPLETION: f"{_INFERENCE}.duration",
        Operation.EMBEDDINGS: "gen_ai.client.embeddings.duration",
        Operation.LIST_MODELS: "gen_ai.client.operation.duration",
    },
    first_chunk=f"{_INFERENCE}.time_to_first_chunk",
    per_chunk=f"{_INFERENCE}.time_per_output_chunk",
    tokens={
        "prompt_tokens": f"{_INFERENCE}.operation.input_tokens",
        "completion_tokens": f"{_INFERENCE}.operation.output_tokens",
    },
    token_counters={
        "prompt_tokens": f"{_INFERENCE}.usage.input_tokens",
        "completion_tokens": f"{_INFERENCE}.usage.output_tokens",
        "cached_tokens": f"{_INFERENCE}.usage.cache_read.input_tokens",
        "reasoning_tokens": f"{_INFERENCE}.usage.reasoning.output_tokens",
    },
    token_type=False,
    schema_url=None,  # no release of the new home has one yet
)


class Metric(NamedTuple):
    """One metric: its name, the method that makes it, its unit, what it tells, its buckets."""

    name: str
    kind: str
    unit: str
    help: str
    buckets: Sequence[float] = ()


def metrics_of(names: Names) -> Iterator[Metric]:
    """Go through the metrics of one generation, and our own."""
    for metric in dict.fromkeys(names.duration.values()):
        yield Metric(metric, "histogram", "s", "Time of a request to its end.", SECONDS)
    first, later = "Time to the first piece of a streamed answer.", "Time between two pieces."
    yield Metric(names.first_chunk, "histogram", "s", first, SECONDS)
    yield Metric(names.per_chunk, "histogram", "s", later, SECONDS)
    for metric in dict.fromkeys(names.tokens.values()):
        yield Metric(metric, "histogram", "{token}", "Tokens of a request.", TOKENS)
    for metric in names.token_counters.values():
        yield Metric(metric, "counter", "{token}", "Tokens of all requests.")
    yield from OWN


OWN = (
    Metric(
        "patinox.client.active_requests",
        "up_down_counter",
        "{request}",
        "Requests that have not ended.",
    ),
    Metric(
        "patinox.client.attempt.duration", "histogram", "s", "Time of asking a service.", SECONDS
    ),
    Metric(
        "patinox.client.wasted_characters",
        "counter",
        "{character}",
        "Characters of output of attempts that failed.",
    ),
    Metric(
        "patinox.client.queue.duration", "histogram", "s", "Time of waiting for a turn.", SECONDS
    ),
    Metric("patinox.service.probe.duration", "histogram", "s", "Time of a probe.", SECONDS),
    Metric("patinox.service.state_changes", "counter", "{change}", "Changes of a service's state."),
)
