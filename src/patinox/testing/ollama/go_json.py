"""JSON as Ollama's Go server reads and writes it, with the texts of Go's decoding errors."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeGuard, TypeVar

import msgspec

from patinox.testing.ollama.go_types import Package, mismatch

S = TypeVar("S", bound=msgspec.Struct)

_HTML = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CLOSED = re.compile(r"\[[^][{}]*\]|\{[^][{}]*\}")
_STRUCTS_WITHIN = {"messages", "tool_calls", "function"}
_LITERALS = {"n": "null", "t": "true", "f": "false"}
_SYNTAX = {
    "Expecting property name enclosed in double quotes": (
        "looking for beginning of object key string"
    ),
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}


class OllamaError(Exception):
    """An error as Ollama reports it: with `status`, or as a line of a stream that has begun.

    A model's `reply` may raise it to fail in a way of its own.
    """

    def __init__(self, status: int, message: str, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more

    @property
    def body(self) -> dict[str, str]:
        """The body of the answer."""
        return {"error": self.message, **self.more}


def to_json(value: object) -> bytes:
    """Write JSON without blanks, with `<`, `>` and `&` escaped and other characters as they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_HTML).encode()


def quoted(text: str) -> str:
    """Write a string as Go's `%q` does."""
    return json.dumps(text, ensure_ascii=False)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether this is a JSON array."""
    return isinstance(value, list)


def without_empty(**fields: object) -> dict[str, object]:
    """Return the fields that Go's `omitempty` keeps."""
    return {name: value for name, value in fields.items() if value}


def decode(body: bytes, shape: type[S], *, package: Package = "api") -> S:
    """Read the first JSON value of a body; names match in any case, null is as absent.

    `package` is where Ollama has the type of the request.

    Raises:
        OllamaError: 400, the body is empty, malformed, or a field is of the wrong type.
    """
    when_empty = "missing request body" if package == "api" else "EOF"
    value = _first_value(body.decode("utf-8", "replace").lstrip(" \t\r\n"), when_empty)
    if value is None:
        return shape()
    if not is_object(value):
        target = f"Go value of type {package}.{shape.__name__}"
        raise OllamaError(400, f"json: cannot unmarshal {_kind(value)} into {target}")
    fields = _folded(value)
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        said = mismatch(str(error), fields, shape.__name__, package)
        raise OllamaError(400, said) from None


def _first_value(text: str, when_empty: str) -> object:
    if not text:
        raise OllamaError(400, when_empty)
    try:
        value: object = _DECODER.raw_decode(text)[0]
        if "\\u" in text:  # half a surrogate pair becomes U+FFFD in Go
            value = json.loads(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except json.JSONDecodeError as error:
        raise OllamaError(400, _syntax(error)) from None
    except RecursionError:
        raise OllamaError(400, "exceeded max depth") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    if name.startswith("-"):
        raise OllamaError(400, f"invalid character '{name[1]}' in numeric literal")
    raise OllamaError(400, f"invalid character '{name[0]}' looking for beginning of value")


def _integer(digits: str) -> int:
    if len(digits) > 300:  # noqa: PLR2004 - what a float64 holds, roughly
        raise OllamaError(
            400, f"json: cannot unmarshal number {digits} into Go value of type float64"
        )
    return int(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer)


def _syntax(error: json.JSONDecodeError) -> str:
    position, expected = error.pos, _SYNTAX.get(error.msg, "looking for beginning of value")
    if error.msg.startswith("Invalid \\"):
        position += 1  # Go points at what is escaped
    if error.msg == "Expecting value":
        position, expected = _within_value(error.doc, position)
    elif error.msg == "Expecting ',' delimiter" and _is_in_array(error.doc[:position]):
        expected = "after array element"
    if position >= len(error.doc) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    byte = chr(error.doc[position].encode()[0])  # Go scans bytes, and shows each as a rune
    shown = "'\\''" if byte == "'" else f"'{quoted(byte)[1:-1]}'" if byte != '"' else "'\"'"
    return f"invalid character {shown} {expected}"


def _within_value(text: str, begin: int) -> tuple[int, str]:
    """Return where a value is wrong and how: Go reads `nope` as a `null` with an odd `o`."""
    if text.startswith("-", begin):
        return begin + 1, "in numeric literal"
    literal = _LITERALS.get(text[begin : begin + 1])
    if literal is None:
        return begin, "looking for beginning of value"
    read = next(n for n in range(len(literal)) if not text.startswith(literal[: n + 1], begin))
    return begin + read, f"in literal {literal} (expecting '{literal[read]}')"


def _is_in_array(text: str) -> bool:
    """Tell whether the innermost bracket left open is that of an array."""
    bare, found = _STRING.sub("", text), 1
    while found:
        bare, found = _CLOSED.subn("", bare)
    return bare.rfind("[") > bare.rfind("{")


def _folded(fields: dict[str, Any]) -> dict[str, Any]:
    """Lower the names, drop what is null; in the structs within as well."""
    folded = {name.lower(): value for name, value in fields.items() if value is not None}
    for name in _STRUCTS_WITHIN & folded.keys():
        within = folded[name]
        if is_object(within):
            folded[name] = _folded(within)
        elif is_list(within):
            folded[name] = [_folded(item) if is_object(item) else item for item in within]
    return folded


def _kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "number"
