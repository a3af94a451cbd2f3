"""What to say of a model that is not there: the names that look most like it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from patinox.provider.local.errors import ModelNotFound
from patinox.provider.types import ModelId, ModelInfo

NEAREST = 3


def nearest_names(name: str, models: Iterable[ModelInfo]) -> tuple[str, ...]:
    """Return the names that look most like `name`, as `service::model`, the likest first.

    What stands before the tag counts: two models of 7b are not alike for that.
    """
    spelled = {info.id.casefold(): str(info.model_id) for info in models}
    by_bare: dict[str, list[str]] = {}
    for key in spelled:
        by_bare.setdefault(_bare(key), []).append(key)
    wanted = name.casefold()
    short = _bare(wanted)
    alike = sorted((bare for bare in by_bare if short and bare.startswith(short)), key=len)
    alike += difflib.get_close_matches(short, by_bare, NEAREST, 0.7)
    found = [
        key
        for bare in dict.fromkeys(alike)
        for key in difflib.get_close_matches(wanted, by_bare[bare], NEAREST, 0.0)
    ]
    found = found or difflib.get_close_matches(wanted, spelled, NEAREST, 0.6)
    return tuple(spelled[key] for key in found[:NEAREST])


def _bare(name: str) -> str:
    """Leave out who made it and its tag."""
    return name.partition(":")[0].rpartition("/")[2]


def model_not_found(
    model: ModelId, models: Sequence[ModelInfo], *, where: str, service: str | None = None
) -> ModelNotFound:
    """Make the error for a model that is not among `models`, with the nearest names."""
    nearest = nearest_names(model.name, models)
    if nearest:
        hint = f"Did you mean {' or '.join(map(_in_a_line, nearest))}? All: patinox models"
    else:
        hint = "All: patinox models" if models else "There are no models at all."
    msg = f"No model {model.name!r} on {where}."
    return ModelNotFound(msg, nearest=nearest, hint=hint, service=service)


def _in_a_line(name: str) -> str:
    """Write a name, which a server may have given any character, in one line."""
    return "".join(each if each.isprintable() else "?" for each in name)
