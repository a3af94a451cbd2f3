"""The public names as type checkers see them: mypy and pyright read this file, nobody runs it.

It has one use of each name, and the type that a user may rely on.
"""

from pathlib import Path
from typing import Any, assert_never, assert_type

from patinox import (
    AllServicesFailed,
    AnswerContinued,
    Anthropic,
    AuthenticationError,
    Breaker,
    CapabilityNotSupported,
    CloudModelRefused,
    CompletionChoice,
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    CompletionStream,
    ConfigurationError,
    ContextLengthExceeded,
    Deadlines,
    DiscoveryConfig,
    EmbeddedConfig,
    EmbeddedProvider,
    EmbeddingMatrix,
    EmbeddingRequest,
    EmbeddingResponse,
    EndpointConfig,
    FailedAttempt,
    Feature,
    GenerationRequest,
    HealthCheckConfig,
    Image,
    InvalidConfiguration,
    InvalidRequest,
    LlamaCppOptions,
    LlamaCppProvider,
    LMStudio,
    LMStudioConfig,
    LMStudioOptions,
    LMStudioProvider,
    LoadedModel,
    LoadProgress,
    Local,
    LocalProvider,
    LocalProviderConfig,
    LocalProviderError,
    LocalResourcesExhausted,
    LocalService,
    LogprobsDelta,
    ModelCapabilities,
    ModelDefaults,
    ModelId,
    ModelInfo,
    ModelMismatch,
    ModelNotAvailable,
    ModelNotFound,
    ModelNotLoaded,
    ModelProvider,
    NetworkError,
    Occupancy,
    Ollama,
    OllamaConfig,
    OllamaOptions,
    OllamaProvider,
    OpenAI,
    OpenRouter,
    Operation,
    OutputSchema,
    ParseError,
    Provider,
    ProviderClosed,
    ProviderError,
    PullProgress,
    PullStream,
    QualityTier,
    RateLimited,
    ReasoningDelta,
    ReasoningImplied,
    ResponseFinished,
    ResponseStarted,
    ResponseTooLarge,
    RunningModel,
    Secret,
    ServiceConfig,
    ServiceDiscovery,
    ServiceError,
    ServiceInfo,
    ServiceMetrics,
    ServiceNotFound,
    ServiceOptions,
    ServiceProvider,
    ServiceSpec,
    ServiceStatus,
    ServiceTimeout,
    ServiceType,
    ServiceUnavailable,
    Source,
    SpeedTier,
    StreamEvent,
    StreamInterrupted,
    StructuredOutputError,
    SyncCompletionStream,
    SyncLocalProvider,
    SyncPullStream,
    TextCompletionRequest,
    TextDelta,
    Timings,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallInvalid,
    ToolLoopLimit,
    ToolLoopResult,
    ToolResult,
    ToolStep,
    Usage,
    __version__,
    create_default_provider,
    estimate_tokens,
    load_config,
    run_tools,
)
from patinox.telemetry import (
    CallFinished,
    Event,
    LogObserver,
    Observer,
    OpenTelemetryObserver,
    Outcome,
    PrometheusObserver,
    Server,
)

VERSION: str = __version__


def configuration() -> LocalProviderConfig:
    """Every setting has a type, and everything has a default."""
    deadlines = Deadlines(first_token=600, idle=60.0)
    return LocalProviderConfig(
        discovery_config=DiscoveryConfig(
            enabled_services=("ollama", ServiceType.LMSTUDIO),
            health_check=HealthCheckConfig(interval=10, max_failures=2),
        ),
        ollama=OllamaConfig(deadlines=deadlines, custom_params={"num_ctx": 8192}),
        lmstudio=LMStudioConfig(api_key=Secret("key"), use_openai_compat=True),
        llamacpp=ServiceConfig(timeout=60),
        embedded=EmbeddedConfig(model_paths=(Path("models"),)),
        endpoints=(EndpointConfig.parse("127.0.0.1:8000", service="llamacpp", name="attic"),),
        preferred_service=LocalService.AUTO,
    )


