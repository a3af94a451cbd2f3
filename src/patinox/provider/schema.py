"""What an answer shall look like: a JSON schema for the server, and the object for the caller.

Types become schemas without references where that is possible: some servers read none, and a
schema that refers to itself is the only one that cannot do without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeGuard, TypeVar, cast, overload
from urllib.parse import unquote

import msgspec

from patinox.provider.checks import shown
from patinox.provider.errors import InvalidRequest, StructuredOutputError, missing_extra

T = TypeVar("T")
V = TypeVar("V")

_REFERENCE = "#/$defs/"
_FENCES = ("```", "```json")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64
_LONGEST_RULE = 200
_NAMELESS = "answer"
# So begins what msgspec says where it goes on with a piece of the answer.
_SHOWING = ("Invalid enum value", "Invalid value", "Object contains unknown field")


class RefersToItself(Exception):
    """A schema cannot be written without references."""


class OutputSchema(msgspec.Struct, Generic[T], frozen=True):
    """The shape of an answer.

    Attributes:
        name: what servers are told it is called.
        schema: the JSON schema, in plain dictionaries and lists; it refers to nothing outside it.
        read: makes the object from JSON text, or raises `msgspec.ValidationError`.
    """

    name: str
    schema: Mapping[str, Any]
    read: Callable[[str], T]

    @overload
    @classmethod
    def of(cls, value: OutputSchema[V]) -> OutputSchema[V]: ...
    @overload
    @classmethod
    def of(cls, value: type[V]) -> OutputSchema[V]: ...
    @overload
    @classmethod
    def of(cls, value: object) -> OutputSchema[Any]: ...
    @classmethod
    def of(cls, value: object) -> OutputSchema[Any]:
        """Read a type, a pydantic model or a JSON schema.

        Args:
            value: a dataclass, a `TypedDict`, a `NamedTuple`, a `msgspec.Struct`, any other type
                that msgspec reads, such as `list[int]`; a class of pydantic; or a JSON schema as
                a mapping, which needs the extra `schema`.

        Raises:
            InvalidRequest: it is none of these, or the JSON schema is not valid.
            ConfigurationError: the extra `schema` is needed and not installed.
        """
        if _is_ready(value):
            return value
        if isinstance(value, Mapping):
            return _of_mapping(cast("Mapping[str, Any]", value))
        if isinstance(value, type) and hasattr(value, "model_json_schema"):
            return _of_pydantic(value)
        return _of_type(value)

    def parse(self, text: str, *, finish_reason: str | None = None) -> T:
        """Check the answer and return the object; a fence of Markdown around it is taken off.

        Args:
            text: the answer.
            finish_reason: why it ended; for `length` the error says that it was cut.

        Raises:
            StructuredOutputError: the answer is not JSON or has another shape, or a check of yours
                raised something else than it should, which is the cause; `.raw` is the text.
        """
        try:
            return self.read(_bare(text))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            msg = f"The answer does not fit the schema {self.name!r}: {_without_answer(error)}."
            hint = "It was cut: raise `max_tokens`, or the context of the model."
            raise StructuredOutputError(
                msg, raw=text, hint=hint if finish_reason == "length" else None
            ) from None  # it may show the text
        except Exception as error:  # of the caller's own code, which may raise anything
            msg = f"A check of the schema {self.name!r} failed: it raised {type(error).__name__}."
            hint = "The cause is the error itself, `.raw` the answer."
            raise StructuredOutputError(msg, raw=text, hint=hint) from error

    def __repr__(self) -> str:
        """Tell the name; the schema may be long."""
        return f"<OutputSchema {self.name}>"


def schema_of(kind: object) -> dict[str, Any]:
    """Make a schema without references of a type that msgspec reads.

    Raises:
        TypeError: msgspec does not read the type.
        RefersToItself: the type contains itself.
    """
    (schema,), definitions = _components(kind)
    inlined: dict[str, Any] = _inlined(schema, definitions)
    return inlined


def _components(kind: object) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components([kind], ref_template=f"{_REFERENCE}{{name}}")


def _is_ready(value: object) -> TypeGuard[OutputSchema[Any]]:
    return isinstance(value, OutputSchema)


def _is_object(node: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(node, dict)


def _is_list(node: object) -> TypeGuard[list[Any]]:
    return isinstance(node, list)


def _inlined(node: object, definitions: Mapping[str, Any], above: tuple[str, ...] = ()) -> Any:  # noqa: ANN401  JSON, like `node`
    """Put what is referred to in the place of the reference, and say the type of each `enum`."""
    if _is_list(node):
        return [_inlined(item, definitions, above) for item in node]
    if not _is_object(node):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(_REFERENCE)
        if name in above:
            raise RefersToItself(name)
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _inlined({**definitions[name], **beside}, definitions, (*above, name))
    inlined = {
        key: _inlined(value, definitions, above)
        for key, value in node.items()
        if not (key == "discriminator" and _is_object(value) and "mapping" in value)  # it refers
    }
    return _typed_enum(inlined)


def _typed_enum(schema: dict[str, Any]) -> dict[str, Any]:
    """Say the type of the values: servers that write it into the prompt miss it."""
    values = schema.get("enum")
    if _is_list(values) and "type" not in schema:
        for kind, name in ((str, "string"), (int, "integer")):
            if all(type(value) is kind for value in values):
                return {"type": name, **schema}
    return schema


def _self_contained(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    try:
        inlined: dict[str, Any] = _inlined(schema, definitions)
    except RefersToItself:
        return {**schema, "$defs": dict(definitions)}
    return inlined


def _of_type(kind: object) -> OutputSchema[Any]:
    try:
        (schema,), definitions = _components(kind)
        decoder = msgspec.json.Decoder[Any](cast("type", kind))
    except (TypeError, ValueError, NameError) as error:
        why = str(error).splitlines()[-1].strip()
        msg = f"No JSON schema can be made of {shown(kind)}: {why:.200}."
        hint = "Write a dataclass, a Struct, a TypedDict, a pydantic model or a JSON schema."
        raise InvalidRequest(msg, hint=hint) from error
    name = _name(getattr(kind, "__name__", None) if isinstance(kind, type) else None)
    return OutputSchema(name, _self_contained(schema, definitions), decoder.decode)


def _of_pydantic(model: Any) -> OutputSchema[Any]:  # noqa: ANN401  known by its methods only
    try:
        schema = dict(model.model_json_schema())
        names = set(_names(schema))
        whole = _self_contained(schema, schema.pop("$defs", {}))
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        why = str(error).partition("\n")[0]
        msg = f"No JSON schema can be made of {shown(model)}: {why:.200}."
        raise InvalidRequest(msg) from error

    def read(text: str) -> object:
        try:
            return model.model_validate_json(text)
        except ValueError as error:
            raise msgspec.ValidationError(_told_by_pydantic(error, names)) from None

    return OutputSchema(_name(model.__name__), whole, read)


def _told_by_pydantic(error: Any, names: Collection[str]) -> str:  # noqa: ANN401  known by its methods only
    first = error.errors(include_url=False, include_input=False)[0]
    # What a validator says, and a tag that is not known, may show the answer.
    shows = not {"error", "tag"}.isdisjoint(first.get("ctx", ()))
    what = f"`{first['type']}`" if shows else first["msg"]
    return f"{what} - at `{_place(first['loc'], names)}`"


def _place(path: Iterable[str | int], names: Collection[str]) -> str:
    return "$" + "".join(_step(one, names) for one in path)


def _step(one: str | int, names: Collection[str]) -> str:
    """Write a step of a path; a name that the schema does not have is the answer's own."""
    if isinstance(one, int):
        return f"[{one}]"
    return f".{one}" if one in names else "[...]"


