"""What a server's error means: told by its own fields and texts first, by the status last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec

from patinox.provider.errors import (
    AuthenticationError,
    CapabilityNotSupported,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.errors import (
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
)
from patinox.provider.local.wire.http import HTTPReply

MAX_TEXT = 500
# So many letters and digits in a row that a server repeats are no coincidence.
MIN_ECHO = 16
# Servers pass on what others said, inside a string; deeper than this nobody means it.
_MOST_WRAPS = 8
_MOST = 2**63
MAX_RETRY_AFTER = 10.0
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_ESCAPE = r"\\+u([0-9a-fA-F]{4})|\\+[bfnrt]"
_ESCAPED = re.compile(_ESCAPE)
_ONE = re.compile(f"{_ESCAPE}|.", re.DOTALL)
_NO_LETTER = re.compile(r"[\W_]+")
_KEY = re.compile(r"(?i)(sk-[\w:-]{4,}|bearer\s+\S+|provided: \S+)")

Kind = type[ProviderError]
Rule = tuple[str, Kind]

SHARED_RULES: tuple[Rule, ...] = (
    (
        r"exceed_context_size|exceeds the available context|n_keep|context the overflows",
        ContextLengthExceeded,
    ),
    (
        r"context (size|length) has been exceeded|longer than the context length",
        ContextLengthExceeded,
    ),
    (r"exceeds? (the |maximum )+context length|too large to process", ContextLengthExceeded),
    (
        r"image input is not supported|does not support|not_supported_error|feature_disabled",
        CapabilityNotSupported,
    ),
    (r"out of memory|cudamalloc failed|failed to allocate", ServiceError),
    (r"insufficient (system resources|memory)", ServiceError),
    (r"^loading model|no models? (is |are )?loaded", ModelNotLoaded),
    (r"page not found|file not found|method not allowed|unexpected endpoint", ParseError),
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the server put it: cleaned text, and its own words for the kind."""

    text: str = ""
    kind: str = ""
    prompt_tokens: int | None = None
    context_tokens: int | None = None

    @property
    def searchable(self) -> str:
        """Text and kind, for rules."""
        return f"{self.text} {self.kind}".lower()


def read_fault(body: bytes) -> Fault:
    """Find the error in a body: a string, an object, JSON inside a string, text, or nothing."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[: 4 * MAX_TEXT].decode("utf-8", "replace").strip()
        return Fault(text="" if text.startswith("<") else clean(text))
    return _fault_of(_members(value).get("error") or value)


def _fault_of(value: object, wraps: int = 0) -> Fault:
    if isinstance(value, str):
        return _nested(value, wraps) or Fault(text=clean(value))
    members = _members(value)
    message = members.get("message")
    inner = _nested(message, wraps) if isinstance(message, str) else None
    words = (_word(members.get(key)) for key in ("type", "code"))
    return inner or Fault(
        text=clean(message) if isinstance(message, str) else "",
        kind=" ".join(word for word in words if word),
        prompt_tokens=_whole(members.get("n_prompt_tokens")),
        context_tokens=_whole(members.get("n_ctx")),
    )


def _nested(text: str, wraps: int) -> Fault | None:
    """Read the JSON object that both Ollama and LM Studio pass on inside a string."""
    start = text.find('{"error"')
    if start < 0 or wraps >= _MOST_WRAPS:
        return None
    try:
        value = msgspec.json.decode(text[start:])
    except (msgspec.DecodeError, RecursionError):
        return None
    return _fault_of(value["error"], wraps + 1)


def _members(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def is_fault(body: bytes) -> bool:
    """Whether a body is an error although its status may say that all went well."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return _members(value).get("error") is not None


def _whole(value: object) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST
    return cast("int", value) if known else None


def _word(value: object) -> str:
    word = value if isinstance(value, str) else _whole(value)
    return str(word or "")[:MAX_TEXT]


def clean(text: str) -> str:
    """Make a server's text fit for one line: no control characters, no keys, not too long."""
    # Cut first: what a server sends must not decide how long the patterns search.
    text = _KEY.sub("***", _CONTROL.sub(" ", text[: 4 * MAX_TEXT])).strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def discreet(text: str, *, key: str, said: Iterable[str]) -> str:
    """Take the key and what was said out of a server's text that repeats it, escaped or not."""
    if key:
        text = text.replace(key, "***")
    for one in (key, *said):
        text = _without(text, one)
    return text


