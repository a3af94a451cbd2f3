"""What is measured and under which labels, whose values come from bounded sets."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from patinox.provider.checks import shown
from patinox.provider.errors import missing_extra
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.events import CallFinished

OTHER = "other"
NONE = "none"

# Seconds; of OpenTelemetry's conventions for requests and for pieces of answers.
SECONDS = tuple(0.01 * 2**power for power in range(14))
# Tokens; likewise.
TOKENS = tuple(4**power for power in range(14))


class Bounded:
    """The first so many values; whatever comes later is `other`.

    >>> models = Bounded(2)
    >>> [models(name) for name in ("a", "b", "c", "a")]
    ['a', 'b', 'other', 'a']
    """

    def __init__(self, most: int, seen: set[str] | None = None) -> None:
        """Take up to `most` values, those that were `seen` by others included."""
        self._most = most
        self._seen = set[str]() if seen is None else seen

    def __call__(self, value: str) -> str:
        """Return the value, or what stands for it."""
        if value not in self._seen:
            if len(self._seen) >= self._most:
                return OTHER
            self._seen.add(value)
        return value


def check_most_models(value: object) -> None:
    """Refuse what is no number of models.

    Raises:
        InvalidConfiguration: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"`max_models` is {shown(value)}; allowed: a whole number from 0."
        raise InvalidConfiguration(msg)


def model_label(event: CallFinished, models: Bounded) -> str | None:
    """Name the model of a request; `None` where none was asked for.

    A name that no service lists comes from outside, and is no label.
    """
    if event.model is not None:
        return models(event.model)
    return OTHER if event.requested else None


def library(name: str, extra: str, *, needed_by: str) -> ModuleType:
    """Import what an observer needs.

    Raises:
        ConfigurationError: it is not installed; it names the extra that brings it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise missing_extra(needed_by, extra) from error
