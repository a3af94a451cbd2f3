import time
from collections import Counter

import msgspec
import pytest

from patinox.provider.local.errors import ParseError, ResponseTooLarge
from patinox.provider.local.wire.json import (
    MAX_ENTRIES,
    Count,
    Name,
    breaks_off,
    decode_entries,
    decode_json,
    decode_leniently,
    is_json,
)


class Counted(msgspec.Struct):
    number: Count


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
}


@pytest.mark.parametrize("data", NO_JSON.values(), ids=NO_JSON)
def test_what_is_not_json_is_told_so(data: bytes) -> None:
    with pytest.raises(ParseError, match=r"^The list is not JSON: "):
        decode_json(data, Outer, what="The list")
    assert not is_json(data)


@pytest.mark.parametrize(
    ("data", "deep"),
    [
        (b"[" * 100 + b"]" * 100, False),
        (b"[" * 101 + b"]" * 101, True),
        (b'{"x":' * 100 + b"1" + b"}" * 100, False),
        (b'{"x":' * 101 + b"1" + b"}" * 101, True),
        (b"[{}," + b'{"x":' * 100 + b"1" + b"}" * 100 + b"]", True),
        (b'[{"x":' * 50 + b"[1]" + b"}]" * 50, True),
        (b"[" + b"[]," * 500 + b"1]", False),
        (b"[" + b'["a"],' * 500 + b"1]", False),
        (b"[" + b"[]," * 60 + b'"a",' * 4000 + b"1]", False),
        (b"[[]," + b"[" * 99 + b"]" * 99 + b"]", False),
        (b"[[]," + b"[" * 100 + b"]" * 100 + b"]", True),
        (b'{"x":"' + b"[" * 500 + b'"}', False),
        (b'{"x":"\\"' + b"{" * 500 + b'"}', False),
        (b"[" * 101, True),
        (b'["' + b"[" * 500, False),
        (b'["' + b"[" * 500 + b"\\", False),
        (DEEP, True),
    ],
    ids=[
        *("100", "101", "100 objects", "101 objects", "wide and 101 objects", "101 of both"),
        *("wide", "wide with texts", "many texts", "wide and 100", "wide and 101"),
        *("a text", "a quote in a text", "cut"),
        *("a text without end", "a text that ends in half of an escape", "100,000"),
    ],
)
def test_what_is_nested_deeper_than_anything_is_refused_unread(data: bytes, *, deep: bool) -> None:
    try:
        decode_json(data, msgspec.Raw, what="The list")
    except ParseError as error:
        assert ("nested deeper than 100 levels" in str(error)) == deep  # noqa: PT017
    else:
        assert not deep


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"{", True),
        (b'{"a":"b', True),
        (b'{"a":1', True),
        (b"tru", True),
        (b"", True),
        (b"{}", False),
        (b"{}}", False),
        (b"<html>", False),
        (b"\xef\xbb\xbf{}", False),
        (b"[" * 100_000, False),
    ],
)
def test_what_breaks_off_is_told_from_what_is_wrong(data: bytes, *, cut: bool) -> None:
    assert breaks_off(data) is cut


@pytest.mark.parametrize("end", [b"", b"\\", b'"'], ids=["cut", "half of an escape", "whole"])
@pytest.mark.parametrize("filling", [b'\\"', b"x"], ids=["quotes", "letters"])
def test_a_long_text_takes_no_longer_than_its_length(filling: bytes, end: bytes) -> None:
    text = b'"' + filling * (2**20 // len(filling)) + end
    nested, odd = b"[" * 60 + text, b'{"size":NaN,"name":' + text
    started = time.process_time()  # of this process only: the machine may be under load
    for data in (nested, odd):
        with pytest.raises(ParseError):
            decode_leniently(data, Inner, what="It")
    assert time.process_time() - started < 0.5


class Measured(msgspec.Struct):
    name: str
    size: float | None = None
    note: str | None = None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"name":"a","size":NaN}', Measured("a")),
        (b'{"name":"a","size":-Infinity,"note":"x"}', Measured("a", None, "x")),
        (b'{"name":"NaN","size":NaN,"note":"\\"Infinity"}', Measured("NaN", None, '"Infinity')),
    ],
)
def test_what_is_no_number_counts_as_not_said(data: bytes, expected: Measured) -> None:
    assert decode_leniently(data, Measured, what="It") == expected


def test_a_required_number_that_is_none_is_no_number() -> None:
    with pytest.raises(ParseError, match=r"got `null` - at `\$.size`"):
        decode_leniently(b'{"size":NaN}', Inner, what="It")


@pytest.mark.parametrize(
    ("number", "counts"), [(-1, False), (0, True), (2**63 - 1, True), (2**63, False)]
)
def test_a_count_is_from_nothing_to_what_a_computer_counts_to(number: int, *, counts: bool) -> None:
    try:
        assert decode_json(b'{"number":%d}' % number, Counted, what="It").number == number
    except ParseError:
        assert not counts


