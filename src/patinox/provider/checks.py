"""What no request may hold: each check raises `InvalidRequest`, which names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, TypeVar, cast

from patinox.provider.errors import InvalidRequest

R = TypeVar("R")
_WORD = 2**63
_LONGEST = 100
# Seconds, some thirty years: more is for ever, and cannot be counted with.
LONGEST_TIME = 1e9


def shown(value: object) -> str:
    """Return what a value looks like, not too long for a message."""
    try:
        # Whoever reads numbers for us may have made 0.0 of the 0 that somebody wrote.
        text = repr(value).removesuffix(".0") if isinstance(value, float) else repr(value)
    except Exception:  # noqa: BLE001  whatever the code of a value does; a huge number has no digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def check_text(what: str, value: object) -> str:
    """Return `value` if it is text."""
    if not isinstance(value, str):
        msg = f"{what} must be text, not {type(value).__name__}."
        raise InvalidRequest(msg)
    return value


def checked(request: object, kind: type[R]) -> R:
    """Return the request if it is one.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(request, kind):
        msg = f"A request is a {kind.__name__}, not {type(request).__name__}."
        raise InvalidRequest(msg, hint=f'Write {kind.__name__}("model", ...).')
    return request


def check_texts(field: str, value: object) -> tuple[str, ...]:
    """Return one text or several as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(
        check_text(f"Each item of `{field}`", item) for item in check_sequence(field, value)
    )


def check_sequence(field: str, value: object) -> Sequence[Any]:
    """Return `value` if it is a list or the like."""
    if not _is_sequence(value):
        msg = f"`{field}` must be text or a list, not {type(value).__name__}."
        raise InvalidRequest(msg)
    return value


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    # The abstract class stands last: to ask it costs more than all the rest.
    return isinstance(value, tuple | list | Sequence)


def check_number(field: str, value: object, low: float, high: float) -> None:
    """Refuse what is no number from `low` to `high`; `None` is not said."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        msg = f"`{field}` is {shown(value)}; allowed: a number from {low:g} to {high:g}."
        raise InvalidRequest(msg)


def check_integer(field: str, value: object, *, at_least: int | None = None) -> None:
    """Refuse what is no whole number of 64 bits, `at_least` as large; `None` is not said."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"`{field}` is {shown(value)}; allowed: a whole number."
        raise InvalidRequest(msg)
    if not -_WORD <= value < _WORD:
        msg = f"`{field}` has more than 64 bits; allowed: a whole number of up to 64."
        raise InvalidRequest(msg)
    if at_least is not None and value < at_least:
        msg = f"`{field}` is {value}; allowed: a whole number from {at_least}."
        raise InvalidRequest(msg)


def check_timeout(value: object) -> None:
    """Refuse what is no positive number of seconds; `None` is not said."""
    if value is None:
        return
    longest = LONGEST_TIME
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= longest:
        msg = f"`timeout` is {shown(value)}; allowed: seconds above 0, up to {longest:g}."
        raise InvalidRequest(msg)


# The phases of a call that have a limit of their own: the fields of `Deadlines`.
DEADLINES = ("connect", "connect_remote", "first_token", "idle", "listing", "embed")
_DAY = 86_400


def check_deadlines(value: object) -> None:
    """Refuse what does not map names of deadlines to seconds."""
    check_mapping("deadlines", value)
    for name, seconds in cast("Mapping[object, object]", value).items():
        if name not in DEADLINES:
            msg = f"`deadlines` has {shown(name)}; allowed: {', '.join(DEADLINES)}."
            raise InvalidRequest(msg)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            seconds = 0.0  # noqa: PLW2901  no number of seconds is refused as such
        if not 0 < seconds <= _DAY:
            msg = f"`deadlines` has no seconds for {name!r}; allowed: above 0 to {_DAY}."
            raise InvalidRequest(msg)


def check_mapping(field: str, value: object) -> None:
    """Refuse what is no mapping."""
    if not isinstance(value, dict | Mapping):
        msg = f"`{field}` must be a mapping, not {type(value).__name__}."
        raise InvalidRequest(msg)


def check_flag(field: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        msg = f"`{field}` is {shown(value)}; allowed: true or false."
        raise InvalidRequest(msg)


def check_word(field: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse what is none of the `allowed` words."""
    if value not in allowed:
        msg = f"`{field}` is {shown(value)}; allowed: {', '.join(allowed)}."
        raise InvalidRequest(msg)
