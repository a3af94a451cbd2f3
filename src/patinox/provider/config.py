"""Which provider, which model, with what defaults: the settings above any one service.

The variants of `Provider` are an open set: subclass it for a provider of your own. Those of the
cloud are understood, so that a configuration which names one can be answered; they are not offered.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, Unpack

import msgspec
from msgspec.structs import force_setattr, replace

from patinox.provider.errors import InvalidRequest
from patinox.provider.local.config import LMStudioConfig, OllamaConfig
from patinox.provider.local.endpoint import parse_endpoint
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.types import LocalService
from patinox.provider.requests import ChatFields
from patinox.provider.secret import Secret
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    ModelId,
    TextCompletionRequest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

R = TypeVar("R", bound=CompletionRequest | TextCompletionRequest)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and what it needs; `Provider.Ollama(...)` is `Ollama(...)`.

    Attributes:
        kind: how configuration spells it.
    """

    kind: ClassVar[str]
    Local: ClassVar[type[_Local]]
    Ollama: ClassVar[type[_Ollama]]
    LMStudio: ClassVar[type[_LMStudio]]
    OpenAI: ClassVar[type[_OpenAI]]
    OpenRouter: ClassVar[type[_OpenRouter]]
    Anthropic: ClassVar[type[_Anthropic]]


class Local(Provider, frozen=True, kw_only=True):
    """Everything on this machine, found by itself.

    Attributes:
        endpoint: one more address to look at, whatever is there; `None` for none.
        model_path: a file or folder with GGUF models for the engine inside.
        preferred_service: which service to prefer where several have a model; `None` for the
            configured one.
        auto_discover: whether to look at the usual addresses.

    Raises:
        InvalidConfiguration: the address is not one.
    """

    kind: ClassVar[str] = "local"
    endpoint: str | None = None
    model_path: Path | None = None
    preferred_service: LocalService | None = None
    auto_discover: bool = True

    def __post_init__(self) -> None:
        """Refuse an address that is none."""
        if self.endpoint is not None:
            parse_endpoint(self.endpoint, default_port=80, setting="Local.endpoint")


class Ollama(Provider, frozen=True, kw_only=True):
    """One Ollama server.

    Attributes:
        endpoint: its address, in any form that `OLLAMA_HOST` may have.
        models_path: folder of its models, for a reader's information: the server is asked.
        config: its settings.

    Raises:
        InvalidConfiguration: the address is not one.
    """

    kind: ClassVar[str] = "ollama"
    endpoint: str = "http://127.0.0.1:11434"
    models_path: Path | None = None
    config: OllamaConfig = OllamaConfig()

    def __post_init__(self) -> None:
        """Refuse an address that is none."""
        parse_endpoint(self.endpoint, default_port=11434, setting="Ollama.endpoint")


class LMStudio(Provider, frozen=True, kw_only=True):
    """One LM Studio server.

    Attributes:
        endpoint: its address.
        models_path: folder of its models, for a reader's information: the server is asked.
        config: its settings.

    Raises:
        InvalidConfiguration: the address is not one.
    """

    kind: ClassVar[str] = "lmstudio"
    endpoint: str = "http://127.0.0.1:1234"
    models_path: Path | None = None
    config: LMStudioConfig = LMStudioConfig()

    def __post_init__(self) -> None:
        """Refuse an address that is none."""
        parse_endpoint(self.endpoint, default_port=1234, setting="LMStudio.endpoint")


class OpenAI(Provider, frozen=True, kw_only=True):
    """OpenAI's service (https://platform.openai.com/docs/api-reference)."""

    kind: ClassVar[str] = "openai"
    api_key: Secret | None = None
    organization: str | None = None
    base_url: str = "https://api.openai.com/v1"


class OpenRouter(Provider, frozen=True, kw_only=True):
    """OpenRouter's service (https://openrouter.ai/docs)."""

    kind: ClassVar[str] = "openrouter"
    api_key: Secret | None = None
    base_url: str = "https://openrouter.ai/api/v1"


class Anthropic(Provider, frozen=True, kw_only=True):
    """Anthropic's service (https://docs.anthropic.com)."""

    kind: ClassVar[str] = "anthropic"
    api_key: Secret | None = None
    base_url: str = "https://api.anthropic.com"


