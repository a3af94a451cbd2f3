"""A value that never prints."""

from __future__ import annotations

import hmac


class Secret:
    """A key or token: `str()`, `repr()` and formatting show stars, `reveal()` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keep the value; raises `TypeError` if it is no text."""
        if not isinstance(value, str):
            msg = f"A secret is text, not {type(value).__name__}."
            raise TypeError(msg)
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        """Hide the value."""
        return "Secret('***')"

    def __str__(self) -> str:
        """Hide the value."""
        return "***"

    def __bool__(self) -> bool:
        """Whether there is a value at all."""
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare values in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        """Hash by value."""
        return hash(self._value)
