"""Bodies of requests to Ollama, and the fields that it checks by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from patinox.testing.ollama.go_json import OllamaError, is_list, is_object, quoted, to_json
from patinox.testing.ollama.go_types import NO_OBJECT

FOREVER = 2**63 - 1
_SECOND = 10**9
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*")
_LEVELS = ("high", "medium", "low", "max")
_INTEGERS = (
    "num_ctx num_batch num_gpu main_gpu num_thread num_keep seed num_predict top_k repeat_last_n"
)
_FLOATS = "top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty"
_OPTIONS = {
    **dict.fromkeys(_INTEGERS.split(), "integer"),
    **dict.fromkeys(_FLOATS.split(), "float32"),
    "use_mmap": "boolean",
    "stop": "array",
}
_OPTIONS_SINCE_0_30 = {**_OPTIONS, "draft_num_predict": "integer"}


class CalledFunction(msgspec.Struct, frozen=True):
    """The function of a tool call in the history."""

    name: str = ""
    index: int = 0
    arguments: Any = None


class CalledTool(msgspec.Struct, frozen=True):
    """A tool call in the history."""

    id: str = ""
    function: CalledFunction = CalledFunction()


class Message(msgspec.Struct, frozen=True):
    """One message of a chat; images are base64."""

    role: str = ""
    content: str = ""
    thinking: str = ""
    images: tuple[str, ...] = ()
    tool_calls: tuple[CalledTool, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class ToolProperty(msgspec.Struct, frozen=True, rename={"any_of": "anyOf"}, omit_defaults=True):
    """What is kept of the schema of one argument."""

    any_of: tuple[ToolProperty, ...] | None = None
    type: str | tuple[str, ...] | None = None
    items: Any = None
    description: str | None = None
    enum: tuple[Any, ...] | None = None
    properties: dict[str, ToolProperty] | None = None
    required: tuple[str, ...] | None = None


class ToolParameters(msgspec.Struct, frozen=True, rename={"defs": "$defs"}, omit_defaults=True):
    """What is kept of the schema of the arguments."""

    type: str | None = None
    defs: Any = None
    items: Any = None
    required: tuple[str, ...] | None = None
    properties: dict[str, ToolProperty] | None = None


class ToolFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function the model may call."""

    name: str = ""
    description: str | None = None
    parameters: ToolParameters | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool the model may call."""

    type: str = ""
    function: ToolFunction = ToolFunction()


class InferenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and generate have in common."""

    model: str = ""
    stream: bool = True
    format: Any = None
    keep_alive: Any = None
    options: dict[str, Any] = {}
    think: Any = None
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    top_logprobs: int = 0


class ChatRequest(InferenceRequest, frozen=True, kw_only=True):
    """`POST /api/chat`."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()


class GenerateRequest(InferenceRequest, frozen=True, kw_only=True):
    """`POST /api/generate`."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: tuple[int, ...] = ()
    raw: bool = False
    images: tuple[str, ...] = ()


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/embed`."""

    model: str = ""
    input: Any = None
    truncate: bool = True
    dimensions: int = 0
    keep_alive: Any = None
    options: dict[str, Any] = {}


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/embeddings`."""

    model: str = ""
    prompt: str = ""
    keep_alive: Any = None
    options: dict[str, Any] = {}


class ShowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/show`."""

    model: str = ""
    name: str = ""
    verbose: bool = False
    system: str = ""
    template: str = ""
    options: dict[str, Any] = {}


class PullRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/pull`."""

    model: str = ""
    name: str = ""
    insecure: bool = False
    stream: bool = True


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`DELETE /api/delete`."""

    model: str = ""
    name: str = ""


class CopyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /api/copy`."""

    source: str = ""
    destination: str = ""


def check_values(
    request: InferenceRequest, messages: tuple[Message, ...], *, any_level: bool
) -> None:
    """Check what has a decoder of its own in Ollama: durations, levels, images, arguments.

    Raises:
        OllamaError: 400.
    """
    keep_alive_ns(request.keep_alive, default=0)
    _check_think(request.think, any_level=any_level)
    if request.top_logprobs not in range(21):
        raise OllamaError(400, "top_logprobs must be between 0 and 20")
    for message in messages:
        _check_message(message)


def keep_alive_ns(value: object, *, default: int) -> int:
    """Return a duration in nanoseconds; `FOREVER` for a negative one.

    Raises:
        OllamaError: 400, it is neither a number of seconds nor a duration of Go.
    """
    match value:
        case None:
            return default
        case bool():
            raise OllamaError(400, "Unsupported type: 'bool'")
        case int() | float():
            length = int(value * _SECOND)
        case str():
            length = parse_duration(value)
        case list():
            raise OllamaError(400, "Unsupported type: '[]interface {}'")
        case _:
            raise OllamaError(400, "Unsupported type: 'map[string]interface {}'")
    return length if 0 <= length <= FOREVER else FOREVER


def parse_duration(text: str) -> int:
    """Return Go's duration (`1h30m`) in nanoseconds.

    Raises:
        OllamaError: 400, it is malformed.
    """
    rest = text[1:] if text.startswith(("-", "+")) else text
    if rest == "0":
        return 0
    total = 0.0
    while match := _DURATION_PART.match(rest):
        number, unit = match.groups()
        if unit not in _UNITS:
            what = f"unknown unit {quoted(unit)}" if unit else "missing unit"
            raise OllamaError(400, f"time: {what} in duration {quoted(text)}")
        total += float(number) * _UNITS[unit]
        rest = rest[match.end() :]
        if not rest and total <= FOREVER:
            return int(-total if text.startswith("-") else total)
    raise OllamaError(400, f"time: invalid duration {quoted(text)}")


def check_template(template: str) -> None:
    """Check that the actions of a Go template are closed; nothing else of it is read.

    Raises:
        OllamaError: 500.
    """
    begin = template.rfind("{{")
    if begin > template.rfind("}}"):
        first, last = (1 + template.count("\n", 0, end) for end in (begin, len(template)))
        started = f" started at :{first}" if first < last else ""
        raise OllamaError(500, f"template: :{last}: unclosed action{started}")


def check_options(options: Mapping[str, object], *, since_0_30: bool) -> None:
    """Check the types of options; unknown ones are ignored.

    Raises:
        OllamaError: 500, an option has the wrong type.
    """
    kinds = _OPTIONS_SINCE_0_30 if since_0_30 else _OPTIONS
    for name, value in options.items():
        kind = kinds.get(name)
        if kind is None or value is None:
            continue
        if not _is_kind(value, kind):
            raise OllamaError(500, f"option {quoted(name)} must be of type {kind}")
        if is_list(value) and not all(isinstance(item, str) for item in value):
            raise OllamaError(500, f"option {quoted(name)} must be of an array of strings")


def read_format(value: object) -> str | Mapping[str, object] | None:
    """Return the format of an answer: `"json"`, a JSON Schema, or `None` for free text.

    Raises:
        OllamaError: 500, it is something else.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return "json"
    if is_object(value):
        return value
    shown = quoted(to_json(value).decode())
    raise OllamaError(
        500, f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    )


def _is_kind(value: object, kind: str) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _check_think(value: object, *, any_level: bool) -> None:
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, str):
        choices = '"high", "medium", "low", "max", true, or false'
        raise OllamaError(400, f"think must be a boolean or string ({choices})")
    if value not in _LEVELS and not any_level:
        choices = '"high", "medium", "low", "max", true, or false'
        raise OllamaError(400, f"invalid think value: {quoted(value)} (must be {choices})")


def _check_message(message: Message) -> None:
    for image in message.images:
        _check_base64(image)
    for call in message.tool_calls:
        if not (call.function.arguments is None or is_object(call.function.arguments)):
            raise OllamaError(400, NO_OBJECT)


def _check_base64(text: str) -> None:
    unpadded = text.rstrip("=")
    match = _BASE64.match(unpadded)
    end = match.end() if match else 0
    if end < len(unpadded):
        raise OllamaError(400, f"illegal base64 data at input byte {end}")
    if len(text) % 4:
        raise OllamaError(400, f"illegal base64 data at input byte {len(text) // 4 * 4}")