# Inside `Provider` the bare names are its own attributes.
_Local = Local
_Ollama = Ollama
_LMStudio = LMStudio
_OpenAI = OpenAI
_OpenRouter = OpenRouter
_Anthropic = Anthropic
VARIANTS: tuple[type[Provider], ...] = (Local, Ollama, LMStudio, OpenAI, OpenRouter, Anthropic)
for _variant in VARIANTS:
    setattr(Provider, _variant.__name__, _variant)
KINDS = tuple(variant.kind for variant in VARIANTS)


class SelectionStrategy(enum.StrEnum):
    """How one of several providers is chosen; `fixed` and `balanced` are offered."""

    FIXED = "fixed"
    FASTEST = "fastest"
    CHEAPEST = "cheapest"
    BALANCED = "balanced"
    BEST_QUALITY = "best_quality"


class ModelDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """One level of defaults: of the whole program, of an agent, or of one request.

    Attributes:
        provider: service to ask, by its id or type; `None` leaves the choice open.
        model: `ModelId`, `"model"` or `"service::model"`.
        temperature: 0 (sober) to 2 (wild).
        max_tokens: longest answer, in tokens.
        timeout: seconds a whole call may take.

    Raises:
        InvalidRequest: a value is out of its range.
    """

    provider: str | None = None
    model: ModelId | str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no request could hold, by making one."""
        request = CompletionRequest(
            "any" if self.model is None else self.model,
            "any",
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
        )
        if self.model is not None:
            force_setattr(self, "model", request.model)


class GlobalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest level: what holds unless an agent or a request says otherwise.

    Attributes:
        provider: the provider to use.
        model: the model to use where none is named.
        strategy: how one of several providers is chosen.
        timeout: seconds a whole call may take; `None` leaves it to the deadlines of its phases.

    Raises:
        InvalidConfiguration: the strategy is not offered.
    """

    provider: Provider = Local()
    model: ModelId | None = None
    strategy: SelectionStrategy = SelectionStrategy.BALANCED
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse a strategy that is not offered."""
        if self.strategy not in (SelectionStrategy.FIXED, SelectionStrategy.BALANCED):
            raise InvalidConfiguration(
                f"The selection strategy {str(self.strategy)!r} is understood but not offered.",
                hint="Allowed: fixed, balanced.",
            )

    @property
    def defaults(self) -> ModelDefaults:
        """Its part of the cascade."""
        return ModelDefaults(model=self.model, timeout=self.timeout)


def resolve(*levels: ModelDefaults) -> ModelDefaults:
    """Join levels of defaults, such as global and agent: a later one wins where it says something.

    >>> low, high = ModelDefaults(model="a", temperature=0), ModelDefaults(model="b")
    >>> str(resolve(low, high).model), resolve(low, high).temperature
    ('b', 0)
    """
    joined = ModelDefaults()
    for level in levels:
        joined = replace(joined, **_said(msgspec.structs.asdict(level)))
    return joined


class RequestFields(ChatFields, total=False):
    """The fields of a `CompletionRequest`."""

    model: ModelId | str | None
    messages: str | Sequence[CompletionMessage | str | Mapping[str, Any]]


def merge_request(defaults: ModelDefaults, **fields: Unpack[RequestFields]) -> CompletionRequest:
    """Make a request from what is said and, where nothing is said, from the defaults.

    Raises:
        InvalidRequest: neither names a model, there are no messages, or a value is wrong.
    """
    said = _said(fields)
    model = said.pop("model", defaults.model)
    if model is None:
        _no_model()
    return fill_request(CompletionRequest(model, said.pop("messages", ()), **said), defaults)


def fill_request(request: R, defaults: ModelDefaults) -> R:
    """Put the defaults where the request says nothing, its model's service included."""
    model = request.model
    if model.provider_hint is None and defaults.provider is not None:
        model = ModelId(model.name, defaults.provider)
    values = {
        "temperature": defaults.temperature,
        "max_tokens": defaults.max_tokens,
        "timeout": defaults.timeout,
    }
    missing = {
        name: value
        for name, value in values.items()
        if value is not None and getattr(request, name) is None
    }
    if not missing and model is request.model:
        return request  # checking it anew would cost as much as finding the model
    return replace(request, model=model, **missing)


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _no_model() -> NoReturn:
    raise InvalidRequest(
        "The request names no model, and there is no default one.",
        hint="Write `model=`, or set PATINOX_MODEL_DEFAULT.",
    )
