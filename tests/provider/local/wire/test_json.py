import msgspec
import pytest

from patinox.provider.local.errors import ParseError
from patinox.provider.local.wire.json import decode_json, is_json


class Inner(msgspec.Struct):
    size: int
    name: str | None = None


class Outer(msgspec.Struct):
    models: list[Inner]


DEEP = b"[" * 100_000 + b"]" * 100_000


def test_json_becomes_the_declared_values() -> None:
    data = b'{"models":[{"size":1,"name":null,"new":{}},{"size":3,"name":"x","size":2}]}'
    assert decode_json(data, Outer, what="The list") == Outer([Inner(1), Inner(2, "x")])


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"models":[{"size":1},{}]}', "$.models[1]"),
        (b'{"models":[{"size":"1"}]}', "$.models[0].size"),
        (b'{"models":[{"size":null}]}', "$.models[0].size"),
        (b'{"models":[{"size":1,"name":2}]}', "$.models[0].name"),
        (b'{"models":[{"size":' + b"9" * 5000 + b"}]}", "$.models[0].size"),
        (b'{"models":null}', "$.models"),
        (b"[]", "Expected `object`"),
    ],
    ids=["missing", "wrong type", "null", "optional of a wrong type", "huge", "no list", "array"],
)
def test_another_shape_is_told_with_the_path_to_the_field(data: bytes, path: str) -> None:
    with pytest.raises(ParseError) as caught:
        decode_json(data, Outer, what="The list")
    assert str(caught.value).startswith("The list is not what the contract says: ")
    assert path in str(caught.value)


NO_JSON = {
    "empty": b"",
    "cut": b'{"models":[',
    "text": b"page not found",
    "two values": b'{"models":[]}{}',
    "a name for no number": b'{"x":NaN}',
    "a mark of the byte order": b'\xef\xbb\xbf{"models":[]}',
    "half of a pair": b'{"x":"\\ud800"}',
    "nested too deeply": b'{"x":' + DEEP + b"}",
}


@pytest.mark.parametrize("data", NO_JSON.values(), ids=NO_JSON)
def test_what_is_not_json_is_told_so(data: bytes) -> None:
    with pytest.raises(ParseError, match=r"^The list is not JSON: "):
        decode_json(data, Outer, what="The list")
    assert not is_json(data)


def test_text_that_is_not_utf_8_is_told_so() -> None:
    with pytest.raises(ParseError, match=r"^The list is not JSON: .*utf-8"):
        decode_json(b'{"models":[{"size":1,"name":"\xff"}]}', Outer, what="The list")


@pytest.mark.parametrize("data", [b"{}", b" [1] ", b'"x"', b"null", b"-1.5e3"])
def test_a_whole_value_is_json(data: bytes) -> None:
    assert is_json(data)
