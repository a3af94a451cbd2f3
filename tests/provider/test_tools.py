"""Python functions become tools: what a model is told, and what a call of it does."""

import enum
import functools
import keyword
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.errors import InvalidRequest, ToolCallInvalid
from patinox.provider.tools import Tool, find, render_result, tool_choice_of, tools_of


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclass
class Place:
    """Where on earth."""

    city: str
    land: Annotated[str, msgspec.Meta(description="two letters", max_length=2)] = "de"


class Node(msgspec.Struct):
    next: "Node | None" = None


class Weights(TypedDict):
    heavy: float


class Pair(NamedTuple):
    left: int
    right: int


def weather(
    place: Place,
    days: Annotated[int, "how many days ahead", msgspec.Meta(ge=1)],
    unit: Unit = Unit.CELSIUS,
    tags: list[str] | None = None,
) -> str:
    """Tell the weather.

    As far as it is known.

    Args:
        place: the place whose
            weather is wanted.
        days: not this text, since the annotation has one.
        unit: how to write it.
    """
    return f"{place.city} {place.land} {days} {unit.name} {tags}"


async def later(seconds: float) -> str:
    return f"{seconds} s"


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(Tool.of(function).parameters)


def test_a_function_says_all_that_a_model_must_know() -> None:
    tool = Tool.of(weather)
    place = {
        "title": "Place",
        "description": "the place whose weather is wanted.",
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "land": {
                "type": "string",
                "maxLength": 2,
                "description": "two letters",
                "default": "de",
            },
        },
        "required": ["city"],
    }
    assert tool.definition == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.\n\nAs far as it is known.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": place,
                    "days": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "how many days ahead",
                    },
                    "unit": {
                        "title": "Unit",
                        "type": "string",
                        "enum": ["c", "f"],
                        "description": "how to write it.",
                        "default": "c",
                    },
                    "tags": {
                        "anyOf": [
                            {"type": "array", "items": {"type": "string"}},
                            {"type": "null"},
                        ],
                        "default": None,
                    },
                },
                "required": ["place", "days"],
                "additionalProperties": False,
            },
        },
    }
    assert repr(tool) == "<Tool weather(place, days, unit?, tags?)>"


@pytest.mark.parametrize(
    "docstring",
    [
        "Do it.\n\nParameters\n----------\nx : int\n    the number",
        "Do it.\n\n:param x: the number\n:type x: int",
        "Do it.\n\n@param x: the number",
    ],
    ids=["numpy", "rest", "epydoc"],
)
def test_every_common_style_of_docstring_is_read(docstring: str) -> None:
    def function(x: int) -> None: ...

    function.__doc__ = docstring
    tool = Tool.of(function)
    assert tool.description == "Do it."
    assert tool.parameters["properties"]["x"]["description"] == "the number"


def test_a_function_without_words_is_told_by_its_types() -> None:
    def function(x: int) -> None: ...

    assert Tool.of(function).description == ""
    assert parameters(function)["properties"] == {"x": {"type": "integer"}}


def test_a_text_of_the_annotation_is_kept_where_it_is() -> None:
    def function(x: Annotated[int, msgspec.Meta(description="here")]) -> None:
        """Do it.

        Args:
            x: not here
        """

    assert parameters(function)["properties"]["x"]["description"] == "here"


def test_choices_of_literals_have_a_type_and_mixed_ones_none() -> None:
    def function(a: Literal["x", "y"], b: Literal[1, 2], c: Literal["x", 1]) -> None: ...

    properties = parameters(function)["properties"]
    assert properties["a"] == {"type": "string", "enum": ["x", "y"]}
    assert properties["b"] == {"type": "integer", "enum": [1, 2]}
    assert "type" not in properties["c"]


def test_a_default_that_json_cannot_say_is_not_told_but_used() -> None:
    missing = object()

    def function(x: Any = missing) -> bool:  # noqa: ANN401  that of the tool
        return x is missing

    assert parameters(function)["properties"] == {"x": {}}
    assert Tool.of(function).call("{}") is True


