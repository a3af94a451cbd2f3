from pathlib import Path
from typing import Any

import msgspec
import pytest

from patinox.provider.config import (
    Anthropic,
    LMStudio,
    Local,
    Ollama,
    OpenAI,
    OpenRouter,
    Provider,
)
from patinox.provider.factory import create_default_provider, local_config, provider_from
from patinox.provider.local.config import (
    DiscoveryConfig,
    EndpointConfig,
    LocalProviderConfig,
    OllamaConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.types import LocalService
from patinox.provider.secret import Secret


def test_without_settings_it_is_everything_local() -> None:
    assert isinstance(create_default_provider({}), LocalProvider)


def test_without_an_environment_that_of_the_process_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATINOX_MODEL_PROVIDER", "ollama")
    assert isinstance(create_default_provider(), OllamaProvider)


@pytest.mark.parametrize(
    ("environ", "made", "where"),
    [
        ({"OLLAMA_ENDPOINT": "host"}, OllamaProvider, "http://host:11434"),
        ({"LMSTUDIO_ENDPOINT": "host"}, LMStudioProvider, "http://host:1234"),
        ({"PATINOX_MODEL_PROVIDER": "ollama"}, OllamaProvider, "http://127.0.0.1:11434"),
        (
            {"PATINOX_MODEL_PROVIDER": "lmstudio", "OLLAMA_ENDPOINT": "host"},
            LMStudioProvider,
            "http://127.0.0.1:1234",
        ),
    ],
)
def test_one_service_that_is_chosen_is_the_provider(
    environ: dict[str, str], made: type[OllamaProvider | LMStudioProvider], where: str
) -> None:
    provider = create_default_provider(environ)
    assert isinstance(provider, made)
    assert str(provider.endpoint) == where


def test_the_chosen_service_has_its_settings() -> None:
    environ = {
        "OLLAMA_ENDPOINT": "host",
        "OLLAMA_API_KEY": "key",
        "PATINOX_MODEL_TIMEOUT": "9",
        "PATINOX_ALLOW_CLOUD": "yes",
    }
    provider = create_default_provider(environ)
    assert isinstance(provider, OllamaProvider)
    assert provider.config == OllamaConfig(api_key=Secret("key"), timeout=9, allow_cloud=True)


def test_the_file_chooses_too(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[provider]\ndefault = 'lmstudio'", encoding="utf-8")
    assert isinstance(create_default_provider({}, file=file), LMStudioProvider)


@pytest.mark.parametrize("kind", ["openai", "openrouter", "anthropic"])
def test_a_cloud_provider_is_refused_with_a_clear_word(kind: str) -> None:
    environ = {"PATINOX_MODEL_PROVIDER": kind, f"{kind.upper()}_API_KEY": "hunter2"}
    with pytest.raises(InvalidConfiguration) as caught:
        create_default_provider(environ)
    assert str(caught.value) == (
        f"The cloud provider {kind!r} is understood but not offered. "
        "Choose local, ollama or lmstudio (PATINOX_MODEL_PROVIDER)."
    )


def test_keys_of_cloud_providers_choose_nothing() -> None:
    keys = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_KEY")
    environ: dict[str, str] = dict.fromkeys(keys, "key")
    assert isinstance(create_default_provider(environ), LocalProvider)


def test_a_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(InvalidConfiguration, match="OLLAMA_HOST is 'host:66000'"):
        create_default_provider({"OLLAMA_HOST": "host:66000"})


@pytest.mark.parametrize(
    ("variant", "made"),
    [(Local(), LocalProvider), (Ollama(), OllamaProvider), (LMStudio(), LMStudioProvider)],
)
def test_a_variant_makes_its_provider(variant: Provider, made: type[object]) -> None:
    assert type(provider_from(variant)) is made


@pytest.mark.parametrize("variant", [Local(), Ollama(), LMStudio()])
def test_observers_are_handed_on(variant: Provider) -> None:
    nothing: Any = object()
    with pytest.raises(InvalidConfiguration, match="`observers` has a <object"):
        provider_from(variant, observers=[nothing])
    with pytest.raises(InvalidConfiguration, match="`observers` has a <object"):
        create_default_provider({}, observers=[nothing])


def test_what_a_local_variant_says_is_joined_with_what_is_configured() -> None:
    there = EndpointConfig.parse("there:1")
    config = LocalProviderConfig(
        endpoints=(there,), model_paths=(Path("b"),), preferred_service="lmstudio", monitor=False
    )
    said = Local(endpoint="here:1", model_path=Path("a"), auto_discover=False)
    assert local_config(said, config) == LocalProviderConfig(
        endpoints=(EndpointConfig.parse("here:1", setting="Local.endpoint"), there),
        model_paths=(Path("a"), Path("b")),
        preferred_service="lmstudio",
        auto_discover=False,
        monitor=False,
    )
    said = Local(preferred_service=LocalService.OLLAMA)
    assert local_config(said, config).preferred_service == "ollama"


async def test_the_local_provider_has_its_settings() -> None:
    nothing = DiscoveryConfig(enabled_services=("ollama",))
    config = LocalProviderConfig(discovery_config=nothing, default_model="a", monitor=False)
    made = provider_from(Local(auto_discover=False), config)
    assert isinstance(made, LocalProvider)
    async with made:
        assert made.config == msgspec.structs.replace(config, auto_discover=False)


@pytest.mark.parametrize("variant", [OpenAI(), OpenRouter(), Anthropic()])
def test_a_variant_of_the_cloud_is_refused(variant: Provider) -> None:
    with pytest.raises(InvalidConfiguration, match="understood but not offered"):
        provider_from(variant)


def test_a_variant_that_nobody_knows_is_refused() -> None:
    class Mine(Provider, frozen=True):
        kind = "mine"

    with pytest.raises(InvalidConfiguration, match="from Mine"):
        provider_from(Mine())
