"""Faults of section C: what a body says, of a whole reply or of each piece of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from patinox.testing.exchange import Exchange
from patinox.testing.faults.fault import Catalogue
from patinox.testing.faults.good import good, send

BODY = Catalogue("C")

_PIECE = b" " * 64 * 1024
_DIGITS = 5_000
_DEEP = 100_000
_MARK = "a number of many digits"
_MANY = 20_000
_TEXT = re.compile(rb':\s*"')
# Without one of these a reply is not what it should be; all else may be missing or odd.
REQUIRED = {
    *("choices", "content", "data", "delta", "done", "embedding", "embeddings", "error", "id"),
    *("index", "key", "lmstudio", "message", "model", "models", "name", "object", "version"),
    *("input", "finish_reason", "role", "package", "build_info", "status", "model_path", "type"),
    # The answer itself: odd, it is an answer that cannot be read.
    *("arguments", "logprobs", "reasoning", "reasoning_content", "text", "thinking", "tool_calls"),
}
# The answer of a request for vectors.
_NUMBERS = {"embedding", "embeddings"}

Change = Callable[[Any], Any]


async def _changed(exchange: Exchange, change: Change) -> None:
    await send(exchange, (await good(exchange)).changed_values(change))


async def _respelt(exchange: Exchange, change: Callable[[bytes], bytes]) -> None:
    await send(exchange, (await good(exchange)).changed(change))


def leaves(value: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:  # noqa: ANN401
    """Return a decoded document with each leaf changed, which is given with its field's name."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {key: leaves(item, change, key) for key, item in members.items()}
    if isinstance(value, list):
        items = cast("Iterable[Any]", value)
        return [leaves(item, change, name) for item in items]
    return change(name, value)


def _of_another_type(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool):
        return "yes"
    return 17 if isinstance(value, str) else ""


