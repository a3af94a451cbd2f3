"""Reasoning in the text: the same however it is cut, and text about tags stays text."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.assemble import Assembler
from patinox.provider.local.dialects.thinking import ThinkSplitter
from patinox.provider.types import ReasoningImplied, StreamEvent, TextDelta

Fold = tuple[str, str]


def split(*pieces: str, thinks: bool | None = None) -> list[StreamEvent]:
    splitter, events = ThinkSplitter(thinks=thinks), list[StreamEvent]()
    for piece in pieces:
        splitter.feed(piece, events)
    splitter.close(events)
    return events


def fold(*pieces: str, thinks: bool | None = None) -> Fold:
    assembler = Assembler()
    assembler.extend(split(*pieces, thinks=thinks))
    return assembler.reasoning, assembler.text


@pytest.mark.parametrize("thinks", [True, False, None])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>hm</think>Yes.", ("hm", "Yes.")),
        ("<think>\nhm\n</think>\n\nYes.", ("\nhm\n", "Yes.")),
        (" \n<think>hm</think>Yes.", ("hm", "Yes.")),
        ("<think></think>Yes.", ("", "Yes.")),
        ("<think>hm", ("hm", "")),
        ("<think>hm</thin", ("hm</thin", "")),
        ("<think>a < b</think>Yes.", ("a < b", "Yes.")),
        ("<think>hm</think>", ("hm", "")),
        ("<think>hm</think>a <think>b</think>", ("hm", "a <think>b</think>")),
        ("Yes.", ("", "Yes.")),
        ("", ("", "")),
        ("  ", ("", "  ")),
        ("  Yes.", ("", "  Yes.")),
        ("<thi", ("", "<thi")),
        ("<thing>", ("", "<thing>")),
        ("Write <think> first.", ("", "Write <think> first.")),
    ],
)
def test_reasoning_stands_between_its_tags(
    text: str, expected: Fold, *, thinks: bool | None
) -> None:
    assert fold(text, thinks=thinks) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hm</think>Yes.", ("hm", "Yes.")),
        ("hm\n</think>\n\nYes.", ("hm\n", "Yes.")),
        ("</think>Yes.", ("", "Yes.")),
        ("a < b</think>Yes.", ("a < b", "Yes.")),
        ("hm</think>Close it with </think>.", ("hm", "Close it with </think>.")),
        ("hm</thin", ("", "hm</thin")),
        ("hm</think>", ("hm", "")),
    ],
)
def test_a_template_may_have_opened_the_reasoning_unseen(text: str, expected: Fold) -> None:
    assert fold(text, thinks=True) == expected


@pytest.mark.parametrize("thinks", [False, None])
@pytest.mark.parametrize("text", ["Close it with </think>.", "</think>", "a</think>b"])
def test_of_a_model_not_known_to_think_a_late_tag_is_text(
    text: str, *, thinks: bool | None
) -> None:
    assert fold(text, thinks=thinks) == ("", text)
    assert all(isinstance(event, TextDelta) for event in split(*text, thinks=thinks))


@pytest.mark.parametrize("pieces", [[" " * 1025 + "<think>hm"], [" "] * 1025 + ["<think>hm"]])
def test_blanks_without_end_are_text_and_not_held_back(pieces: list[str]) -> None:
    assert fold(*pieces, thinks=True) == ("", " " * 1025 + "<think>hm")


def test_blank_lines_between_reasoning_and_answer_are_left_out_wherever_they_are_cut() -> None:
    expected = [TextDelta("hm"), ReasoningImplied(), TextDelta("Yes.")]
    assert split("hm</think>", "\n", "\nYes.", thinks=True) == expected


def test_a_few_blanks_may_come_before_reasoning_however_long_that_is() -> None:
    assert fold(" " * 1024 + "<think>hm") == ("hm", "")
    assert fold("<think>" + "hm" * 2000) == ("hm" * 2000, "")


@pytest.mark.parametrize(
    ("pieces", "thinks", "done"),
    [
        ([], None, False),
        (["<think>hm"], None, False),
        (["<think>hm</think>"], None, False),
        (["<think>hm</think>Yes."], None, True),
        (["Yes."], None, True),
        (["Yes."], True, False),
        (["hm</think>"], True, False),
        (["hm</think>", "Yes."], True, True),
    ],
)
def test_all_is_text_as_soon_as_no_reasoning_can_come_any_more(
    pieces: list[str], *, thinks: bool | None, done: bool
) -> None:
    splitter = ThinkSplitter(thinks=thinks)
    for piece in pieces:
        splitter.feed(piece, [])
    assert splitter.is_done is done


def test_text_is_handed_on_as_it_comes() -> None:
    pieces = ["He", "llo", " <b>", "bold", "</b>"]
    assert split(*pieces) == [TextDelta(piece) for piece in pieces]
    assert split("Hello", " there", thinks=True) == [TextDelta("Hello"), TextDelta(" there")]


def test_text_is_held_back_only_while_it_may_be_a_tag() -> None:
    splitter, events = ThinkSplitter(thinks=True), list[StreamEvent]()
    splitter.feed("a </th", events)
    assert events == [TextDelta("a ")]
    splitter.feed("ing>", events)
    assert events == [TextDelta("a "), TextDelta("</thing>")]
    splitter.feed("</think>", events)
    assert events[2:] == [ReasoningImplied()]


@pytest.mark.parametrize("thinks", [True, False, None])
@pytest.mark.parametrize("text", ["<think>hm</think>Yes.", "hm</think>Yes.", "a <think> b"])
def test_where_the_server_separates_reasoning_tags_are_text(
    text: str, *, thinks: bool | None
) -> None:
    splitter, events = ThinkSplitter(thinks=thinks), list[StreamEvent]()
    splitter.separated()
    for character in text:
        splitter.feed(character, events)
    splitter.close(events)
    assert "".join(event.text for event in events) == text


@pytest.mark.parametrize("before", ["", "\n", " <thi", "a </thi"])
def test_the_server_may_separate_reasoning_after_the_first_text(before: str) -> None:
    splitter, events = ThinkSplitter(thinks=True), list[StreamEvent]()
    splitter.feed(before, events)
    splitter.separated()
    splitter.feed("nk>hm</think>", events)
    splitter.feed(".", events)
    splitter.close(events)
    assert "".join(event.text for event in events) == f"{before}nk>hm</think>."


def test_reasoning_that_has_begun_in_the_text_ends_in_the_text() -> None:
    splitter, events = ThinkSplitter(thinks=True), list[StreamEvent]()
    splitter.feed("<think>h", events)
    splitter.separated()
    splitter.feed("m</think>Yes.", events)
    assembler = Assembler()
    assembler.extend(events)
    assert (assembler.reasoning, assembler.text) == ("hm", "Yes.")


TAGS = st.sampled_from(
    ["<think>", "</think>", "<", "</", "think>", "\n", " ", "a", "é", "\U0001f980"]
)
TEXTS = st.lists(TAGS, max_size=8).map("".join)
WHOLE_TAGS = st.lists(st.sampled_from(["<think>", "</think>", " ", "\n", "a"]), max_size=8)


@settings(max_examples=300)
@given(TEXTS, st.lists(st.integers(0, 40), max_size=6), st.sampled_from([True, False, None]))
def test_where_the_text_is_cut_does_not_matter(
    text: str,
    cuts: list[int],
    thinks: bool | None,  # noqa: FBT001  drawn by hypothesis
) -> None:
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert fold(*pieces, thinks=thinks) == fold(text, thinks=thinks)
    assert fold(*text, thinks=thinks) == fold(text, thinks=thinks)


@settings(max_examples=200)
@given(WHOLE_TAGS.map("".join), st.sampled_from([True, False, None]))
def test_nothing_is_lost_but_tags_and_blanks_around_them(
    text: str,
    thinks: bool | None,  # noqa: FBT001  drawn by hypothesis
) -> None:
    reasoning, answer = fold(text, thinks=thinks)
    left = "".join((reasoning + answer).split())
    whole = "".join(text.split())
    assert left in {
        whole,
        whole.replace("<think>", "", 1),
        whole.replace("</think>", "", 1),
        whole.replace("<think>", "", 1).replace("</think>", "", 1),
    }