def variants() -> list[Provider]:
    """The variants are of one family, and spelt with or without it."""
    return [
        *(Local(preferred_service=LocalService.OLLAMA), Ollama(config=OllamaConfig())),
        *(LMStudio(), OpenAI(api_key=Secret("key")), OpenRouter(), Anthropic()),
        *(Provider.Local(), Provider.Ollama(endpoint="127.0.0.1")),
    ]


def requests() -> tuple[CompletionRequest, EmbeddingRequest]:
    """A request takes what people write, and holds one form of it."""
    completion = CompletionRequest(
        "ollama::m",
        [CompletionMessage.system("Be brief."), "Hello", {"role": "user", "content": "Hi"}],
        temperature=0,
        max_tokens=10,
        stop="\n",
    )
    assert_type(completion.model, ModelId)
    assert_type(completion.messages, tuple[CompletionMessage, ...])
    assert_type(completion.stop, tuple[str, ...])
    options: list[ServiceOptions] = [
        OllamaOptions(num_ctx=8192, keep_alive=600),
        LMStudioOptions(ttl=600),
        LlamaCppOptions(grammar='root ::= "yes"'),
    ]
    text = TextCompletionRequest("m", "def f(", "return x", top_k=20, service_options=options)
    asked: list[GenerationRequest] = [text, completion]
    assert_type(estimate_tokens(text), int)
    assert_type(asked[0].service_options, tuple[ServiceOptions, ...])
    embedding = EmbeddingRequest(ModelId("m", "ollama"), "a text", dimensions=256)
    assert_type(embedding.input, tuple[str, ...])
    return completion, embedding


async def everything_local(request: CompletionRequest, texts: EmbeddingRequest) -> None:
    """What the methods return."""
    async with LocalProvider(load_config(monitor=False)) as local:
        assert_type(local, LocalProvider)
        assert_type(await local.list_models(), list[ModelInfo])
        assert_type(await local.default_model(), tuple[ModelInfo, str])
        assert_type(await local.find_model("m"), ModelInfo | None)
        assert_type(await local.supports_model(ModelId("m")), bool)
        assert_type(await local.model_capabilities("m"), ModelCapabilities | None)
        assert_type(local.services, tuple[ServiceInfo, ...])
        assert_type(local.get_service_info(ServiceType.OLLAMA), ServiceInfo | None)
        assert_type(local.occupancy(), dict[str, Occupancy])
        assert_type(local.services[0].breaker, Breaker)
        assert_type(local.ollama, OllamaProvider | None)
        assert_type(local.lmstudio, LMStudioProvider | None)
        assert_type(local.discovery, ServiceDiscovery)
        assert_type(await local.complete(request), CompletionResponse)
        assert_type(await local.embed(texts), EmbeddingResponse)
        text = TextCompletionRequest("m", "Once")
        assert_type(await local.complete_text(text), CompletionResponse)
        assert_type(local.stream_text(text), CompletionStream)
        bound = local.with_defaults(ModelDefaults(model="m", temperature=0.5))
        assert_type(bound, LocalProvider)
        assert_type(bound.request(messages="Hello"), CompletionRequest)
        async with local.stream_completion(request) as stream:
            assert_type(stream, CompletionStream)
            async for event in stream:
                tell(event)
        assert_type(stream.response, CompletionResponse)


def blocking(request: CompletionRequest) -> None:
    """The same without `await`."""
    with SyncLocalProvider() as local:
        assert_type(local, SyncLocalProvider)
        assert_type(local.complete(request), CompletionResponse)
        with local.stream_completion(request) as stream:
            assert_type(stream, SyncCompletionStream)
            for event in stream:
                assert_type(event, StreamEvent)