@BODY.request(52)
async def truncated_json(exchange: Exchange) -> None:
    """Half of the JSON, rightly framed."""
    await _respelt(exchange, lambda data: data[: len(data) // 2])


@BODY.request(53)
async def invalid_utf8(exchange: Exchange) -> None:
    """A byte that is no UTF-8 at the beginning of each text."""
    await _respelt(exchange, lambda data: _TEXT.sub(lambda found: found[0] + b"\xff", data))


@BODY.request(54)
async def json_bom(exchange: Exchange) -> None:
    """A byte order mark before the body."""
    answer = await good(exchange)
    await send(exchange, answer.with_units(b"\xef\xbb\xbf", *answer.units))


@BODY.request(55, 67)
async def nan_numbers(exchange: Exchange) -> None:
    """NaN for each number that need not be there, and in each vector."""
    await _changed(exchange, lambda value: leaves(value, _nan))


def _nan(name: str, leaf: Any) -> Any:  # noqa: ANN401
    if isinstance(leaf, bool) or not isinstance(leaf, int | float):
        return leaf
    return float("nan") if name in _NUMBERS or name not in REQUIRED else leaf


@BODY.request(56, 67, 69)
async def huge_int(exchange: Exchange) -> None:
    """5,000 digits for each number that need not be there, and in each vector."""
    await _respelt(exchange, _huge)


def _huge(data: bytes) -> bytes:
    marked = leaves(
        json.loads(data), lambda name, leaf: _MARK if _nan(name, leaf) != leaf else leaf
    )
    text = json.dumps(marked).encode()
    return text.replace(b'"' + _MARK.encode() + b'"', b"9" * _DIGITS)


@BODY.request(57)
async def deep_nesting(exchange: Exchange) -> None:
    """One more field with 100,000 lists in each other."""
    more = b',"extra":' + b"[" * _DEEP + b"]" * _DEEP + b"}"
    await _respelt(exchange, lambda data: data[:-1] + more)


@BODY.request(58)
async def wrong_types(exchange: Exchange) -> None:
    """Each value of another type than it should be."""
    await _changed(exchange, _all_of_other_types)


def _all_of_other_types(document: Any) -> Any:  # noqa: ANN401
    if "error" in document:
        return document  # LM Studio's word for a route that it does not have
    return leaves(document, lambda _, leaf: _of_another_type(leaf))


@BODY.request(58)
async def odd_optional_fields(exchange: Exchange) -> None:
    """Each value that need not be there of another type than it should be."""
    await _changed(
        exchange,
        lambda value: leaves(
            value, lambda name, leaf: leaf if name in REQUIRED else _of_another_type(leaf)
        ),
    )


@BODY.request(59, 67)
async def missing_fields(exchange: Exchange) -> None:
    """What an answer must have is not there, nor the name of the first model of a list."""
    await _changed(exchange, _without_required)


def _without_required(document: Any) -> Any:  # noqa: ANN401
    lists = _lists(document)
    if lists:
        return {**document, **{name: [_nameless(first), *rest] for name, (first, *rest) in lists}}
    if document.get("embeddings"):
        return {**document, "embeddings": document["embeddings"][1:]}
    gone = {"message", "done", "choices", "version", "lmstudio", "build_info", "model_path"}
    return {key: item for key, item in document.items() if key not in gone}


def _lists(document: Any) -> list[tuple[str, list[Any]]]:  # noqa: ANN401
    """The lists of models or vectors in a document; llama.cpp tells its models twice."""
    return [(name, document[name]) for name in ("models", "data") if document.get(name)]


def _nameless(entry: dict[str, Any]) -> dict[str, Any]:
    gone = {"name", "model", "key", "id", "embedding"}
    return {key: item for key, item in entry.items() if key not in gone}


@BODY.request(60)
async def null_fields(exchange: Exchange) -> None:
    """Null for whatever need not be there, the list of models among it."""
    await _changed(exchange, _with_nulls)


def _with_nulls(document: Any) -> Any:  # noqa: ANN401
    nulls = leaves(document, lambda name, leaf: leaf if name in REQUIRED else None)
    return {**nulls, "models": None} if isinstance(document.get("models"), list) else nulls


@BODY.request(61)
async def extra_fields(exchange: Exchange) -> None:
    """Fields and words that nobody knows yet."""
    more = {"vlm3": {"new": [1, 2, {"deep": None}]}, "zeta": "ζ"}
    await _changed(exchange, lambda document: {**document, **more})


@BODY.request(62)
async def duplicate_keys(exchange: Exchange) -> None:
    """A field twice: the last counts."""
    first = b'{"size":1,"size":2,'
    await _respelt(exchange, lambda data: first + data[1:] if len(data) > len("{}") else data)


@BODY.request(63)
async def top_level_array(exchange: Exchange) -> None:
    """A list where an object should be."""
    await _changed(exchange, lambda document: [document])


@BODY.request(64)
async def huge_body(exchange: Exchange) -> None:
    """A body without an end."""
    await exchange.start(200, content_type="application/json")
    await exchange.send(b"{")
    while True:
        await exchange.send(_PIECE)


@BODY.request(65, calls=("list",))
async def many_models(exchange: Exchange) -> None:
    """20,000 models, in capital letters and in small ones."""
    await _changed(exchange, _many)


def _many(document: Any) -> Any:  # noqa: ANN401
    many = {
        name: [_entry(entries[0], _named(number)) for number in range(_MANY)]
        for name, entries in _lists(document)
    }
    return {**document, **many}


def _named(number: int) -> str:
    return f"model-{number // 2}" if number % 2 else f"MODEL-{number // 2}"


def _entry(like: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: name if key in {"name", "model", "key", "id"} else like[key] for key in like}


EVIL_NAMES = (
    "../../etc/passwd",
    "a\r\nX-Injected: yes",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "",
    "%s%n{0}",
    "n" * 10_240,
)


@BODY.request(66, calls=("list",))
async def evil_names(exchange: Exchange) -> None:
    """Models named with paths, line ends, colours, reversed writing, nothing, or 10,240 letters."""
    await _changed(exchange, _evil)


def _evil(document: Any) -> Any:  # noqa: ANN401
    more = {
        name: [*entries, *(_entry(entries[0], evil) for evil in EVIL_NAMES)]
        for name, entries in _lists(document)
    }
    return {**document, **more}


@BODY.request(68)
async def weird_timings(exchange: Exchange) -> None:
    """Durations of nothing, negative ones, and dates of the years 1 and 9999."""
    await _changed(exchange, lambda value: leaves(value, _weird))


def _weird(name: str, leaf: Any) -> Any:  # noqa: ANN401
    if name.endswith("_duration"):
        return -1 if name.startswith("e") else 0
    if name.endswith(("_ms", "_per_second")):
        return -1.5
    dates = {"created_at": "0001-01-01T00:00:00Z", "modified_at": "9999-12-31T23:59:59+00:00"}
    return dates.get(name, -(10**15) if name == "created" else leaf)


@BODY.request(71, calls=("chat", "stream"))
async def other_model(exchange: Exchange) -> None:
    """Another model answers than the one that was asked for."""
    await _changed(exchange, lambda document: {**document, "model": "another:70b"})