def _without(text: str, said: str) -> str:
    """Put an ellipsis for each run of at least `MIN_ECHO` letters and digits that `said` has too.

    What stands between letters does not count: a server writes it in its own way.
    """
    if len(said) < MIN_ECHO:
        return text
    known = _NO_LETTER.sub("", _ESCAPED.sub(_plain, said))
    places = [(letter, found) for found in _ONE.finditer(text) if (letter := _plain(found))]
    letters = "".join(letter for letter, _ in places)
    kept, pieces = 0, list[str]()
    for start, end in _shared(letters, known):
        pieces += (text[kept : places[start][1].start()], "…")
        kept = places[end - 1][1].end()
    return "".join(pieces) + text[kept:]


def _shared(letters: str, known: str) -> Iterator[tuple[int, int]]:
    """Find the runs of at least `MIN_ECHO` in `letters` that are in `known`, however long it is."""
    half = MIN_ECHO // 2
    # Such a run has one of these in it, wherever it begins; of equal ones the first is looked at.
    blocks: dict[str, int] = {}
    for start in range(0, len(known), half):
        blocks.setdefault(known[start : start + half], start)
    done = at = 0
    while at < len(letters):
        place = blocks.get(letters[at : at + half])
        at += 1
        if place is None:
            continue
        before = _alike(letters[done : at - 1][::-1], known[max(0, place - at) : place][::-1])
        after = _alike(letters[at - 1 :], known[place : place + len(letters)])
        if before + after >= MIN_ECHO:
            start, done = at - 1 - before, at - 1 + after
            yield start, done
            at = done


def _alike(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    least = min(len(one), len(other))
    return next((number for number, (left, right) in pairs if left != right), least)


def _plain(found: re.Match[str]) -> str:
    """Return the letter or digit that a character is, also where it is escaped; else nothing."""
    one = chr(int(found[1], 16)) if found[1] else found[0]
    return one if one.isalnum() else ""


def classify(reply: HTTPReply, rules: Sequence[Rule]) -> ProviderError:
    """Turn a reply that is an error into the error it is."""
    fault = read_fault(reply.body)
    kind = _kind(fault, reply.status, rules)
    said = (fault.text or f"HTTP {reply.status}").rstrip(".")
    if kind is ContextLengthExceeded:
        return ContextLengthExceeded(
            f"The prompt does not fit the context: {said}.",
            prompt_tokens=fault.prompt_tokens,
            context_tokens=fault.context_tokens,
            hint="Shorten the prompt or load the model with a longer context.",
            status=reply.status,
        )
    message, hint = _WORDS.get(kind, ("The server failed: {said}.", None))
    error = kind(message.format(said=said), hint=hint, status=reply.status)
    error.retry_after = retry_after(reply)
    return error


_WORDS: dict[Kind, tuple[str, str | None]] = {
    ModelNotFound: ("The server does not have this model: {said}.", "See: patinox models"),
    ModelNotLoaded: ("The model is not loaded: {said}.", "Wait a moment, or load it."),
    AuthenticationError: (
        "The server refused access: {said}.",
        "Set the key for this address; see: patinox doctor",
    ),
    CloudModelRefused: ("The model runs in the cloud, and the server refused it: {said}.", None),
    RateLimited: ("The server is busy: {said}.", "Try again in a moment."),
    InvalidRequest: ("The server refused the request: {said}.", None),
    CapabilityNotSupported: ("The model cannot do what the request asks: {said}.", None),
    ParseError: (
        "The server does not serve this route as its contract says: {said}.",
        "Is something else listening there? See: patinox doctor",
    ),
}


def _kind(fault: Fault, status: int, rules: Sequence[Rule]) -> Kind:
    for pattern, kind in (*rules, *SHARED_RULES):
        if re.search(pattern, fault.searchable):
            return kind
    # A redirect, and success or an unknown path without a word, are no model server's.
    if 300 <= status < 400 or (not fault.searchable.strip() and status in _WORDLESS):  # noqa: PLR2004
        return ParseError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidRequest if 400 <= status < 500 else ServiceError  # noqa: PLR2004


_WORDLESS = {*range(201, 300), 404, 405}
_BY_STATUS: dict[int, Kind] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: ModelNotFound,
    429: RateLimited,
    501: CapabilityNotSupported,
    503: RateLimited,
}


def retry_after(reply: HTTPReply) -> float | None:
    """Read `Retry-After` in seconds, cut to what is sensible; all else is passed over.

    A date counts from the date of the reply itself.
    """
    text = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,20}", text):
        return min(float(text), MAX_RETRY_AFTER)
    until, since = _date(text), _date(reply.headers.get("date", ""))
    if until is None or since is None:
        return None
    return min(max(until - since, 0.0), MAX_RETRY_AFTER)


def _date(text: str) -> float | None:
    found = _HTTP_DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = map(int, found.group(1, 3, 4, 5, 6))
    try:
        date = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return date.timestamp()