def tell(event: StreamEvent) -> str:  # noqa: PLR0911  a line for each kind
    """Every kind of event has its fields."""
    match event:
        case ResponseStarted():
            return f"{event.model} on {event.service}: {event.reason}"
        case TextDelta(content):
            return assert_type(content, str)
        case ReasoningDelta(reasoning):
            return assert_type(reasoning, str)
        case ToolCallDelta():
            return f"{event.index} {event.id} {event.name} {event.arguments}"
        case LogprobsDelta(tokens):
            return assert_type(tokens, tuple[TokenLogprob, ...])[0].token
        case AnswerContinued():
            return f"{event.service} {event.reason} {event.after_characters}"
        case LoadProgress() | ReasoningImplied():
            return event.text
        case ResponseFinished():
            assert_type(event.usage, Usage)
            assert_type(event.timings, Timings)
            return str(event.finish_reason)
        case _:
            return event.text


def read(answer: CompletionResponse, vectors: EmbeddingResponse) -> None:
    """What an answer holds."""
    assert_type(answer.choices, tuple[CompletionChoice, ...])
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    assert_type(answer.usage.total_tokens, int | None)
    assert_type(answer.timings.tokens_per_second, float | None)
    assert_type(vectors.embeddings, EmbeddingMatrix)
    assert_type(vectors.embeddings[0], list[float])
    assert_type(vectors.embeddings[:2], list[list[float]])


def compare(able: ModelCapabilities, info: ServiceInfo) -> bool:
    """Tiers are ordered, metrics may be unknown."""
    assert_type(able.supports_tools, bool | None)
    assert_type(able.source("supports_tools"), Source)
    assert_type(info.metrics, ServiceMetrics)
    assert_type(info.metrics.success_rate, float | None)
    good = able.quality_tier is not None and able.quality_tier >= QualityTier.STANDARD
    fast = able.speed_tier is not None and able.speed_tier > SpeedTier.THOUGHTFUL
    return good and fast and info.status is ServiceStatus.AVAILABLE


def one_server() -> list[ModelProvider]:
    """Whatever answers is a `ModelProvider`."""
    servers: list[ServiceProvider] = [
        OllamaProvider("127.0.0.1:11434", OllamaConfig()),
        LMStudioProvider(),
        LlamaCppProvider(config=ServiceConfig(streaming=False)),
        EmbeddedProvider(config=EmbeddedConfig()),
    ]
    made = create_default_provider({"PATINOX_MODEL_PROVIDER": "ollama"}, file=Path("patinox.toml"))
    match made:
        case LocalProvider() | OllamaProvider() | LMStudioProvider():
            return [*servers, made]
        case _:
            assert_never(made)


def manage_blocking(local: SyncLocalProvider) -> None:
    """The same without `await`."""
    with local.pull("llama3.2:3b") as download:
        assert_type(download, SyncPullStream)
        for progress in download:
            assert_type(progress, PullProgress)
    assert_type(local.ensure_loaded("llama3.2:3b", keep_alive=-1), LoadedModel)


async def manage(local: LocalProvider, ollama: OllamaProvider) -> None:
    """A model is got, loaded, looked at."""
    assert_type(await ollama.refused(Operation.PULL), CapabilityNotSupported | None)
    async with local.pull("llama3.2:3b") as download:
        assert_type(download, PullStream)
        async for progress in download:
            assert_type(progress, PullProgress)
            assert_type(progress.fraction, float | None)
    loaded = await local.ensure_loaded("llama3.2:3b", 8192, keep_alive=600)
    assert_type(loaded, LoadedModel)
    assert_type(loaded.fits, bool | None)
    assert_type(await local.running(), list[RunningModel])
    assert_type(await local.unload(ModelId("llama3.2:3b")), bool)


def spec() -> ServiceSpec:
    """Describe a service of one's own."""
    return ServiceSpec(
        name="mine",
        label="Mine",
        docs="https://example.com",
        provider=OllamaProvider,
        since={Feature.TOOLS: "1.2"},
    )