def test_an_argument_arrives_as_what_it_was_declared() -> None:
    tool = Tool.of(weather)
    assert tool.call('{"place": {"city": "Bonn"}, "days": 2}') == "Bonn de 2 CELSIUS None"
    text = '{"place": {"city": "Bern", "land": "ch"}, "days": 1, "unit": "f", "tags": ["x"]}'
    assert tool.call(text) == "Bern ch 1 FAHRENHEIT ['x']"


def test_a_default_that_can_change_is_that_of_the_function() -> None:
    kept: list[int] = []

    def function(x: list[int] = kept) -> list[int]:
        return x

    tool = Tool.of(function)
    assert parameters(function)["properties"]["x"]["default"] == []
    assert tool.call("{}") is kept


@pytest.mark.parametrize("arguments", ["", " ", "{}"])
def test_no_text_is_no_arguments(arguments: str) -> None:
    def function() -> int:
        return 7

    assert Tool.of(function).call(arguments) == 7


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"place": {"city": "Bonn"}, "days": 0}', "Expected `int` >= 1 - at `$.days`."),
        ('{"place": {"city": "Bonn"}, "days": "2"}', "Expected `int`, got `str` - at `$.days`."),
        ('{"place": {}, "days": 1}', "missing required field `city` - at `$.place`."),
        ('{"days": 1}', "Object missing required field `place`."),
        ('{"place": {"city": "B"}, "days": 1, "kind": 1}', "Object contains unknown field `kind`."),
        ("[]", "Expected `object`, got `array`."),
        ('{"days": 1', "Input data was truncated."),
        ('"\ud800"', "surrogates"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_in_words_for_the_model(
    arguments: str, why: str
) -> None:
    with pytest.raises(ToolCallInvalid) as caught:
        Tool.of(weather).call(arguments)
    assert caught.value.message.startswith("The arguments of tool 'weather' do not fit: ")
    assert why in caught.value.message
    assert caught.value.hint == "Call it as weather(place, days, unit?, tags?)."


def test_what_cannot_be_in_a_set_is_an_argument_that_does_not_fit() -> None:
    def tags(names: set[Any]) -> int:
        return len(names)

    with pytest.raises(ToolCallInvalid, match="unhashable"):
        Tool.of(tags).call('{"names": [[1]]}')


@pytest.mark.parametrize("parameters", ["\ud800", range(3)], ids=["half a character", "a range"])
def test_parameters_that_are_no_mapping_are_refused(parameters: object) -> None:
    about = {"name": "x", "parameters": parameters}
    with pytest.raises(InvalidRequest):
        Tool.of({"type": "function", "function": about})


def test_a_method_of_an_instance_is_a_tool() -> None:
    class Counter:
        total = 0

        def add(self, number: int) -> int:
            """Add."""
            self.total += number
            return self.total

    counter = Counter()
    tool = Tool.of(counter.add)
    assert (tool.name, tool.description) == ("add", "Add.")
    assert tool.call('{"number": 3}') == 3
    assert counter.total == 3


def test_a_decorated_function_is_read_through_its_wrapper() -> None:
    def plain(number: int) -> int:
        """Double."""
        return number

    @functools.wraps(plain)
    def twice(**arguments: int) -> int:
        return 2 * plain(**arguments)

    tool = Tool.of(twice)
    assert repr(tool) == "<Tool plain(number)>"
    assert tool.call('{"number": 3}') == 6


async def test_what_an_async_function_returns_is_to_be_awaited() -> None:
    tool = Tool.of(later)
    waiting: Any = tool.call('{"seconds": 2}')
    assert await waiting == "2.0 s"


def by_position(x: int, /) -> None: ...
def any_number(*x: int) -> None: ...
def any_name(**x: int) -> None: ...
def bare(x) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  that is what is tested
def unknown(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821  likewise
def endless(x: Node) -> None: ...
def strange(x: types.ModuleType) -> None: ...
def ambiguous(x: str | bytes) -> None: ...
def auto() -> None: ...


class Adder:
    def add(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (by_position, "`x: int` of tool 'by_position' can only be given by position"),
        (any_number, "`*x: int` of tool 'any_number' takes any number of values"),
        (any_name, "`**x: int` of tool 'any_name' takes any name"),
        (bare, "`x` of tool 'bare' has no type annotation. Annotate it."),
        (Adder.add, "`self` of tool 'add' has no type annotation"),
        (unknown, "An annotation of tool 'unknown' cannot be read: name 'Nowhere' is not defined."),
        (endless, "Tool 'endless' takes a Node, which contains itself"),
        (strange, "Tool 'strange' takes what cannot come from JSON: type <class 'module'>"),
        (ambiguous, "Tool 'ambiguous' takes what cannot come from JSON: Type unions may not"),
        (auto, "The tool name 'auto' is not allowed. Use 1 to 64 of A-Z"),
        (lambda: None, "The tool name '<lambda>' is not allowed."),
        (max, "The parameters of tool 'max' cannot be read"),
        (functools.partial(later, 1), "is no function or method"),
        (Adder, "is no function or method"),
        (7, "A tool is a function, a `Tool` or a mapping, not int."),
        ({}, "A tool's mapping has `type`: `function`"),
        ({"type": "function", "function": {"name": 7}}, "Expected `str`, got `int`"),
        ({"type": "web_search"}, "Invalid value 'web_search'"),
        ({"type": "function", "function": {"name": "x", "parameters": {"type": "array"}}}, "type"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_at_once(value: Tool, why: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(why)):
        Tool.of(value)


@pytest.mark.parametrize("field", ["name", "description", "parameters"])
def test_a_field_of_a_wrong_type_is_refused(field: str) -> None:
    fields: dict[str, Any] = {"name": "x", field: 7}
    with pytest.raises(InvalidRequest):
        Tool(**fields)


def test_a_mapping_of_the_openai_form_is_a_tool_without_a_function() -> None:
    definition: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add.",
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
            "strict": True,
        },
    }
    tool = Tool.of(definition)
    del definition["function"]["strict"]
    assert tool.definition == definition
    assert tool.decode('{"x": 1, "y": 2}') == {"x": 1, "y": 2}
    with pytest.raises(ToolCallInvalid, match="maximum recursion depth exceeded"):
        tool.decode('{"x":' * 100_000)
    with pytest.raises(InvalidRequest, match="'add' has no function to call"):
        tool.call("{}")


def test_a_tool_stays_what_it_is() -> None:
    tool = Tool.of(weather)
    assert Tool.of(tool) is tool


def test_a_tool_made_by_hand_takes_the_names_that_its_function_takes() -> None:
    schema = {"type": "object", "properties": {"number": {}}, "required": ["number"]}
    tool = Tool(name="double", parameters=schema, function=lambda number: 2 * number)
    assert tool.call('{"number": 4}') == 8
    with pytest.raises(ToolCallInvalid, match=r"unexpected keyword argument 'n'.+double\(number\)"):
        tool.call('{"number": 4, "n": 1}')


def test_the_tools_of_a_request_have_names_of_their_own() -> None:
    assert [tool.name for tool in tools_of([weather, Tool(name="x")])] == ["weather", "x"]
    assert tools_of(()) == ()
    with pytest.raises(InvalidRequest, match="Two tools are called 'weather'"):
        tools_of([weather, later, Tool(name="weather")])


@pytest.mark.parametrize("values", [None, "weather", b"x", {"type": "function"}])
def test_tools_are_a_list(values: object) -> None:
    with pytest.raises(InvalidRequest, match="`tools` must be a list"):
        tools_of(values)


@pytest.mark.parametrize("choice", [None, "auto", "none", "required", "weather"])
def test_a_choice_is_one_of_three_words_or_a_tool(choice: str | None) -> None:
    assert tool_choice_of(choice, tools_of([weather])) == choice


@pytest.mark.parametrize("choice", ["any", "later", "", True, 7, {"type": "function"}])
def test_another_choice_is_refused(choice: object) -> None:
    with pytest.raises(InvalidRequest, match="allowed: auto, none, required, weather"):
        tool_choice_of(choice, tools_of([weather]))


def test_without_tools_none_can_be_chosen() -> None:
    assert tool_choice_of("none", ()) == "none"
    assert tool_choice_of(None, ()) is None
    with pytest.raises(InvalidRequest, match=r"'auto'; allowed: none\. There are no tools."):
        tool_choice_of("auto", ())


def test_a_tool_is_found_by_its_name_however_a_server_spells_it() -> None:
    tools = tools_of([Tool(name="getHTTPStatus"), Tool(name="get-page"), Tool(name="get_page")])
    assert find(tools, "getHTTPStatus").name == "getHTTPStatus"
    assert find(tools, "get_http_status").name == "getHTTPStatus"
    assert find(tools, "get_page").name == "get_page"


@pytest.mark.parametrize("name", ["x y", "naïve", "", "x" * 65, "auto", "x\n"])
def test_a_name_that_a_server_would_not_take_is_refused(name: str) -> None:
    assert Tool(name="x" * 64).name
    with pytest.raises(InvalidRequest, match=r"is not allowed\. Use 1 to 64 of A-Z a-z"):
        Tool(name=name)


@pytest.mark.parametrize("name", ["", "nope", "a_b"])
def test_a_tool_that_is_not_there_is_told_to_the_model_with_those_that_are(name: str) -> None:
    tools = tools_of([Tool(name="a-b"), Tool(name="aB")])
    with pytest.raises(ToolCallInvalid, match=rf"There is no tool '{name}'. .+: a-b, aB."):
        find(tools, name)
    with pytest.raises(ToolCallInvalid, match=r"The tools are: none\."):
        find((), name)


class Answer(pydantic.BaseModel):
    day: date


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ({"a": [1, 2.5, True]}, '{"a":[1,2.5,true]}'),
        (Place("Bonn"), '{"city":"Bonn","land":"de"}'),
        ([Unit.CELSIUS, date(2026, 1, 2)], '["c","2026-01-02"]'),
        (Answer(day=date(2026, 1, 2)), '{"day":"2026-01-02"}'),
    ],
)
def test_a_result_is_text_or_json(value: object, text: str) -> None:
    assert render_result(value) == text


