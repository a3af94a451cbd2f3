"""Reasoning inside the text: found at the start, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.local.wire.thinking import TAGS, ThinkingSplitter


def split(parts: list[str]) -> tuple[str, str]:
    splitter = ThinkingSplitter()
    pieces = [piece for part in parts for piece in splitter.feed(part)] + splitter.close()
    assert all(piece.text for piece in pieces)
    reasoning = "".join(piece.text for piece in pieces if piece.reasoning)
    return reasoning, "".join(piece.text for piece in pieces if not piece.reasoning)


TABLE = [
    ("<think>a</think>b", "a", "b"),
    ("  \n<think>\nwhy\n</think>\n\nbecause", "why\n", "because"),
    ("[THINK]a[/THINK] b", "a", "b"),
    ("plain", "", "plain"),
    ("", "", ""),
    ("  indented", "", "  indented"),
    ("a <think>b</think>", "", "a <think>b</think>"),
    ("<thin air", "", "<thin air"),
    ("<thin", "", "<thin"),
    ("<think>never closed", "never closed", ""),
    ("<think>a</thi", "a</thi", ""),
    ("<think>a</think>", "a", ""),
    ("<think>a</think>  \n", "a", ""),
    ("<think></think>b", "", "b"),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    ("<think>a [/THINK] b</think>c", "a [/THINK] b", "c"),
]


@pytest.mark.parametrize(("text", "reasoning", "answer"), TABLE)
def test_reasoning_at_the_start_is_taken_out(text: str, reasoning: str, answer: str) -> None:
    assert split([text]) == (reasoning, answer)


@pytest.mark.parametrize("text", [row[0] for row in TABLE])
def test_where_the_text_is_cut_does_not_matter(text: str) -> None:
    whole = split([text])
    assert split(list(text)) == whole
    for cut in range(len(text) + 1):
        assert split([text[:cut], text[cut:]]) == whole


@given(st.lists(st.sampled_from(["<th", "ink>", "</think>", "</", "[THINK]", " ", "\n", "a", "<"])))
def test_any_pieces_give_the_same_as_their_whole(parts: list[str]) -> None:
    assert split(parts) == split(["".join(parts)])


@given(st.text(alphabet="<>/[]thinkTHINK \n"))
def test_nothing_is_lost_but_tags_and_blanks(text: str) -> None:
    reasoning, answer = split([text])
    left = text
    for opening, closing in TAGS:
        if text.lstrip().startswith(opening):
            left = text.replace(opening, "", 1).replace(closing, "", 1)
    assert "".join((reasoning + answer).split()) == "".join(left.split())


def test_text_is_handed_on_at_once_after_the_reasoning() -> None:
    splitter = ThinkingSplitter()
    assert [piece.text for piece in splitter.feed("<think>a</think>b")] == ["a", "b"]
    assert [piece.text for piece in splitter.feed("<")] == ["<"]
