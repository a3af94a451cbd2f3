import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.local.errors import ResponseTooLarge
from patinox.provider.local.wire.lines import MAX_LINE, LineDecoder


def lines(parts: Iterable[bytes], *, limit: int = MAX_LINE) -> tuple[list[bytes], str]:
    """All lines, the unfinished last one too, and the error that stopped them."""
    decoder, found = LineDecoder(limit=limit), list[bytes]()
    try:
        for part in parts:
            decoder.feed(part, found)
        found.append(decoder.close())
    except ResponseTooLarge as error:
        return found, str(error)
    return found, ""


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a", b""]),
        (b"\n\na", [b"", b"", b"a"]),
        (b"a\r\nb\n", [b"a\r", b"b", b""]),
        (b"a\rb\x0bc\x0cd\n", [b"a\rb\x0bc\x0cd", b""]),
        ("a\u2028b\u2029c\x85d\x1ce\n".encode(), ["a\u2028b\u2029c\x85d\x1ce".encode(), b""]),
    ],
)
def test_only_a_line_feed_ends_a_line(data: bytes, expected: list[bytes]) -> None:
    assert lines([data]) == (expected, "")
    assert lines(bytewise(data)) == (expected, "")
    for cut in range(len(data)):
        assert lines([data[:cut], data[cut:]]) == (expected, "")


@settings(max_examples=60)
@given(
    st.lists(st.text("ab\n\r", max_size=6).map(str.encode), max_size=8),
    st.integers(min_value=0, max_value=8),
)
def test_where_the_bytes_are_cut_does_not_matter(parts: list[bytes], limit: int) -> None:
    whole = b"".join(parts)
    assert lines(parts, limit=limit) == lines([whole], limit=limit)
    assert lines(bytewise(whole), limit=limit) == lines([whole], limit=limit)


def test_a_line_as_long_as_the_limit_is_whole() -> None:
    assert lines([b"12345\n12345\n1"], limit=5) == ([b"12345", b"12345", b"1"], "")


@pytest.mark.parametrize("parts", [[b"1\n123456\n"], [b"1\n123", b"456\n"], [b"1\n123456"]])
def test_a_line_beyond_the_limit_is_refused_after_those_before_it(parts: list[bytes]) -> None:
    assert lines(parts, limit=5) == ([b"1"], "A line of the reply is longer than 5 bytes.")


def test_a_line_without_end_is_refused_at_the_limit() -> None:
    decoder = LineDecoder(limit=1000)
    found = list[bytes]()
    for _ in range(10):
        decoder.feed(b"x" * 100, found)
    with pytest.raises(ResponseTooLarge):
        decoder.feed(b"x", found)
    assert found == []


def test_memory_does_not_grow_with_the_stream() -> None:
    decoder, part = LineDecoder(), b"x" * 999 + b"\n"
    tracemalloc.start()
    try:
        for _ in range(2000):
            decoder.feed(part, [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000


def test_what_was_handed_out_at_the_end_is_not_handed_out_again() -> None:
    decoder, found = LineDecoder(), list[bytes]()
    decoder.feed(b"a\nb", found)
    assert found == [b"a"]
    assert (decoder.close(), decoder.close()) == (b"b", b"")


def test_a_line_may_have_eight_mebibytes() -> None:
    assert MAX_LINE == 8_388_608