def test_a_result_that_json_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        render_result([object()])


SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    Unit: st.sampled_from(Unit),
    date: st.dates(),
    Literal["x", 2]: st.sampled_from(["x", 2]),
    Place: st.builds(Place, st.text(), st.text(max_size=2)),
    Weights: st.fixed_dictionaries({"heavy": st.floats(allow_nan=False, allow_infinity=False)}),
    Pair: st.builds(Pair, st.integers(0, 9), st.integers(0, 9)),
}


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    wrapped = [
        inner.map(list.__class_getitem__),
        inner.map(lambda kind: dict.__class_getitem__((str, kind))),
        inner.map(lambda kind: kind | None),
        st.tuples(inner, inner).map(tuple.__class_getitem__),
    ]
    return st.one_of(wrapped)


def values_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401  any form of a type
    if kind in SIMPLE:
        return SIMPLE[kind]
    arguments = [values_of(inner) for inner in kind.__args__ if inner is not type(None)]
    match getattr(kind, "__origin__", None):
        case builtin if builtin is list:
            return st.lists(arguments[0], max_size=3)
        case builtin if builtin is dict:
            return st.dictionaries(st.text(), arguments[1], max_size=3)
        case builtin if builtin is tuple:
            return st.tuples(*arguments)
        case _:
            return st.none() | st.one_of(arguments)


kinds = st.recursive(st.sampled_from([*SIMPLE]), containers, max_leaves=4)
names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


@given(st.data(), st.dictionaries(names, kinds, max_size=4), st.sampled_from(["", " = None"]))
def test_the_arguments_of_any_signature_arrive_as_they_were_sent(
    data: st.DataObject, signature: dict[str, Any], default: str
) -> None:
    sent = {name: data.draw(values_of(kind), label=name) for name, kind in signature.items()}
    source = ", ".join(f"{name}: kinds[{name!r}]{default}" for name in signature)
    space: dict[str, Any] = {"kinds": signature}
    exec(f"def function({'*, ' * bool(source)}{source}): return locals()", space)  # noqa: S102
    tool = Tool.of(space["function"])
    assert [*tool.parameters["properties"]] == [*signature]
    assert tool.parameters.get("required", []) == ([] if default else [*signature])
    assert "$ref" not in str(tool.parameters)
    assert tool.call(msgspec.json.encode(sent).decode()) == sent
