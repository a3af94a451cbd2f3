"""A model: its name, what it can do, and how it is now.

What a server did not tell is `None`, never a guess; where a fact was learnt stands in `sources`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from patinox.provider.checks import check_text
from patinox.provider.errors import InvalidRequest


class Source(enum.StrEnum):
    """Where a fact about a model was learnt; the earlier, the surer."""

    SERVER = "server"
    MODEL_FILE = "model_file"
    NAME = "name"
    UNKNOWN = "unknown"


class QualityTier(enum.IntEnum):
    """How good answers may be expected to be, from the number of parameters."""

    BASIC = 1
    STANDARD = 2
    PREMIUM = 3


class SpeedTier(enum.IntEnum):
    """How fast answers may be expected to come, from the number of parameters."""

    THOUGHTFUL = 1
    BALANCED = 2
    FAST = 3


class ModelId(msgspec.Struct, frozen=True, order=True):
    """A model's name, and on which service to look for it.

    Attributes:
        name: the server's own name of the model.
        provider_hint: id of a service, or a kind of service where none has that id; `None` for
            wherever the model is.
    """

    name: str
    provider_hint: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name or a hint that is empty or no text."""
        check_text("The name of a model", self.name)
        if self.provider_hint is not None:
            check_text("The service of a model", self.provider_hint)
        if not self.name.strip() or (self.provider_hint is not None and not self.provider_hint):
            msg = f"The model name {str(self)!r} is empty."
            raise InvalidRequest(msg, hint="Write `model` or `service::model`.")

    @classmethod
    def parse(cls, text: str | ModelId) -> ModelId:
        """Read `model` or `service::model`.

        Raises:
            InvalidRequest: the text is no string, or one of the two parts is empty.
        """
        if isinstance(text, ModelId):
            return text
        text = check_text("The name of a model", text)
        hint, separator, name = text.partition("::")
        return cls(name.strip(), hint.strip()) if separator else cls(text.strip())

    def __str__(self) -> str:
        """Return the spelling that `parse` reads."""
        return self.name if self.provider_hint is None else f"{self.provider_hint}::{self.name}"


class ModelCapabilities(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a model can do; `None` where nobody told.

    Attributes:
        max_tokens: length of the context the model was made for, in tokens.
        supports_chat: answers conversations.
        supports_completions: continues plain text.
        supports_embeddings: turns text into vectors.
        supports_vision: reads images.
        supports_tools: calls tools.
        supports_thinking: can reason before it answers.
        supports_insert: fills in what stands between two texts.
        supports_streaming: hands out its answer piece by piece.
        quality_tier: expectation from the number of parameters.
        speed_tier: expectation from the number of parameters.
        sources: where each of these facts was learnt, by field name.
    """

    max_tokens: int | None = None
    supports_chat: bool | None = None
    supports_completions: bool | None = None
    supports_embeddings: bool | None = None
    supports_vision: bool | None = None
    supports_tools: bool | None = None
    supports_thinking: bool | None = None
    supports_insert: bool | None = None
    supports_streaming: bool | None = None
    quality_tier: QualityTier | None = None
    speed_tier: SpeedTier | None = None
    sources: Mapping[str, Source] = {}

    def source(self, field: str) -> Source:
        """Tell where the fact `field` was learnt."""
        return self.sources.get(field, Source.UNKNOWN)


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One model on one service.

    Attributes:
        id: the server's own name of the model.
        service: id of the service that has it.
        aliases: other names the server knows it by.
        created: when it was installed or changed, in Unix seconds.
        context_length: the longest context the model can have, in tokens.
        loaded_context_length: the context it has right now, in tokens; `None` unless loaded.
        loaded: whether it is in memory now.
        parallel: how many requests the server works on at once with it, where it tells.
        size_bytes: size of its weights on disk.
        parameter_count: number of parameters.
        remote: it runs in the cloud, although this server lists it.
        demo: the toy that ships with Patinox: it proves the path and is no assistant.
        sources: where `context_length`, `loaded_context_length` and `loaded` were learnt.
    """

    id: str
    service: str
    object: str = "model"
    display_name: str | None = None
    aliases: tuple[str, ...] = ()
    created: int | None = None
    owned_by: str | None = None
    capabilities: ModelCapabilities = ModelCapabilities()
    context_length: int | None = None
    loaded_context_length: int | None = None
    loaded: bool | None = None
    parallel: int | None = None
    size_bytes: int | None = None
    parameter_count: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    format: str | None = None
    digest: str | None = None
    remote: bool = False
    demo: bool = False
    sources: Mapping[str, Source] = {}

    @property
    def model_id(self) -> ModelId:
        """The exact spelling, `service::model`."""
        return ModelId(self.id, self.service)
