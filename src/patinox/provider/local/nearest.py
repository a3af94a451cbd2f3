"""What to say of a model that is not there: the names that look most like it."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Sequence

from patinox.provider.local.errors import ModelNotFound
from patinox.provider.types import ModelId, ModelInfo

NEAREST = 3
# So much of a name, and so many names, are compared letter by letter: a server may list anything.
_LONGEST = 64
_COMPARED = 40
_BEGINNING = 3


def nearest_names(name: str, models: Iterable[ModelInfo]) -> tuple[str, ...]:
    """Return the names that look most like `name`, as `service::model`, the likest first.

    What stands before the tag counts: two models of 7b are not alike for that.
    """
    wanted = name[:_LONGEST].casefold()
    short = _bare(wanted)
    spelled = {info.id[:_LONGEST].casefold(): info for info in models}
    by_bare: dict[str, list[str]] = {}
    for key in heapq.nsmallest(_COMPARED, spelled, lambda key: _unlike(_bare(key), short)):
        by_bare.setdefault(_bare(key), []).append(key)
    alike = sorted((bare for bare in by_bare if short and bare.startswith(short)), key=len)
    alike += difflib.get_close_matches(short, by_bare, NEAREST, 0.7)
    found = [
        key
        for bare in list(dict.fromkeys(alike))[:NEAREST]
        for key in difflib.get_close_matches(wanted, by_bare[bare], NEAREST, 0.0)
    ]
    if not found:
        compared = [key for keys in by_bare.values() for key in keys]
        found = difflib.get_close_matches(wanted, compared, NEAREST, 0.6)
    return tuple(str(spelled[key].model_id) for key in found[:NEAREST])


def _unlike(bare: str, short: str) -> tuple[int, int]:
    """Reckon cheaply how far a name is from the one that is looked for."""
    rank = 0 if bare.startswith(short) else 1 if bare.startswith(short[:_BEGINNING]) else 2
    return rank, abs(len(bare) - len(short))


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
    elif models and all(info.demo for info in models):
        hint = "No model server answers, only the demo model is here: patinox doctor"
    else:
        hint = "All: patinox models" if models else "There are no models at all."
    msg = f"No model {model.name!r} on {where}."
    return ModelNotFound(msg, nearest=nearest, hint=hint, service=service)


def _in_a_line(name: str) -> str:
    """Write a name, which a server may have given any character, in one line."""
    return "".join(each if each.isprintable() else "?" for each in name)