def _names(schema: object) -> Iterator[str]:
    """Go through the names of all properties that a schema knows."""
    if _is_list(schema):
        for item in schema:
            yield from _names(item)
    elif _is_object(schema):
        properties = schema.get("properties")
        yield from properties if _is_object(properties) else ()
        for item in schema.values():
            yield from _names(item)


def _without_answer(error: Exception) -> str:
    """Say what is wrong with an answer, without the parts of it that msgspec shows."""
    what, at, place = str(error).rpartition(" - at `$")
    what = what or str(error)
    if error.__cause__ is not None:
        what = "a check of the type refuses it"
    for start in _SHOWING:
        if what.startswith(start):
            what = start
    return f"{what}{at}{place}" if at else what


def _of_mapping(value: Mapping[str, Any]) -> OutputSchema[Any]:
    try:
        from jsonschema import validators  # noqa: PLC0415  an extra
        from referencing import Registry  # noqa: PLC0415  it comes with it
    except ImportError as error:
        raise missing_extra("An answer by a JSON schema", "schema") from error
    try:
        schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(value)))
        kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"The JSON schema cannot be written as JSON: {error}."
        raise InvalidRequest(msg) from error
    meta = kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER)
    try:
        wrong = next(meta.iter_errors(schema), None)
        _check_references(schema)
        names = set(_names(schema))
    except RecursionError as error:
        msg = "The JSON schema is nested too deeply to be checked."
        raise InvalidRequest(msg) from error
    if wrong is not None:
        msg = f"The JSON schema is not valid: {wrong.message:.200} - at `{wrong.json_path}`."
        raise InvalidRequest(msg)
    validator = kind(schema, registry=Registry())  # an empty one: nothing is fetched

    def read(text: str) -> object:
        answer = msgspec.json.decode(text)
        wrong = next(validator.iter_errors(answer), None)
        if wrong is not None:  # its own message would show the answer
            rule = f"{wrong.validator}: {wrong.validator_value!r}"[:_LONGEST_RULE]
            msg = f"`{rule}` does not hold - at `{_place(wrong.absolute_path, names)}`"
            raise msgspec.ValidationError(msg)
        return answer

    return OutputSchema(_name(schema.get("title")), schema, read)