def test_text_that_is_not_utf_8_is_told_so() -> None:
    with pytest.raises(ParseError, match=r"^The list is not JSON: .*utf-8"):
        decode_json(b'{"models":[{"size":1,"name":"\xff"}]}', Outer, what="The list")


@pytest.mark.parametrize("data", [b"{}", b" [1] ", b'"x"', b"null", b"-1.5e3"])
def test_a_whole_value_is_json(data: bytes) -> None:
    assert is_json(data)


class Details(msgspec.Struct):
    family: str | None = None
    length: Count | None = None


class Entry(msgspec.Struct):
    name: Name
    size: Count | None = None
    words: list[str] = []
    details: Details | None = None


class Props(msgspec.Struct):
    settings: Details


HUGE = b"9" * 5000


@pytest.mark.parametrize("size", [b"null", b'""', b"1.5", b"-1", b"1e400", b"1" * 20, HUGE, b"[]"])
def test_an_optional_field_of_another_shape_counts_as_not_said(size: bytes) -> None:
    data = b'{"size":' + size + b',"name":"x","words":null,"new":1,"details":{"family":"f"}}'
    assert decode_leniently(data, Entry, what="It") == Entry("x", details=Details("f"))


@pytest.mark.parametrize("length", [HUGE, b'"8192"', b'"\xff"'])
def test_only_the_odd_field_of_an_inner_object_is_left_out(length: bytes) -> None:
    inner = b'{"length":' + length + b',"family":"f"}'
    data = b'{"name":"x","size":1,"details":' + inner + b"}"
    assert decode_leniently(data, Entry, what="It") == Entry("x", 1, details=Details("f"))
    data = b'{"settings":' + inner + b"}"
    assert decode_leniently(data, Props, what="It") == Props(Details("f"))


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"name":5,"size":""}', "`$.name`"),
        (b'{"name":"","size":""}', "`$.name`"),
        (b'{"name":"' + b"n" * 513 + b'"}', "`$.name`"),
        (b'{"size":1}', "field `name`"),
        (b"[]", "Expected `object`"),
        (b'{"name":"x",', "is not JSON"),
        (b'{"name":"x","size":' + DEEP + b"}", "nested deeper than 100 levels"),
    ],
    ids=["wrong type", "empty", "too long", "missing", "array", "cut", "nested too deeply"],
)
def test_a_required_field_is_never_left_out(data: bytes, path: str) -> None:
    with pytest.raises(ParseError, match=r"^It is not ") as caught:
        decode_leniently(data, Entry, what="It")
    assert path in caught.value.message


def test_an_optional_field_may_be_one_that_is_never_left_out() -> None:
    data = b'{"name":"x","size":"","details":5}'
    with pytest.raises(ParseError, match=r"\$\.details"):
        decode_leniently(data, Entry, what="It", strict=("details",))


def entries(*items: bytes) -> list[Entry]:
    raw = [msgspec.Raw(item) for item in items]
    return decode_entries(raw, Entry, what="The list", at="$.models")


def test_a_bad_entry_hides_no_other() -> None:
    bad = (b'{"name":null}', b'{"size":3}', b'{"name":""}', b"5", b'{"name":"\xff"}')
    good = (b'{"name":"a"}', b'{"name":"b","size":""}')
    assert entries(good[0], *bad, good[1]) == [Entry("a"), Entry("b")]
    assert entries() == []


@pytest.mark.parametrize(
    ("first", "path"),
    [(b'{"name":5}', "`$.models[0].name`"), (b"{}", "`$.models[0]`"), (b"5", "`$.models[0]`")],
)
def test_a_list_of_bad_entries_only_is_told_with_the_path_of_the_first(
    first: bytes, path: str
) -> None:
    with pytest.raises(ParseError, match=r"^The list is not what the contract says: ") as caught:
        entries(first, b'{"name":[]}')
    assert path in caught.value.message


def test_a_list_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(ResponseTooLarge, match="20,000 entries"):
        entries(*[b"{}"] * (MAX_ENTRIES + 1))
    assert len(entries(*[b'{"name":"a"}'] * MAX_ENTRIES)) == MAX_ENTRIES


def test_the_fields_of_a_kind_are_read_once_for_all_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Odd(msgspec.Struct):
        name: str
        size: int | None = None

    read = Counter[str]()
    fields = msgspec.structs.fields

    def counted(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
        read[kind.__name__] += 1
        return fields(kind)

    monkeypatch.setattr(msgspec.structs, "fields", counted)
    entries = [msgspec.Raw(b'{"name":"x","size":[1]}')] * 100
    assert decode_entries(entries, Odd, what="It", at="$") == [Odd("x")] * 100
    assert read == {"Odd": 1}
