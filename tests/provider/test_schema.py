"""What an answer shall look like: schemas of types, and objects out of answers."""

import enum
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.errors import ConfigurationError, InvalidRequest, StructuredOutputError
from patinox.provider.schema import OutputSchema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Wheel:
    size: float


@dataclass
class Car:
    """A car."""

    colour: Colour
    wheels: list[Wheel]
    name: str | None = None


class Boat(msgspec.Struct):
    length: Annotated[float, msgspec.Meta(gt=0, description="metres")]


class Bike(TypedDict):
    gears: int


class Pair(NamedTuple):
    left: int
    right: int


class Tree(msgspec.Struct):
    value: int
    left: "Tree | None" = None


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    even: int = 0

    def __post_init__(self) -> None:
        if self.even % 2:
            msg = f"{self.even} secret is odd"
            raise ValueError(msg)


class Fish(pydantic.BaseModel):
    kind: Literal["fish"]


class Bird(pydantic.BaseModel):
    kind: Literal["bird"]


class Checked(pydantic.BaseModel, extra="forbid"):
    word: str
    pet: Annotated[Fish | Bird, pydantic.Field(discriminator="kind")] | None = None

    @pydantic.field_validator("word")
    @classmethod
    def not_said(cls, word: str) -> str:
        if word:
            msg = f"not {word}"
            raise ValueError(msg)
        return word


class Unwritable(pydantic.BaseModel, arbitrary_types_allowed=True):
    thing: threading.Thread


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class Wing(pydantic.BaseModel):
    span: float = pydantic.Field(gt=0)


class Plane(pydantic.BaseModel):
    wings: list[Wing]


class Branch(pydantic.BaseModel):
    branches: list["Branch"]


CAR_SCHEMA = {
    "title": "Car",
    "description": "A car.",
    "type": "object",
    "properties": {
        "colour": {"title": "Colour", "type": "string", "enum": ["blue", "red"]},
        "wheels": {
            "type": "array",
            "items": {
                "title": "Wheel",
                "type": "object",
                "properties": {"size": {"type": "number"}},
                "required": ["size"],
            },
        },
        "name": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    },
    "required": ["colour", "wheels"],
}


def test_a_type_becomes_a_schema_without_references() -> None:
    schema = OutputSchema.of(Car)
    assert schema.schema == CAR_SCHEMA
    assert schema.name == "Car"
    assert repr(schema) == "<OutputSchema Car>"


@pytest.mark.parametrize(
    ("kind", "name", "text", "value"),
    [
        (Car, "Car", '{"colour": "red", "wheels": []}', Car(Colour.RED, [])),
        (Boat, "Boat", '{"length": 3}', Boat(3.0)),
        (Bike, "Bike", '{"gears": 7}', {"gears": 7}),
        (Pair, "Pair", "[1, 2]", Pair(1, 2)),
        (Tree, "Tree", '{"value": 1, "left": {"value": 2}}', Tree(1, Tree(2))),
        (Cat | Dog, "answer", '{"type": "dog", "tricks": []}', Dog([])),
        (list[int], "answer", "[1, 2]", [1, 2]),
        (dict[str, Wheel], "answer", '{"a": {"size": 1}}', {"a": Wheel(1.0)}),
        (int | None, "answer", "null", None),
        (Literal["yes", "no"], "answer", '"yes"', "yes"),
        (Annotated[int, msgspec.Meta(ge=0)], "answer", "5", 5),
        (Plane, "Plane", '{"wings": [{"span": 2}]}', Plane(wings=[Wing(span=2)])),
        (Branch, "Branch", '{"branches": []}', Branch(branches=[])),
        ({"type": "object"}, "answer", '{"a": 1}', {"a": 1}),
        ({"title": "My car!", "type": "array"}, "My_car", "[1]", [1]),
        ({"title": "x" * 99}, "x" * 64, "1", 1),
        ({"title": 7, "$ref": "#/$defs/A~1B", "$defs": {"A/B": {}}}, "", "1", 1),
    ],
    ids=str,
)
def test_an_answer_becomes_the_object(kind: type, name: str, text: str, value: object) -> None:
    if name:
        schema: OutputSchema[object] = OutputSchema.of(kind)
        assert schema.name == name
        assert schema.parse(text) == value
        assert type(schema.parse(text)) is type(value)
    else:
        with pytest.raises(
            InvalidRequest, match=r"not valid: 7 is not of type 'string' - at `\$.t"
        ):
            OutputSchema.of(kind)


@pytest.mark.parametrize("kind", [Car, Boat, Bike, Pair, Cat | Dog, list[Wheel], Plane], ids=str)
def test_no_reference_is_left_where_none_is_needed(kind: type) -> None:
    text = str(OutputSchema.of(kind).schema)
    assert "$ref" not in text
    assert "$defs" not in text
    assert "discriminator" not in text