def _check_references(schema: dict[str, Any]) -> None:
    """Refuse what is not in the schema itself; no server follows it, and neither do we."""
    for reference in _references(schema, schema.get("$id")):
        if not _leads_somewhere(reference, schema):
            msg = f"The JSON schema refers to {reference!r}, which is not in it."
            hint = "Write what is shared under `$defs` and refer to `#/$defs/NAME`."
            raise InvalidRequest(msg, hint=hint)


def _references(node: object, own: object) -> Iterator[str]:
    """Go through all references, and the names by which a part could be referred to as a whole."""
    if _is_list(node):
        for item in node:
            yield from _references(item, own)
    elif _is_object(node):
        for key, value in node.items():
            if key in {"$ref", "$dynamicRef", "$id"} and isinstance(value, str) and value != own:
                yield value
            yield from _references(value, own)


def _leads_somewhere(reference: str, schema: dict[str, Any]) -> bool:
    start, *steps = unquote(reference).split("/")
    place: Any = schema if start == "#" else None
    for step in steps:
        key = step.replace("~1", "/").replace("~0", "~")
        place = place.get(key) if _is_object(place) else None
    return isinstance(place, dict | bool)


def _name(wanted: object) -> str:
    name = _NO_NAME.sub("_", wanted)[:_LONGEST_NAME] if isinstance(wanted, str) else ""
    return name.strip("_") or _NAMELESS


def _bare(text: str) -> str:
    """Take off blanks, and the fence that small models write around JSON."""
    text = text.strip()
    fence, _, fenced = text.partition("\n")
    if fence.rstrip().lower() in _FENCES and fenced.endswith(_FENCES[0]):
        return fenced.removesuffix(_FENCES[0]).strip()
    return text
