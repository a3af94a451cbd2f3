"""JSON Schemas as the inference engine reads them: whether it can, and a value that is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_CHOICES = ("anyOf", "oneOf", "allOf")


def sample(schema: str | Mapping[str, Any], text: str) -> object:
    """Return a value that a schema allows, with `text` for each string."""
    if isinstance(schema, str):
        return {"answer": text}
    return _of_schema(schema, schema, text)


def asked(body: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Return the schema that a request of the OpenAI API asks for, or `None`."""
    found: object = body
    for key in ("response_format", "json_schema", "schema"):
        found = found.get(key) if _is_object(found) else None
    return found if _is_object(found) else None


def is_grammar(schema: str | Mapping[str, Any]) -> bool:
    """Tell whether the engine can make a grammar of a schema.

    Each type and reference is known, and each pattern is of a whole text.
    """
    return isinstance(schema, str) or all(_is_known(part, schema) for part in _parts(schema))


def _is_known(part: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    kinds: list[object] = part["type"] if _is_list(part.get("type")) else [part.get("type")]
    pattern: object = part.get("pattern", "^$")
    return (
        all(kind is None or kind in _TYPES for kind in kinds)
        and ("$ref" not in part or _resolved(part, root) is not None)
        and _is_object(part.get("properties", {}))
        and isinstance(pattern, str)
        and pattern.startswith("^")
        and pattern.endswith("$")
    )


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and the schemas within."""
    yield schema
    properties = schema.get("properties")
    within = [schema.get("items"), *(properties.values() if _is_object(properties) else ())]
    for key in (*_CHOICES, "prefixItems"):
        within += schema.get(key, [])
    for part in filter(_is_object, within):
        yield from _parts(part)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    name = str(schema["$ref"]).rpartition("/")[2]
    found: object = {**root.get("$defs", {}), **root.get("definitions", {})}.get(name)
    return found if _is_object(found) else None


def _of_schema(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> object:
    if "$ref" in schema:
        return _of_schema(_resolved(schema, root) or {}, root, text)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in _CHOICES:
        if key in schema:
            return _of_schema(schema[key][0], root, text)
    return _of_type(schema, root, text)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> object:
    kind: object = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if _is_list(kind) else kind:
        case "object":
            properties: Mapping[str, Any] = schema.get("properties", {})
            return {name: _of_schema(part, root, text) for name, part in properties.items()}
        case "array":
            item = _of_schema(schema.get("items", {}), root, text)
            return [item] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
