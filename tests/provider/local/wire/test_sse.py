import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.local.errors import ResponseTooLarge
from patinox.provider.local.wire.lines import MAX_LINE
from patinox.provider.local.wire.sse import ServerSentEvent, SSEDecoder


def events(parts: Iterable[bytes], *, limit: int = MAX_LINE) -> tuple[list[ServerSentEvent], str]:
    """All events, and the error that stopped them."""
    decoder, found = SSEDecoder(limit=limit), list[ServerSentEvent]()
    try:
        for part in parts:
            decoder.feed(part, found)
        decoder.close(found)
    except ResponseTooLarge as error:
        return found, str(error)
    return found, ""


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


CASES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "nothing": ("", []),
    "one event": ("data: a\n\n", [("", "a")]),
    "no space after the colon": ("data:a\n\n", [("", "a")]),
    "only one space is taken away": ("data:  a\n\n", [("", " a")]),
    "colons belong to the value": ("data: a: b:\n\n", [("", "a: b:")]),
    "several lines of data": ("data: a\ndata:\ndata: b\n\n", [("", "a\n\nb")]),
    "a field without a colon is empty": ("data\n\n", [("", "")]),
    "data that is empty": ("data: \n\n", [("", "")]),
    "a named event": ("event: error\ndata: a\n\n", [("error", "a")]),
    "the name comes last": ("data: a\nevent: x\n\n", [("x", "a")]),
    "a name holds for one event": ("event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("", "b")]),
    "a name without data is no event": ("event: x\n\ndata: b\n\n", [("", "b")]),
    "comments are passed over": (": ping\n:\n\n:\ndata: a\n: b\n\n", [("", "a")]),
    "other fields are passed over": ("id: 1\nretry: 5\nfoo: b\ndata: a\n\n", [("", "a")]),
    "fields are spelled exactly": ("DATA: a\n data: b\ndata : c\n\n", []),
    "the field that llama.cpp called error": ("error: {}\n\n", [("error", "{}")]),
    "many blank lines": ("\n\n\ndata: a\n\n\n\ndata: b\n\n", [("", "a"), ("", "b")]),
    "the last blank line is missing": ("data: a\n\ndata: b\n", [("", "a"), ("", "b")]),
    "the last line end is missing": ("data: a\n\ndata: b", [("", "a"), ("", "b")]),
    "separators inside of text": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n",
        [("", "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg")],
    ),
    "a mark of the byte order": ("\ufeffdata: a\n\ndata: b\n\n", [("", "a"), ("", "b")]),
    "a second mark is a name": ("\ufeff\ufeffdata: a\n\n", []),
    "a mark later on is a name": ("\n\ufeffdata: a\n\n", []),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_events_are_as_the_standard_says_wherever_they_are_cut(
    text: str, expected: list[tuple[str, str]], end: str
) -> None:
    data = text.replace("\n", end).encode()
    wanted = ([ServerSentEvent(name, value.encode()) for name, value in expected], "")
    assert events([data]) == wanted
    assert events(bytewise(data)) == wanted
    for cut in range(len(data)):
        assert events([data[:cut], b"", data[cut:]]) == wanted


def test_line_ends_may_be_mixed() -> None:
    data = b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\n"
    expected = [ServerSentEvent("", b"a\nb\nc"), ServerSentEvent("", b"d")]
    assert events([data]) == (expected, "")
    after = b"data: x\n\ndata: a\rdata: b\n\n"
    assert events([after]) == ([ServerSentEvent("", b"x"), ServerSentEvent("", b"a\nb")], "")


def test_a_name_that_is_no_text_stays_readable() -> None:
    assert events([b"event: \xff\ndata: a\n\n"]) == ([ServerSentEvent("\ufffd", b"a")], "")


FRAGMENT = st.sampled_from(
    [b"data: a", b"data:", b"event: e", b":c", b"\n", b"\r", b"\r\n", b"error: x", b"\xef\xbb\xbf"]
)


@settings(max_examples=80)
@given(st.lists(FRAGMENT, max_size=14), st.data())
def test_where_the_bytes_are_cut_does_not_matter(parts: list[bytes], draw: st.DataObject) -> None:
    whole = b"".join(parts)
    limit = draw.draw(st.sampled_from([4, 9, 17, MAX_LINE]))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert events(pieces, limit=limit) == events([whole], limit=limit)
    assert events(bytewise(whole), limit=limit) == events([whole], limit=limit)


@pytest.mark.parametrize(
    "data",
    [b"data: 4567890\n\n", b"data: a\ndata: b\ndata: cdef\n\n", b": a comment\n", b"x" * 13],
    ids=["line", "lines together", "comment", "no line end"],
)
def test_an_event_beyond_the_limit_is_refused_after_those_before_it(data: bytes) -> None:
    before = b"data: one\n\n"
    found = [ServerSentEvent("", b"one")]
    refused = "An event of the reply is longer than 10 bytes."
    assert events([before + data], limit=10) == (found, refused)
    assert events(bytewise(before + data), limit=10) == (found, refused)


def test_events_as_long_as_the_limit_are_whole() -> None:
    data = b"data: 7890\n\n" * 3 + b": 34567890\n" + b"data:678\ndata:6\n\n" * 2
    expected = [ServerSentEvent("", b"7890")] * 3 + [ServerSentEvent("", b"678\n6")] * 2
    assert events([data], limit=10) == (expected, "")


@pytest.mark.parametrize("line", [b"data\n", b"data:\n", b"data: x\n", b"error\n"])
def test_an_event_without_end_is_refused(line: bytes) -> None:
    assert events([line] * 1000, limit=500) == (
        [],
        "An event of the reply is longer than 500 bytes.",
    )


def test_an_event_of_empty_lines_takes_no_more_memory_than_its_bytes() -> None:
    decoder, part = SSEDecoder(), b"data:\n" * 10_000
    tracemalloc.start()
    try:
        for _ in range(20):
            decoder.feed(part, [])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < len(part) * 20


def test_comments_may_come_for_ever_and_take_no_memory() -> None:
    decoder, part = SSEDecoder(), b": processing the prompt\n\ndata: x\n\n" * 30
    tracemalloc.start()
    try:
        for _ in range(300):
            decoder.feed(part, [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000
