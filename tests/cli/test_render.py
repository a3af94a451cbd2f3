import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.cli import render
from patinox.cli.render import Canvas, Cell, blocks, join, paint, printable, speech, table, wrap

EVIL = "a\x1b[2J\x07\x9b31mb\u202ec\u2066\r\n\ud800"
COLUMNS = Canvas(width=40, color=False)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(render).failed == 0


@given(st.text())
def test_a_name_is_one_line_of_characters_that_can_be_seen(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text())
def test_an_answer_keeps_no_control_character_but_line_feed_and_tab(text: str) -> None:
    rest = speech(text).replace("\n", "").replace("\t", "")
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in rest)
    assert not set(rest) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_what_is_dangerous_is_shown_and_the_rest_is_kept() -> None:
    assert printable(EVIL) == r"a\x1b[2J\x07\x9b31mb\u202ec\u2066\r\n\ud800"
    assert speech("né\t漢字 👩‍💻\n") == "né\t漢字 👩‍💻\n"


def test_a_table_has_columns_as_wide_as_their_widest_text() -> None:
    rows = [[Cell("a"), Cell("漢字")], [Cell("bbb"), Cell("-")]]
    assert table(Canvas(), ("X", "Y"), rows) == ["  X    Y", "  a    漢字", "  bbb  -"]


def test_a_table_that_does_not_fit_is_none() -> None:
    assert table(COLUMNS, ("X",), [[Cell("x" * 39)]]) is None
    assert table(COLUMNS, ("X",), [[Cell("x" * 38)]]) is not None


def test_a_column_that_may_fold_makes_the_table_fit() -> None:
    rows = [
        [Cell("name" * 5), Cell("b")],
        [Cell("some words to be broken between them"), Cell("")],
        [Cell("漢字 " * 10), Cell("")],
    ]
    lines = table(COLUMNS, (), rows, folding=0)
    assert lines
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].split() == ["name" * 5, "b"]
    assert lines[1:3] == ["  some words to be broken between", "  them"]
    assert lines[3:] == ["  " + " ".join(["漢字"] * 7), "  " + " ".join(["漢字"] * 3)]


def test_a_name_is_not_broken_for_a_column() -> None:
    rows = [[Cell("text-embedding-nomic-embed-text-v1.5"), Cell("bbb")]]
    assert table(COLUMNS, (), rows, folding=0) is None


def test_a_column_does_not_fold_below_what_can_be_read() -> None:
    assert table(COLUMNS, (), [[Cell("n" * 40), Cell("b" * 30)]], folding=0) is None


def test_a_text_among_the_rows_stands_across_all_columns() -> None:
    rows: list[list[Cell] | str] = [[Cell("a")], "", "over all of them"]
    assert table(Canvas(), (), rows) == ["  a", "", "  over all of them"]


def test_blocks_fit_into_few_columns() -> None:
    lines = blocks(Canvas(width=20), [(Cell("title"), ["one two three four five", "x" * 30])])
    assert lines[0] == "  title"
    assert all(len(line) <= 20 for line in lines)
    assert "".join(lines[-2:]).replace(" ", "") == "x" * 30


@pytest.mark.parametrize(("color", "expected"), [(True, "\x1b[31mx\x1b[0m"), (False, "x")])
def test_a_look_is_for_canvases_with_colours(*, color: bool, expected: str) -> None:
    assert paint("x", "red", Canvas(color=color)) == expected
    assert paint("", "red", Canvas(color=True)) == ""


def test_nothing_is_broken_where_there_is_no_limit() -> None:
    assert wrap(Canvas(), "word " * 100) == ["  " + "word " * 100]


def test_a_line_is_joined_of_what_there_is() -> None:
    assert join("a", None, "", "b") == "a · b"
