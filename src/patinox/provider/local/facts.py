"""What is concluded about a model, and how surely; the server's word always goes before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from patinox.provider.types import ModelCapabilities, QualityTier, Source, SpeedTier

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_EMBEDDING_NAME = re.compile(r"embed|(^|[/_-])(bge|gte|e5|minilm)([_-]|$)|bert", re.IGNORECASE)
_VISION_NAME = re.compile(r"llava|vision|[_-]vl([_:-]|$)|moondream", re.IGNORECASE)
_BILLION = 10**9


def capabilities(
    name: str, told: Mapping[str, Any], *, source: Source, parameters: int | None = None
) -> ModelCapabilities:
    """Join what was told with what the name and the size suggest, each with its source.

    Args:
        name: the model's name, the last resort.
        told: fields of `ModelCapabilities`; `None` where nothing was said.
        source: who told them, and the number of parameters.
        parameters: number of parameters, from which the tiers follow.

    """
    facts = {field: value for field, value in told.items() if value is not None}
    facts |= tiers(parameters)
    guessed: dict[str, Any] = {
        field: value for field, value in guess(name).items() if field not in facts
    }
    sources = dict.fromkeys(facts, source) | dict.fromkeys(guessed, Source.NAME)
    return ModelCapabilities(**facts, **guessed, sources=sources)


def guess(name: str) -> dict[str, bool]:
    """Say what a name suggests; nothing where it suggests nothing."""
    if _EMBEDDING_NAME.search(name):
        return {"supports_embeddings": True, "supports_chat": False}
    return {"supports_vision": True} if _VISION_NAME.search(name) else {}


def tiers(parameters: int | None) -> dict[str, QualityTier | SpeedTier]:
    """Sort a model by its size: 13 and 70 billion parameters divide quality, 8 and 20 speed."""
    if not parameters:
        return {}
    quality = QualityTier.BASIC
    if parameters >= 70 * _BILLION:
        quality = QualityTier.PREMIUM
    elif parameters >= 13 * _BILLION:
        quality = QualityTier.STANDARD
    speed = SpeedTier.THOUGHTFUL
    if parameters <= 8 * _BILLION:
        speed = SpeedTier.FAST
    elif parameters <= 20 * _BILLION:
        speed = SpeedTier.BALANCED
    return {"quality_tier": quality, "speed_tier": speed}


def parameter_count(text: str | None) -> int | None:
    """Read a size as servers write it.

    >>> parameter_count("4.0B"), parameter_count("137M"), parameter_count("unknown")
    (4000000000, 137000000, None)
    """
    found = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*([KMBT]?)\s*", (text or "").upper())
    return round(float(found[1]) * _SIZES[found[2]]) if found else None


class State(TypedDict):
    """The fields of `ModelInfo` that tell how a model is now."""

    context_length: int | None
    loaded_context_length: int | None
    loaded: bool | None
    sources: Mapping[str, Source]


def state(
    source: Source,
    *,
    context_length: int | None = None,
    loaded_context_length: int | None = None,
    loaded: bool | None = None,
    context_source: Source | None = None,
) -> State:
    """Mark every one of these facts that is known as learnt from `source`.

    The longest context may have been learnt elsewhere: from `context_source`.
    """
    facts = {
        "context_length": context_length,
        "loaded_context_length": loaded_context_length,
        "loaded": loaded,
    }
    sources = {field: source for field, value in facts.items() if value is not None}
    if context_length is not None:
        sources["context_length"] = context_source or source
    return State(
        context_length=context_length,
        loaded_context_length=loaded_context_length,
        loaded=loaded,
        sources=sources,
    )
