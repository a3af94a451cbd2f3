"""The provider that the configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from patinox.provider.config import Anthropic, LMStudio, Local, Ollama, OpenAI, OpenRouter, Provider
from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.environment import load_settings
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.events import Observer
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.registry import endpoint_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def create_default_provider(
    environ: Mapping[str, str] | None = None,
    *,
    file: Path | str | None = None,
    observers: Sequence[Observer] = (),
) -> LocalProvider | OllamaProvider | LMStudioProvider:
    """Make the provider for what is configured; nothing is sent yet.

    `PATINOX_MODEL_PROVIDER` decides, then `provider.default` of the file, then `OLLAMA_ENDPOINT`
    and `LMSTUDIO_ENDPOINT`, in this order, unless `LOCAL_PROVIDER_PREFERENCE` names a service.
    Without any of them it is the provider of everything local. A key alone selects nothing.

    Args:
        environ: the environment; `None` for the process's own.
        file: the configuration file; `None` for `$PATINOX_CONFIG` or the user's.
        observers: who is told what happens; see `patinox.telemetry`.

    Raises:
        InvalidConfiguration: a value is wrong, or a cloud provider is chosen.
    """
    settings = load_settings(environ, file=file, more=endpoint_variables())
    return provider_from(settings.defaults.provider, settings.config, observers=observers)


def provider_from(
    variant: Provider,
    config: LocalProviderConfig | None = None,
    *,
    observers: Sequence[Observer] = (),
) -> LocalProvider | OllamaProvider | LMStudioProvider:
    """Make the provider that a variant describes; nothing is sent yet.

    Args:
        variant: what to make.
        config: what a `Local` leaves open; for other variants it has no meaning.
        observers: who is told what happens.

    Raises:
        InvalidConfiguration: the variant is one of the cloud, or not known.
    """
    match variant:
        case Local():
            config = local_config(variant, config or LocalProviderConfig())
            return LocalProvider(config, observers=observers)
        case Ollama():
            return OllamaProvider(variant.endpoint, variant.config, observers=observers)
        case LMStudio():
            return LMStudioProvider(variant.endpoint, variant.config, observers=observers)
        case OpenAI() | OpenRouter() | Anthropic():
            raise InvalidConfiguration(
                f"The cloud provider {variant.kind!r} is understood but not offered.",
                hint="Choose local, ollama or lmstudio (PATINOX_MODEL_PROVIDER).",
            )
        case _:
            raise InvalidConfiguration(
                f"Nothing is known of how to make a provider from {type(variant).__name__}.",
                hint="Make an object with the methods of `ModelProvider` yourself.",
            )


def local_config(variant: Local, config: LocalProviderConfig) -> LocalProviderConfig:
    """Join what a `Local` says with what is configured; what it says wins."""
    config = replace(
        config,
        auto_discover=variant.auto_discover,
        preferred_service=variant.preferred_service or config.preferred_service,
    )
    if variant.model_path is not None:
        config = replace(config, model_paths=(variant.model_path, *config.model_paths))
    if variant.endpoint is not None:
        given = EndpointConfig.parse(variant.endpoint, setting="Local.endpoint")
        config = replace(config, endpoints=(given, *config.endpoints))
    return config
