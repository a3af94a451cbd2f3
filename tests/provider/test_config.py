import doctest

import msgspec
import pytest

from patinox.provider import config
from patinox.provider.config import (
    KINDS,
    VARIANTS,
    Anthropic,
    GlobalConfig,
    LMStudio,
    Local,
    ModelDefaults,
    Ollama,
    OpenAI,
    OpenRouter,
    Provider,
    SelectionStrategy,
    fill_request,
    merge_request,
    resolve,
)
from patinox.provider.errors import InvalidRequest
from patinox.provider.local.config import OllamaConfig
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionRequest, ModelId

# Variants.


def test_a_variant_is_spelt_with_or_without_its_family() -> None:
    assert (Provider.Local, Provider.Ollama, Provider.LMStudio) == (Local, Ollama, LMStudio)
    assert (Provider.OpenAI, Provider.OpenRouter, Provider.Anthropic) == (
        *(OpenAI, OpenRouter, Anthropic),
    )
    assert KINDS == ("local", "ollama", "lmstudio", "openai", "openrouter", "anthropic")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_needs_nothing_and_can_be_written_and_read(variant: type[Provider]) -> None:
    made = variant()
    assert isinstance(made, Provider)
    assert msgspec.convert(msgspec.structs.asdict(made), variant) == made


def test_the_family_is_open() -> None:
    class Mine(Provider, frozen=True, kw_only=True):
        kind = "mine"
        where: str

    assert Mine(where="here").kind == "mine"
    assert isinstance(Mine(where="here"), Provider)


@pytest.mark.parametrize("variant", [Local, Ollama, LMStudio])
def test_a_wrong_address_cannot_be_made(variant: type[Local | Ollama | LMStudio]) -> None:
    with pytest.raises(InvalidConfiguration, match=f"^{variant.__name__}.endpoint is 'host:x'"):
        variant(endpoint="host:x")


def test_a_variant_keeps_what_it_is_given() -> None:
    local = Local(endpoint="host:1", preferred_service=LocalService.OLLAMA, auto_discover=False)
    assert (local.endpoint, local.preferred_service) == ("host:1", "ollama")
    assert Ollama(config=OllamaConfig(timeout=3)).config.timeout == 3


@pytest.mark.parametrize("variant", [OpenAI, OpenRouter, Anthropic])
def test_a_key_never_prints(variant: type[OpenAI | OpenRouter | Anthropic]) -> None:
    assert "hunter2" not in repr(variant(api_key=Secret("hunter2")))


# The global level.


@pytest.mark.parametrize("strategy", SelectionStrategy)
def test_fixed_and_balanced_are_offered_and_the_other_strategies_refused(
    strategy: SelectionStrategy,
) -> None:
    if strategy in ("fixed", "balanced"):
        assert GlobalConfig(strategy=strategy).strategy is strategy
    else:
        with pytest.raises(InvalidConfiguration, match=f"'{strategy}' is understood but not"):
            GlobalConfig(strategy=strategy)


def test_without_settings_the_provider_is_everything_local_in_balance() -> None:
    assert GlobalConfig().provider == Local()
    assert GlobalConfig().strategy is SelectionStrategy.BALANCED
    assert GlobalConfig().defaults == ModelDefaults()


def test_the_global_level_is_the_lowest_of_the_cascade() -> None:
    level = GlobalConfig(model=ModelId("a"), timeout=9)
    assert level.defaults == ModelDefaults(model="a", timeout=9)


# The cascade.


def test_the_table_of_the_cascade_holds() -> None:
    results = doctest.testmod(config)
    assert results.attempted
    assert not results.failed


def test_a_later_level_wins_where_it_says_something() -> None:
    program = ModelDefaults(provider="ollama", model="a", temperature=0.5, timeout=60)
    agent = ModelDefaults(model="b", temperature=0, max_tokens=7)
    request = ModelDefaults(timeout=1)
    assert resolve(program, agent, request) == ModelDefaults(
        provider="ollama", model="b", temperature=0, max_tokens=7, timeout=1
    )
    assert resolve() == ModelDefaults()


@pytest.mark.parametrize(
    "wrong", [{"temperature": 3}, {"max_tokens": 0}, {"timeout": -1}, {"model": ""}]
)
def test_a_default_that_no_request_could_hold_is_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(InvalidRequest, match=r"temperature|max_tokens|timeout|model"):
        msgspec.structs.replace(ModelDefaults(), **wrong)


def test_a_default_model_is_read_as_in_a_request() -> None:
    assert ModelDefaults(model="ollama::a").model == ModelId("a", "ollama")


def test_a_request_is_made_from_what_is_said_and_the_defaults() -> None:
    defaults = ModelDefaults(model="a", temperature=0, max_tokens=7, timeout=60)
    request = merge_request(
        defaults, messages="hi", temperature=1, timeout=None, stop="x", options={"a": 1}
    )
    assert request == CompletionRequest(
        "a", "hi", temperature=1, max_tokens=7, timeout=60, stop="x", options={"a": 1}
    )
    assert merge_request(defaults, messages="hi", temperature=0).temperature == 0
    assert merge_request(defaults, model="b", messages="hi").model == ModelId("b")


def test_a_request_without_any_model_says_how_to_name_one() -> None:
    with pytest.raises(InvalidRequest, match=r"names no model.*PATINOX_MODEL_DEFAULT"):
        merge_request(ModelDefaults(), messages="hi")


def test_a_request_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no messages"):
        merge_request(ModelDefaults(model="a"))


def test_what_a_request_says_is_kept_and_the_rest_filled() -> None:
    defaults = ModelDefaults(provider="ollama", model="b", temperature=1, max_tokens=7, timeout=60)
    said = CompletionRequest("a", "hi", temperature=0, seed=3)
    filled = fill_request(said, defaults)
    assert filled == CompletionRequest(
        "ollama::a", "hi", temperature=0, max_tokens=7, timeout=60, seed=3
    )
    assert fill_request(filled, ModelDefaults(provider="lmstudio", temperature=2)) == filled
    assert fill_request(said, ModelDefaults()) == said