def test_a_field_may_be_called_like_a_word_of_schemas() -> None:
    class Odd(msgspec.Struct):
        discriminator: Wheel
        enum: Wheel
        default: dict[str, int] = msgspec.field(default_factory=dict)

    schema = OutputSchema.of(Odd).schema
    assert [*schema["properties"]] == ["discriminator", "enum", "default"]
    assert "$ref" not in str(schema)
    union = OutputSchema.of(dict[str, Cat | Dog]).schema
    assert "discriminator" not in str(union)


@pytest.mark.parametrize("kind", [Tree, Branch])
def test_what_contains_itself_keeps_its_references_and_holds_what_they_lead_to(kind: type) -> None:
    schema = OutputSchema.of(kind).schema
    assert schema["$defs"][kind.__name__]["type"] == "object"
    assert OutputSchema.of(schema).schema == schema  # valid, and nothing in it leads outside


@pytest.mark.parametrize(
    "text",
    [
        '{"size": 2}',
        ' \n{"size": 2}\t\n',
        '```json\n{"size": 2}\n```',
        '\n```\n{"size": 2}```\n',
        '```JSON \n\n{"size": 2}\n\n```',
    ],
)
@pytest.mark.parametrize("kind", [Wheel, {"type": "object"}], ids=["type", "mapping"])
def test_blanks_and_a_fence_around_the_answer_are_taken_off(kind: type, text: str) -> None:
    found: object = OutputSchema.of(kind).parse(text)
    assert found == (Wheel(2.0) if kind is Wheel else {"size": 2})


@pytest.mark.parametrize(
    "text",
    [
        'Sure: {"size": 2}',
        '```json\n{"size": 2}\n``` That was it.',
        '```yaml\n{"size": 2}\n```',
        '{"size": 2} {"size": 2}',
        "{'size': 2}",
        '{"size": 2,}',
        '{"size": NaN}',
        "",
        "```json\n```",
        pytest.param("```json\n" + "\n" * 1_000_000 + "{", id="a million lines"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('"\ud800"', id="half a character"),
    ],
)
@pytest.mark.parametrize("kind", [Wheel, {"type": "object"}, Wing], ids=["type", "json", "model"])
def test_nothing_else_is_guessed_and_the_text_is_kept(kind: type, text: str) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        OutputSchema.of(kind).parse(text)
    assert caught.value.raw == text
    assert "size" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (Car, '{"colour": "red"}', "Object missing required field `wheels`."),
        (Boat, '{"length": 0}', "Expected `float` > 0.0 - at `$.length`."),
        (Plane, '{"wings": [{"span": "secret"}]}', "unable to parse string as a number - at `$.wi"),
        (Plane, '{"wings": [{"span": -1}]}', "greater than 0 - at `$.wings[0].span`."),
        (
            CAR_SCHEMA,
            '{"colour": "red"}',
            "`required: ['colour', 'wheels']` does not hold - at `$`",
        ),
        (CAR_SCHEMA, '{"colour": "secret", "wheels": []}', "`enum: ['blue', 'red']` does not hold"),
        ({"items": {"type": "null"}}, '["secret"]', "`type: 'null'` does not hold - at `$[0]`."),
        ({"maxLength": 3}, '"secret"', "`maxLength: 3` does not hold - at `$`."),
        (Car, '{"colour": "secret", "wheels": []}', "Invalid enum value - at `$.colour`."),
        (Dog | Cat, '{"type": "secret"}', "Invalid value - at `$.type`."),
        (Strict, '{"secret": 1}', "Object contains unknown field."),
        (Strict, '{"even": 1}', "a check of the type refuses it."),
        (dict[str, int], '{"secret": "x"}', "Expected `int`, got `str` - at `$[...]`."),
        (Checked, '{"word": "secret"}', "`value_error` - at `$.word`."),
        (Checked, '{"word": "", "secret": 1}', "Extra inputs are not permitted - at `$[...]`."),
        (Checked, '{"word": "", "pet": {"kind": "secret"}}', "`union_tag_invalid` - at `$.pet`."),
        (
            {"additionalProperties": {"type": "integer"}},
            '{"secret": "x"}',
            "`type: 'integer'` does not hold - at `$[...]`.",
        ),
    ],
)
def test_an_answer_of_another_shape_says_where_and_shows_nothing_of_it(
    kind: object, text: str, why: str
) -> None:
    with pytest.raises(StructuredOutputError) as caught:
        OutputSchema.of(kind).parse(text)
    assert caught.value.message.startswith("The answer does not fit the schema ")
    assert why in str(caught.value)
    assert caught.value.raw == text
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_an_answer_that_was_cut_says_so() -> None:
    schema = OutputSchema.of(Wheel)
    with pytest.raises(StructuredOutputError, match="It was cut: raise `max_tokens`"):
        schema.parse('{"size": ', finish_reason="length")
    with pytest.raises(StructuredOutputError) as caught:
        schema.parse('{"size": ', finish_reason="stop")
    assert caught.value.hint is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7, "No JSON schema can be made of 7: Type '7' is not supported"),
        ("Car", "No JSON schema can be made of 'Car'"),
        (object, "can be made of <class 'object'>: type <class 'object'> is not supported"),
        (Wheel(1.0), "No JSON schema can be made of Wheel"),
        (str | bytes, "Type unions may not contain more than one str-like type"),
        ({"type": "text"}, r"The JSON schema is not valid: 'text' is not valid .+ - at `\$.type`"),
        ({"pattern": "("}, r"The JSON schema is not valid: '\(' is not a 'regex'"),
        ({"a": str}, "The JSON schema cannot be written as JSON"),
        ({"const": "\ud800"}, "The JSON schema cannot be written as JSON"),
        ({"$ref": "https://example.com/s"}, "refers to 'https://example.com/s', which is not in"),
        ({"allOf": [{"$ref": "#/$defs/A"}]}, r"refers to '#/\$defs/A', which is not in it"),
        ({"$ref": "#/$defs/A/b", "$defs": {"A": True}}, r"refers to '#/\$defs/A/b'"),
        ({"$ref": "other.json"}, "refers to 'other.json'"),
        ({"$defs": {"A": {"$id": "a.json"}}}, "refers to 'a.json'"),
        ({"$dynamicRef": "#node"}, "refers to '#node'"),
        (Unwritable, "No JSON schema can be made of <class .*Unwritable'>: Cannot generate"),
    ],
    ids=str,
)
def test_what_says_no_shape_is_refused_at_once(value: object, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        OutputSchema.of(value)


@pytest.mark.parametrize("depth", [100, 400, 10_000])
def test_a_schema_that_is_too_deep_is_refused(depth: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(InvalidRequest, match="JSON schema"):
        OutputSchema.of(schema)


def test_a_schema_is_taken_as_it_is_and_copied() -> None:
    given_one: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.com/list",
        "anyOf": [{"type": "null"}, {"$ref": "#/definitions/cell%20"}],
        "definitions": {"cell ": {"required": ["next"], "properties": {"next": {"$ref": "#"}}}},
    }
    schema = OutputSchema.of(given_one)
    assert schema.schema == given_one
    given_one.clear()
    assert schema.schema
    assert schema.parse('{"next": {"next": null}}') == {"next": {"next": None}}
    with pytest.raises(StructuredOutputError):
        schema.parse('{"next": {}}')


def test_a_schema_stays_what_it_is() -> None:
    schema = OutputSchema.of(Wheel)
    assert OutputSchema.of(schema) is schema


WITHOUT = """
import sys
import threading
sys.modules["jsonschema"] = None
from patinox import ConfigurationError, OutputSchema
assert OutputSchema.of(list[int]).parse("[1]") == [1]
try:
    OutputSchema.of({"type": "object"})
except ConfigurationError as error:
    print(error)
"""


def test_without_the_extra_a_mapping_is_refused_with_the_way_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "An answer by a JSON schema needs the extra `schema`, which is not installed."
        ' Run: pip install "patinox[schema]"'
    )


