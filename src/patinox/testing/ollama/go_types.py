"""What Go's decoder says of a field whose value has the wrong type: its names for it all."""

from __future__ import annotations

import re
from typing import Any, Literal

Package = Literal["api", "openai"]

NO_OBJECT = "Value looks like object, but can't find closing '}' symbol"
_MISMATCH = re.compile(r"Expected `(\w+).*`, got `(\w+)`(?: - at `\$\.?(.*)`)?")
_STEP = re.compile(r"\[(\d+)\]|(\w+)")
_KINDS = {"str": "string", "int": "number", "float": "number"}
_TYPES = {"str": "string", "float": "float64"}
_OF_TOOLS = (
    ("tools[].function.parameters.", "ToolFunctionParameters"),
    ("tools[].function.", "ToolFunction"),
    ("tools[].", "Tool"),
)
# The structs that fields belong to, by how their places begin; for all others, the request.
_STRUCTS: dict[Package, tuple[tuple[str, str], ...]] = {
    "api": _OF_TOOLS,
    "openai": (
        *_OF_TOOLS,
        ("messages[].tool_calls[].function.", ""),
        ("messages[].", "Message"),
        ("stream_options.", "StreamOptions"),
        ("response_format.", "ResponseFormat"),
        ("reasoning.", "Reasoning"),
    ),
}
# The types of arrays and objects, by the last step to them.
_SHARED = {
    "context": "[]int",
    "tools[]": "api.Tool",
    "parameters": "api.ToolFunctionParameters",
    "properties{}": "api.ToolProperty",
    "anyOf": "[]api.ToolProperty",
    "anyOf[]": "api.ToolProperty",
    "required": "[]string",
    "enum": "[]interface {}",
    "options": "map[string]interface {}",
}
_TARGETS: dict[Package, dict[str, str]] = {
    "api": {
        **_SHARED,
        "messages": "[]api.Message",
        "messages[]": "api.Alias",  # the type within Message's own decoder
        "images": "[]api.ImageData",
        "tool_calls": "[]api.ToolCall",
        "tool_calls[]": "api.ToolCall",
        "tools": "api.Tools",
    },
    "openai": {
        **_SHARED,
        "messages": "[]openai.Message",
        "messages[]": "openai.Message",
        "tool_calls": "[]openai.ToolCall",
        "tool_calls[]": "openai.ToolCall",
        "tools": "[]api.Tool",
        "stream_options": "openai.StreamOptions",
        "response_format": "openai.ResponseFormat",
        "json_schema": "openai.JsonSchema",
        "reasoning": "openai.Reasoning",
    },
}


def mismatch(text: str, fields: dict[str, Any], request: str, package: Package) -> str:
    """Return what Go says where msgspec says `text` of the fields of a request."""
    ((expected, got, path),) = _MISMATCH.findall(text)
    place = re.sub(r"\[\d+\]", "[]", path.replace("[...]", "{}"))
    if place.endswith("properties"):
        return NO_OBJECT  # they have a decoder of their own
    kind = _KINDS.get(got, got)
    if expected == "int" and got == "float":
        kind = f"number {_at(fields, path)}"
    owners = (name for begin, name in _STRUCTS[package] if place.startswith(begin))
    field = re.sub(r"[][{}]", "", place)
    target = _target(place, expected, package)
    if request == "CompletionRequest" and target == "float64":
        target = "float32"
    return (
        f"json: cannot unmarshal {kind} into Go struct field"
        f" {next(owners, request)}.{field} of type {target}"
    )


def _target(place: str, expected: str, package: Package) -> str:
    last = place.rpartition(".")[2]
    if last == "images[]":
        return "api.ImageData"
    if last == "type" and "properties" in place:
        return "[]string"
    if last == "function":
        return "api.ToolFunction" if place.startswith("tools") else "api.ToolCallFunction"
    if expected in {"array", "object"}:
        return _TARGETS[package].get(last, expected)
    return _TYPES.get(expected, expected)


def _at(value: Any, path: str) -> object:  # noqa: ANN401 - walks whatever was sent
    for index, name in _STEP.findall(path):
        value = value[int(index) if index else name]
    return value
