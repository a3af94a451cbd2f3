"""Typed JSON at the border: declared structs in, or a `ParseError` with the path to the field.

Servers are many and change: `decode_leniently` reads what a reply says although something beside
it is odd, `decode_entries` a list although one of its entries is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from typing import Annotated, TypeVar, get_args

import msgspec

from patinox.provider.local.errors import ParseError, ResponseTooLarge

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

MAX_ENTRIES = 20_000
# A name of a model that can be one, and a number that can be counted or is bytes or seconds.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MAX_NESTING = 100
_CUT_OFF = "truncated"
# A text, so that what stands in it is passed over. One that does not end goes on to the end of all,
# and nothing is tried twice: of a hostile reply, each byte is looked at once.
_TEXT = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
# Not too much at once, since nothing else runs meanwhile.
_BRACKETS = re.compile(rb'(?:[^"\[{\]}]++|' + _TEXT + rb"){0,64}+([\[{\]}]?)", re.DOTALL)
_NO_NUMBERS = re.compile(_TEXT + rb"|-?Infinity|NaN", re.DOTALL)


def decode_json(data: bytes | msgspec.Raw, kind: type[T], *, what: str, at: str = "$") -> T:
    """Decode `data` as `kind`; `at` is its own path.

    Raises:
        ParseError: it is not JSON, or not of that shape; the message says of what and where.
    """
    check_nesting(data, what=what)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        msg = f"{what} is not what the contract says: {_placed(str(error), at)}."
        raise ParseError(msg) from error
    except _NOT_DECODED as error:
        msg = f"{what} is not JSON: {error}."
        raise ParseError(msg) from error


def _has_more(data: bytes, bracket: bytes, *, than: int) -> bool:
    """Whether there are more of one bracket: of few in much, `find` is faster than `count`."""
    at = -1
    for _ in range(than + 1):
        at = data.find(bracket, at + 1)
        if at < 0:
            return False
    return True


def check_nesting(data: bytes | msgspec.Raw, *, what: str) -> None:
    """Refuse what is nested deeper than anything sensible, before it is decoded.

    Raises:
        ParseError: it is.
    """
    data = bytes(data)
    if not any(_has_more(data, bracket, than=MAX_NESTING // 2) for bracket in (b"[", b"{")):
        return
    depth = 0
    for found in _BRACKETS.finditer(data):
        depth += _STEPS.get(found[1], 0)
        if depth > MAX_NESTING:
            msg = f"{what} is not what the contract says: nested deeper than {MAX_NESTING} levels."
            raise ParseError(msg)


_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def breaks_off(data: bytes) -> bool:
    """Whether `data` could be the beginning of a JSON value."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return _CUT_OFF in str(error)
    except RecursionError:
        return False
    return False


def _placed(error: str, at: str) -> str:
    if at == "$":
        return error
    return error.replace("`$", f"`{at}") if " - at `$" in error else f"{error} - at `{at}`"


def decode_leniently(
    data: bytes | msgspec.Raw,
    kind: type[S],
    *,
    what: str,
    at: str = "$",
    strict: Collection[str] = (),
) -> S:
    """Decode `data` as `kind`; an optional field of another shape counts as not said.

    Raises:
        ParseError: as `decode_json`, for a field that is required or among the `strict` ones.
    """
    try:
        return decode_json(data, kind, what=what, at=at)
    except ParseError:
        sound = _sound(_with_nulls(bytes(data)), kind, strict)
        return decode_json(sound, kind, what=what, at=at)


def _with_nulls(data: bytes) -> bytes:
    """Write null for NaN and Infinity, which some servers write and JSON does not have."""
    odd = b"NaN" in data or b"Infinity" in data
    return _NO_NUMBERS.sub(_as_null, data) if odd else data


def _as_null(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"null"


def _sound(
    data: bytes | msgspec.Raw, kind: type[msgspec.Struct], strict: Collection[str] = ()
) -> bytes | msgspec.Raw:
    """Leave out the optional fields that are not what `kind` says, in it and in its structs."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except _NOT_DECODED:
        return data
    for field in _fields(kind):
        raw = members.get(field.encode_name)
        if raw is None or field.encode_name in strict or _is(raw, field.type):
            continue
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                raw = msgspec.Raw(bytes(_sound(raw, inner)))
        if field.required or _is(raw, field.type):
            members[field.encode_name] = raw
        else:
            del members[field.encode_name]
    return msgspec.json.encode(members)


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)  # reads all annotations anew, which takes its time


def _is(raw: msgspec.Raw, kind: object) -> bool:
    try:
        msgspec.json.decode(raw, type=kind)
    except _NOT_DECODED:
        return False
    return True


def decode_entries(items: Sequence[msgspec.Raw], kind: type[S], *, what: str, at: str) -> list[S]:
    """Decode the entries of the list `at` leniently, without those that are of another shape.

    Raises:
        ParseError: none of them has the shape; the message says of the first where.
        ResponseTooLarge: there are more than `MAX_ENTRIES`.
    """
    if len(items) > MAX_ENTRIES:
        msg = f"{what} has more than {MAX_ENTRIES:,} entries."
        raise ResponseTooLarge(msg)
    sound, first = list[S](), None
    for index, item in enumerate(items):
        try:
            sound.append(decode_leniently(item, kind, what=what, at=f"{at}[{index}]"))
        except ParseError as error:
            first = first or error
    if first is not None and not sound:
        raise first
    return sound


def is_json(data: bytes) -> bool:
    """Whether `data` is one whole JSON value."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