def test_a_missing_library_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ConfigurationError, match=r'pip install "patinox\[schema\]"'):
        OutputSchema.of({})


def test_pydantic_is_not_imported_to_find_out_whether_a_class_is_of_it() -> None:
    code = "import sys, patinox; patinox.OutputSchema.of(int); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["", " \n", "```json\n", "```\n"]))
def test_every_json_value_comes_back_through_the_widest_schema(value: object, before: str) -> None:
    after = "\n```" if before.startswith("`") else before
    text = f"{before}{msgspec.json.encode(value).decode()}{after}"
    assert OutputSchema.of({}).parse(text) == value
    assert OutputSchema.of(Any).parse(text) == value


@given(st.text())
def test_any_text_is_an_answer_or_a_typed_error(text: str) -> None:
    for kind in (Car, Plane, {"type": "object"}):
        with suppress(StructuredOutputError):
            OutputSchema.of(kind).parse(text)


class Broken(pydantic.BaseModel):
    word: str

    @pydantic.field_validator("word")
    @classmethod
    def look_up(cls, word: str) -> str:
        return {"known": word}[word]


@dataclass
class Divided:
    word: str

    def __post_init__(self) -> None:
        raise ZeroDivisionError(self.word)


@pytest.mark.parametrize(("kind", "raised"), [(Broken, KeyError), (Divided, ZeroDivisionError)])
def test_what_a_check_of_the_callers_raises_is_the_cause_and_the_answer_is_kept(
    kind: type, raised: type[Exception]
) -> None:
    answer = '{"word": "private"}'
    with pytest.raises(StructuredOutputError, match=f"it raised {raised.__name__}") as caught:
        OutputSchema.of(kind).parse(answer)
    assert isinstance(caught.value.__cause__, raised)
    assert caught.value.raw == answer
    assert "private" not in str(caught.value)
