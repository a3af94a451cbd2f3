"""Tools for models: a Python function, and what a model must know to call it.

Server quirks that shape them: Ollama hands the model nothing of a schema but types, texts,
choices and nested fields, so schemas have no references; LM Studio writes names in snake_case, so
that `find` knows a tool by that spelling, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from patinox.provider.checks import shown
from patinox.provider.errors import InvalidRequest, ToolCallInvalid
from patinox.provider.schema import RefersToItself, schema_of

V = TypeVar("V")

CHOICES = ("auto", "none", "required")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CANNOT_BE_NAMED = {
    inspect.Parameter.POSITIONAL_ONLY: "can only be given by position; models give names",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of values; take a list",
    inspect.Parameter.VAR_KEYWORD: "takes any name; take each by its name, or a dict",
}


def _no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a model may ask to be called.

    Attributes:
        name: 1 to 64 ASCII letters, digits, `_` and `-`. LM Studio writes it in snake_case.
        description: what the tool does, for the model.
        parameters: the JSON schema of its arguments, an object.
        function: what is called, with the arguments by name; `None` where the caller does it.
        accepts: what arguments are decoded to; `None` leaves them as JSON gave them.

    Raises:
        InvalidRequest: a server would not take the name, or the parameters are no object's schema.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = msgspec.field(default_factory=_no_parameters)
    function: Callable[..., Any] | None = None
    accepts: type[msgspec.Struct] | None = None

    def __post_init__(self) -> None:
        """Refuse what no server takes."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in CHOICES:
            msg = f"The tool name {shown(self.name)} is not allowed."
            hint = f"Use 1 to 64 of A-Z a-z 0-9 _ - and none of: {', '.join(CHOICES)}."
            raise InvalidRequest(msg, hint=hint)
        if not isinstance(self.description, str):
            msg = f"The description of tool {self.name!r} must be text."
            raise InvalidRequest(msg)
        if not isinstance(self.parameters, Mapping) or self.parameters.get("type") != "object":
            msg = f"The parameters of tool {self.name!r} must be a JSON schema of type `object`."
            raise InvalidRequest(msg)
        try:
            msgspec.json.encode(self.definition)
        except (TypeError, UnicodeError, RecursionError) as error:
            msg = f"The tool {self.name!r} cannot be written as JSON: {error}."
            raise InvalidRequest(msg) from error

    @classmethod
    def of(cls, value: Tool | Callable[..., Any] | Mapping[str, Any]) -> Tool:
        """Read a tool, a function, or a mapping in the form of the OpenAI API.

        A function tells everything itself: its name, its docstring and that of each argument
        (Google, NumPy, reST or Epydoc style), its type annotations, whose texts
        (`Annotated[int, "in metres"]`) come before those of the docstring, and its defaults.

        Raises:
            InvalidRequest: the value is none of these, or the function cannot be called by name
                with values from JSON; the message says which parameter is why.
        """
        if isinstance(value, Tool):
            return value
        if _is_mapping(value):
            return _of_mapping(value)
        if callable(value):
            return _of_callable(value)
        msg = f"A tool is a function, a `Tool` or a mapping, not {type(value).__name__}."
        raise InvalidRequest(msg)

    @property
    def definition(self) -> dict[str, Any]:
        """The form in which every server takes it."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": about}

    def decode(self, arguments: str) -> dict[str, Any]:
        """Turn the JSON text of a call into arguments by name, each of its declared type.

        No text is no arguments; an argument that has a default may be absent.

        Raises:
            ToolCallInvalid: it is not an object in JSON, or an argument does not fit.
        """
        if self.accepts is None:
            given = self._read(arguments, dict[str, Any])
            self._check_names(given)
            return given
        values = msgspec.structs.asdict(self._read(arguments, self.accepts))
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}

    def _read(self, arguments: str, kind: type[V]) -> V:
        try:
            return msgspec.json.decode(arguments.strip() or "{}", type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError) as error:
            raise self._invalid(error) from error  # a list, for one, is in no set

    def _check_names(self, given: dict[str, Any]) -> None:
        try:
            if self.function is not None:
                inspect.signature(self.function).bind(**given)
        except TypeError as error:
            raise self._invalid(error) from error

    def _invalid(self, error: Exception) -> ToolCallInvalid:
        msg = f"The arguments of tool {self.name!r} do not fit: {error}."
        return ToolCallInvalid(msg, hint=f"Call it as {self._usage()}.")

    def call(self, arguments: str) -> object:
        """Call the function with the arguments of a `ToolCall`; what it raises passes through.

        Returns:
            What the function returns; of an `async` one that is to be awaited.

        Raises:
            InvalidRequest: the tool has no function.
            ToolCallInvalid: the arguments do not fit.
        """
        if self.function is None:
            msg = f"The tool {self.name!r} has no function to call."
            raise InvalidRequest(msg, hint="Run it yourself, or give it a `function`.")
        return self.function(**self.decode(arguments))

    def _usage(self) -> str:
        required = self.parameters.get("required", ())
        names = [n if n in required else f"{n}?" for n in self.parameters.get("properties", {})]
        return f"{self.name}({', '.join(names)})"

    def __repr__(self) -> str:
        """Tell how it is called."""
        return f"<Tool {self._usage()}>"


def tools_of(values: object) -> tuple[Tool, ...]:
    """Read the tools of a request.

    Raises:
        InvalidRequest: they are no list of tools, or two share a name.
    """
    if not _is_sequence(values):
        msg = f"`tools` must be a list, not {type(values).__name__}."
        raise InvalidRequest(msg)
    tools = tuple(Tool.of(value) for value in values)
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            msg = f"Two tools are called {name!r}."
            raise InvalidRequest(msg)
    return tools


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_sequence(values: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(values, Sequence) and not isinstance(values, str | bytes)


def tool_choice_of(value: object, tools: Sequence[Tool]) -> str | None:
    """Check which tool shall be called: `auto`, `none`, `required` or a tool's name.

    Raises:
        InvalidRequest: it is none of these, or there is no such tool.
    """
    allowed = (*CHOICES, *(tool.name for tool in tools)) if tools else ("none",)
    if value is not None and (not isinstance(value, str) or value not in allowed):
        msg = f"`tool_choice` is {shown(value)}; allowed: {', '.join(allowed)}."
        raise InvalidRequest(msg, hint=None if tools else "There are no tools.")
    return value


def find(tools: Iterable[Tool], name: str) -> Tool:
    """Find the tool that a model calls by its name, or by its name in snake_case.

    Raises:
        ToolCallInvalid: there is none, or there are two.
    """
    known = {tool.name: tool for tool in tools}
    if name in known:
        return known[name]
    alike = [tool for tool in known.values() if _snake_case(tool.name) == name]
    if len(alike) == 1:
        return alike[0]
    msg = f"There is no tool {name!r}."
    raise ToolCallInvalid(msg, hint=f"The tools are: {', '.join(known) or 'none'}.")


def render_result(value: object) -> str:
    """Write what a tool returned for the model: text as it is, anything else as JSON.

    Raises:
        TypeError: it cannot be written as JSON.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a character, as in names of files
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> object:  # noqa: ANN401  anything
    if hasattr(value, "model_dump"):  # a model of pydantic
        return value.model_dump(mode="json")
    msg = f"{type(value).__name__} cannot be written as JSON; return text, or what JSON knows"
    raise TypeError(msg)


