"""What to say of a model that is not there: the names that look most like it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from patinox.provider.local.errors import ModelNotFound
from patinox.provider.types import ModelId, ModelInfo

NEAREST = 3


def nearest_names(name: str, models: Iterable[ModelInfo]) -> tuple[str, ...]:
    """Return the names that look most like `name`, as `service::model`, the likest first."""
    spelled = {info.id.casefold(): str(info.model_id) for info in models}
    bare = {key.partition(":")[0].rpartition("/")[2]: key for key in reversed(spelled)}
    wanted = name.casefold()
    found = difflib.get_close_matches(wanted, spelled, NEAREST, 0.5)
    short = wanted.partition(":")[0].rpartition("/")[2]
    found += [bare[key] for key in difflib.get_close_matches(short, bare, NEAREST, 0.6)]
    return tuple(dict.fromkeys(spelled[key] for key in found))[:NEAREST]


def model_not_found(
    model: ModelId, models: Sequence[ModelInfo], *, where: str, service: str | None = None
) -> ModelNotFound:
    """Make the error for a model that is not among `models`, with the nearest names."""
    nearest = nearest_names(model.name, models)
    if nearest:
        hint = f"Did you mean {' or '.join(nearest)}? All: patinox models"
    else:
        hint = "All: patinox models" if models else "There are no models at all."
    msg = f"No model {model.name!r} on {where}."
    return ModelNotFound(msg, nearest=nearest, hint=hint, service=service)
