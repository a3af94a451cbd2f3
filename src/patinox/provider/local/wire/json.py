"""Typed JSON at the border: declared structs in, or a `ParseError` with the path to the field."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from patinox.provider.local.errors import ParseError

T = TypeVar("T")


def decode_json(data: bytes, kind: type[T], *, what: str) -> T:
    """Decode `data` as `kind`.

    Raises:
        ParseError: it is not JSON, or not of that shape; the message says of what and where.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        msg = f"{what} is not what the contract says: {error}."
        raise ParseError(msg) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{what} is not JSON: {error}."
        raise ParseError(msg) from error


def is_json(data: bytes) -> bool:
    """Whether `data` is one whole JSON value."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