def _snake_case(name: str) -> str:
    return _WORD_START.sub("_", name).replace("-", "_").lower()


class _Function(msgspec.Struct):
    name: str
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=_no_parameters)


class _Definition(msgspec.Struct, tag_field="type", tag="function"):
    function: _Function


def _of_mapping(value: Mapping[str, Any]) -> Tool:
    try:
        about = msgspec.convert(value, _Definition).function
    except (msgspec.ValidationError, UnicodeError, AttributeError) as error:
        msg = f"A tool's mapping has `type`: `function` and a `function` with its `name`: {error}."
        raise InvalidRequest(msg) from error
    return Tool(name=about.name, description=about.description, parameters=about.parameters)


def _of_callable(function: Callable[..., Any]) -> Tool:
    name = getattr(function, "__name__", None)
    if name is None or isinstance(function, type):
        msg = f"{function!r} is no function or method: it does not say what it is called."
        raise InvalidRequest(msg, hint="Write a `def` around it.")
    about, texts = _read_docstring(function)
    hints, defaults = _read_signature(name, function)
    fields = [_field(key, hint, texts.get(key), defaults) for key, hint in hints.items()]
    try:
        accepts = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
        parameters = schema_of(accepts)
    except RefersToItself as error:
        msg = f"Tool {name!r} takes a {error}, which contains itself: no server can be told that."
        raise InvalidRequest(msg) from error
    except (TypeError, ValueError) as error:
        why = str(error).splitlines()[-1].strip()
        msg = f"Tool {name!r} takes what cannot come from JSON: {why}."
        raise InvalidRequest(msg) from error
    del parameters["title"]
    for key, default in defaults.items():
        with suppress(TypeError):  # what JSON cannot say, the model need not know
            parameters["properties"][key]["default"] = msgspec.to_builtins(default)
    return Tool(
        name=name, description=about, parameters=parameters, function=function, accepts=accepts
    )


def _read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return what the function does, and the text of each argument."""
    import docstring_parser  # noqa: PLC0415  not everybody has tools

    parsed = docstring_parser.parse(inspect.getdoc(function) or "")
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    return (parsed.description or "").strip(), texts


def _read_signature(
    name: str, function: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the types of the parameters, and the defaults of those that have one."""
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
    except (TypeError, ValueError) as error:
        msg = f"The parameters of tool {name!r} cannot be read: {error}."
        raise InvalidRequest(msg, hint="Write a `def` around it.") from error
    except NameError as error:
        msg = f"An annotation of tool {name!r} cannot be read: {error}."
        raise InvalidRequest(msg, hint="Define the type at the top of its module.") from error
    for parameter in parameters:
        if parameter.kind in _CANNOT_BE_NAMED:
            msg = f"`{parameter}` of tool {name!r} {_CANNOT_BE_NAMED[parameter.kind]}."
            raise InvalidRequest(msg)
        if parameter.name not in hints:
            msg = f"`{parameter}` of tool {name!r} has no type annotation."
            hint = "Annotate it. Of a class, hand in the method of an instance."
            raise InvalidRequest(msg, hint=hint)
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {p.name: hints[p.name] for p in parameters}, defaults


def _field(
    key: str,
    hint: Any,  # noqa: ANN401  any form of a type
    text: str | None,
    defaults: Mapping[str, Any],
) -> tuple[str, Any] | tuple[str, Any, Any]:
    """Make the field of a parameter; one with a default is left to Python when it is not given."""
    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    metas = [extra for extra in extras if isinstance(extra, msgspec.Meta)]
    told = [extra for extra in extras if isinstance(extra, str)]
    told += [meta.description for meta in metas if meta.description] or ([text] if text else [])
    for meta in metas:
        kind = Annotated[kind, meta]
    optional = key in defaults
    if optional:
        kind = Union[kind, msgspec.UnsetType]  # noqa: UP007  `|` needs types, a hint may be more
    if told:
        kind = Annotated[kind, msgspec.Meta(description=told[0])]
    return (key, kind, msgspec.UNSET) if optional else (key, kind)
