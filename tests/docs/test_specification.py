"""docs/specification.md has every item of the specification, and names only what exists."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from patinox import (
    LMStudioConfig,
    LMStudioProvider,
    LocalProvider,
    OllamaConfig,
    OllamaProvider,
    ServiceInfo,
    ServiceStatus,
)
from patinox.provider.local.environment import environment_table
from patinox.testing import LMStudioEmulator, OllamaEmulator

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "specification.md"
VARIABLES = {row.name for row in environment_table()}

# What the specification has, section by section: `Type:: members`, or one item as it stands.
SPECIFICATION = {
    "Files": """
        local/mod.rs
        local/discovery.rs
        local/ollama.rs
        local/lmstudio.rs
        local/config.rs
        local/error.rs
        local/types.rs
    """,
    "LocalProvider": """
        LocalProvider:: discovery ollama lmstudio config http_client model_cache
        LocalProvider:: new with_config create_http_client discover_services refresh_services
        LocalProvider:: available_services route_request
        LocalProvider:: list_models complete embed supports_model model_capabilities name
    """,
    "ServiceDiscovery": """
        ServiceDiscovery:: config services health_client last_discovery
        DiscoveryConfig:: enabled_services discovery_timeout health_check cache_enabled cache_ttl
        HealthCheckConfig:: interval timeout max_failures retry_delay
        ServiceType:: Ollama LMStudio
        ServiceInfo:: service_type endpoint version models status last_health_check
        ServiceInfo:: consecutive_failures metrics
        ServiceStatus:: Available Degraded Unavailable Unknown
        ServiceMetrics:: avg_response_time model_count last_request success_rate
        ServiceDiscovery:: new discover_services discover_service get_default_endpoint query_models
        ServiceDiscovery:: available_services get_service_info start_health_monitoring
        ServiceDiscovery:: perform_health_checks health_check_service
    """,
    "OllamaProvider": """
        OllamaProvider:: client base_url config model_cache cache_timestamp
        OllamaConfig:: timeout streaming cache_ttl custom_params
        OllamaChatRequest:: model messages stream options
        OllamaMessage:: role content
        OllamaChatResponse:: model created_at message done total_duration load_duration
        OllamaChatResponse:: prompt_eval_count prompt_eval_duration eval_count eval_duration
        OllamaModelsResponse:: models
        OllamaModelInfo:: name size digest modified_at
        OllamaProvider:: new with_config is_cache_valid refresh_model_cache
        OllamaProvider:: infer_model_capabilities infer_quality_tier infer_speed_tier
        OllamaProvider:: convert_completion_request convert_completion_response
        OllamaProvider:: list_models complete embed supports_model model_capabilities name
    """,
    "LMStudioProvider": """
        LMStudioProvider:: client base_url config model_cache cache_timestamp
        LMStudioConfig:: timeout use_openai_compat cache_ttl custom_params
        LMStudioModel:: id object type publisher architecture quantization context_length state
        OpenAIChatRequest:: model messages temperature max_tokens stream
        OpenAIMessage:: role content
        OpenAIChatResponse:: id object created model choices usage
        OpenAIChoice:: index message finish_reason
        OpenAIUsage:: prompt_tokens completion_tokens total_tokens
        Leverage OpenAI compatibility
        Enhanced model management
        Performance optimization
        Error handling of LM Studio
    """,
    "Configuration": """
        Provider.Local:: endpoint model_path preferred_service auto_discover
        Provider.Ollama:: endpoint models_path config
        Provider.LMStudio:: endpoint models_path config
        LocalService:: Ollama LMStudio Auto
        LocalProviderConfig:: discovery_config validate
    """,
    "Environment": """
        OLLAMA_ENDPOINT
        LMSTUDIO_ENDPOINT
        LOCAL_ENDPOINT
        LOCAL_MODELS_PATH
        OLLAMA_MODELS_PATH
        LMSTUDIO_MODELS_PATH
        LOCAL_PROVIDER_PREFERENCE
        LOCAL_AUTO_DISCOVER
        PATINOX_MODEL_PROVIDER
        PATINOX_MODEL_DEFAULT
        PATINOX_MODEL_TIMEOUT
        PATINOX_OPENAI_BASE_URL
        PATINOX_OPENROUTER_BASE_URL
        PATINOX_ANTHROPIC_BASE_URL
        OPENAI_API_KEY
        OPENROUTER_API_KEY
        ANTHROPIC_API_KEY
    """,
    "Errors": """
        LocalProviderError
        LocalProviderError:: ServiceUnavailable ServiceTimeout NetworkError ServiceNotFound
        LocalProviderError:: InvalidConfiguration ModelNotFound ModelNotLoaded ServiceError
        LocalProviderError:: ParseError
        ProviderError
        ProviderError:: ApiError NetworkError AuthenticationError RateLimited ModelNotAvailable
        ProviderError:: InvalidRequest Timeout ConfigurationError AllProvidersFailed
        ProviderError:: SerializationError ParseError StreamError Unknown
        retryable, and after how long
    """,
    "Success criteria": """
        Complete implementation
        Comprehensive testing
        Error handling
        Performance
        Documentation
        Integration
        Zero breaking changes
        Configuration compatibility
        Monitoring integration
        Test coverage
    """,
    "What it takes for granted": """
        ModelProvider:: list_models complete embed supports_model model_capabilities name
        ModelProvider:: stream_completion
        ModelId:: name provider_hint
        ModelInfo:: id object created owned_by capabilities
        ModelCapabilities:: max_tokens supports_chat supports_completions supports_embeddings
        ModelCapabilities:: supports_vision supports_tools supports_streaming
        ModelCapabilities:: quality_tier speed_tier
        QualityTier:: Basic Standard Premium
        SpeedTier:: Thoughtful Balanced Fast
        CompletionRequest:: model messages temperature max_tokens
        CompletionMessage:: user assistant system
        CompletionResponse
        CompletionChoice
        Usage
        ToolCall:: id name arguments
        Streaming chunk: content, is_final, model, finish_reason, usage
        EmbeddingRequest:: model input
        EmbeddingResponse
        Provider:: OpenRouter OpenAI Anthropic
        Secret keys
        Selection strategies
        Cascade: global, agent, request
        Retry settings
        Default without settings
        Defaults and allowed ranges
        Aim: probing, validation, models, capabilities, caching
        Aim: health probes, backoff, circuit breaker
        Aim: routing by hint, support, load state, metrics, preference
        Aim: fallback, and similar names for a missing model
        Aim: metrics per call
        Aim: a chunk is limited
        Aim: local addresses by default
        Aim: endpoints and paths are validated
        Aim: mock services with delay and failures
        Aim: unit, integration, end to end, performance, failure tests
        Later phases
    """,
}


class Row(NamedTuple):
    """One row of a table: its cells as they stand."""

    items: str
    here: str
    shown: str
    difference: str


def rows(section: str) -> list[Row]:
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [Row(*row) for row in cells[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def items(section: str) -> list[str]:
    found: list[str] = []
    for line in SPECIFICATION[section].strip().splitlines():
        owner, members = re.fullmatch(r" *(.+?)(?::: ([\w ]+))?", line).groups()  # type: ignore[union-attr]
        found += [f"{owner}.{name}" for name in members.split()] if members else [owner]
    return found


def test_the_page_has_these_sections() -> None:
    assert re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == [
        *SPECIFICATION
    ]


@pytest.mark.parametrize("section", SPECIFICATION)
def test_the_table_has_every_item_of_the_specification_and_no_other(section: str) -> None:
    shown = [item for row in rows(section) for item in quoted(row.items) or [row.items]]
    assert sorted(shown) == sorted(items(section))


@pytest.mark.parametrize("section", SPECIFICATION)
def test_what_a_section_names_exists(section: str) -> None:
    here = [name for row in rows(section) for name in quoted(row.here)]
    shown = [name for row in rows(section) for name in quoted(row.shown)]
    assert [name for name in here if not exists(name)] == []
    assert [name for name in shown if not is_shown(*name.partition("::"))] == []


@pytest.mark.parametrize("section", SPECIFICATION)
def test_an_item_is_somewhere_and_shown_or_it_is_said_why_not(section: str) -> None:
    bare = [row.items for row in rows(section) if not (quoted(row.here) and quoted(row.shown))]
    assert bare == (["Later phases"] if section == "What it takes for granted" else [])


@pytest.mark.parametrize(
    "name",
    [
        "provider.types:ModelInfo.nothing",
        "provider.local.discovery:ServiceDiscovery.nothing",
        "provider.nowhere:ModelInfo",
        "OLLAMA_NOTHING",
        "docs/nothing.md",
    ],
)
def test_what_does_not_exist_is_noticed(name: str) -> None:
    assert not exists(name)


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert is_shown("docs/test_specification.py", "::", "test_a_service_starts_unknown")
    assert not is_shown("docs/test_specification.py", "::", "test_nothing")
    assert not is_shown("docs/test_nothing.py", "", "")


def exists(name: str) -> bool:
    module, colon, attributes = name.partition(":")
    if not colon:
        return name in VARIABLES or (ROOT / name).is_file()
    try:
        found: object = importlib.import_module(f"patinox.{module}")
        for attribute in attributes.split("."):
            found = attribute_of(found, attribute)
    except (ImportError, AttributeError):
        return False
    return True


def attribute_of(owner: object, name: str) -> object:
    """Return what a class or module has, or what its constructor gives to each instance."""
    code = getattr(getattr(owner, "__init__", None), "__code__", None)
    given = getattr(code, "co_names", ())
    return name if name in given else getattr(owner, name)


def is_shown(file: str, _: str, test: str) -> bool:
    path = ROOT / "tests" / file
    return path.is_file() and (not test or test in functions(path))


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, defined)}


# What no other test shows.


async def test_services_can_be_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "false")
    async with OllamaEmulator() as ollama, LMStudioEmulator() as lmstudio:
        monkeypatch.setenv("OLLAMA_ENDPOINT", ollama.url)
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", lmstudio.url)
        await lmstudio.stop()
        async with LocalProvider() as local:
            assert local.available_services() == ["ollama"]
            assert local.lmstudio is None
            await lmstudio.start()
            await local.refresh_services()
            assert local.available_services() == ["ollama", "lmstudio"]
            assert isinstance(local.ollama, OllamaProvider)
            assert isinstance(local.lmstudio, LMStudioProvider)


def test_the_providers_bear_the_names_of_the_specification() -> None:
    names = LocalProvider().name, OllamaProvider().name, LMStudioProvider().name
    assert names == ("local", "ollama", "lmstudio")


def test_a_provider_is_made_from_an_address_and_a_configuration() -> None:
    config = OllamaConfig(custom_params={"num_ctx": 8192})
    ollama = OllamaProvider("http://127.0.0.1:11500", config)
    assert (ollama.address, ollama.config) == ("http://127.0.0.1:11500", config)
    studio = LMStudioConfig(use_openai_compat=True)
    lmstudio = LMStudioProvider("localhost:1235", studio)
    assert (lmstudio.address, lmstudio.config) == ("http://127.0.0.1:1235", studio)


def test_a_service_starts_unknown() -> None:
    info = ServiceInfo(id="ollama", service_type="ollama", label="Ollama", endpoint="http://x")
    assert info.status is ServiceStatus.UNKNOWN
    assert info.metrics.success_rate is None
    assert not info.status.routable