def answers() -> None:
    """The object that comes out is of the type that went in."""
    assert_type(OutputSchema.of(ModelId).parse("{}"), ModelId)
    assert_type(OutputSchema.of(list[int]).parse("[]"), list[int])
    assert_type(OutputSchema.of({"type": "object"}).parse("{}"), Any)
    assert_type(OutputSchema.of(OutputSchema.of(int)), OutputSchema[int])


def pictures() -> tuple[Image, ...]:
    """A picture comes from whatever holds one."""
    assert_type(Image.of(b"").data_url, str)
    return Image.of("a.png"), Image.of(Path("a.png")).as_one_of(["image/jpeg"]), Image(b"")


@Tool.of
def area(width: float, height: float = 1.0) -> float:
    """Multiply."""
    return width * height


def tools() -> tuple[Tool, ...]:
    """A tool comes from a function, from its description or from its parts."""
    assert_type(area, Tool)
    assert_type(area.call('{"width": 2}'), object)
    return area, Tool.of({"type": "function", "function": {"name": "x"}}), Tool(name="x")


async def with_tools(request: CompletionRequest) -> None:
    """The loop works with every provider, and the local ones have it as a method."""

    def allow(call: ToolCall) -> str | None:
        return None if call.name == "area" else "not allowed"

    result = await run_tools(OllamaProvider(), request, [area], on_call=allow, max_steps=3)
    assert_type(result, ToolLoopResult)
    assert_type(result.steps, tuple[ToolStep, ...])
    assert_type(result.steps[0].results, tuple[ToolResult, ...])
    async with LocalProvider() as local:
        assert_type(await local.run_tools(request, on_error="raise"), ToolLoopResult)


def explain(error: ProviderError) -> object:  # noqa: PLR0911  one for each kind
    """Each error has the facts that are particular to it."""
    match error:
        case ModelNotFound():
            return assert_type(error.nearest, tuple[str, ...])
        case ServiceTimeout():
            return assert_type((error.phase, error.seconds), tuple[str, float])
        case ContextLengthExceeded():
            return assert_type(error.prompt_tokens, int | None)
        case ToolLoopLimit():
            return assert_type(error.messages, tuple[CompletionMessage, ...])
        case StructuredOutputError():
            return assert_type(error.raw, str)
        case StreamInterrupted():
            return assert_type((error.text, error.tool_calls), tuple[str, tuple[ToolCall, ...]])
        case AllServicesFailed():
            assert_type(error.tried, tuple[FailedAttempt, ...])
            return assert_type(error.attempts, dict[str, ProviderError])
        case _:
            return error.hint, error.service, error.status, error.retryable, error.retry_after


TREE: tuple[tuple[type[ProviderError], tuple[type[ProviderError], ...]], ...] = (
    (ConfigurationError, (InvalidConfiguration,)),
    (InvalidRequest, (CapabilityNotSupported, ContextLengthExceeded)),
    (ModelNotAvailable, (ModelNotFound, ModelNotLoaded, ModelMismatch, CloudModelRefused)),
    (NetworkError, (ServiceUnavailable, ServiceNotFound, ServiceTimeout)),
    (LocalProviderError, (ServiceError, ParseError, ResponseTooLarge, StreamInterrupted)),
    (LocalProviderError, (LocalResourcesExhausted,)),
    (ProviderError, (AuthenticationError, RateLimited, StructuredOutputError, ToolCallInvalid)),
    (ProviderError, (ProviderClosed, ToolLoopLimit)),
)


class Watcher:
    """An observer is any object with this method."""

    def observe(self, event: Event) -> None:
        if isinstance(event, CallFinished):
            assert_type(event.usage, Usage)
            assert_type((event.outcome, event.server), tuple[Outcome, Server | None])


OBSERVERS: tuple[Observer, ...] = (
    Watcher(),
    LogObserver(),
    PrometheusObserver(),
    OpenTelemetryObserver(),
)
WATCHED = (LocalProvider(observers=OBSERVERS), SyncLocalProvider(observers=[Watcher()]))
