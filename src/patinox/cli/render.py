"""Words for people: escaped, in units, and laid out for the width there is. No I/O."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

INDENT = "  "
GAP = "  "
NOTHING = "-"
NARROWEST = 20  # columns that a column which may be folded keeps
_KIBI = 1024
_MINUTE = 60
# Controls but for line feed and tab, line separators, and what turns the direction of writing.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f"
    "\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Canvas(NamedTuple):
    """What is written on: how many columns it has, `None` for no limit, and whether colours."""

    width: int | None = None
    color: bool = False


class Cell(NamedTuple):
    """A text that is safe to write, and how it looks."""

    text: str
    style: str = ""


# Escaping.


def printable(text: str) -> str:
    r"""Make a name or a message safe for a terminal: one line, and nothing that cannot be seen.

    >>> print(printable("evil\x1b[2J\nname"))
    evil\x1b[2J\nname
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def speech(text: str) -> str:
    r"""Make an answer safe for a terminal: it keeps its lines and tabs.

    >>> print(speech("a\r\nb\x1b[31m"))
    a
    b\x1b[31m
    """
    return _UNSAFE.sub(lambda found: _escaped(found[0]), text.replace("\r", ""))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


# Numbers.


def count(number: int, noun: str) -> str:
    """Count things.

    >>> count(1, "model"), count(1200, "model")
    ('1 model', '1,200 models')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tokens(number: int | None) -> str:
    """Write a length of context; k is 1,024.

    >>> tokens(262_144), tokens(2**20), tokens(200_000), tokens(None)
    ('256k', '1M', '200,000', '-')
    """
    if number is None:
        return NOTHING
    for unit, name in ((_KIBI**2, "M"), (_KIBI, "k")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{name}"
    return f"{number:,}"


def size(number: int | None) -> str:
    """Write a size in bytes; units are powers of 1,000.

    >>> size(2_620_788_019), size(274_302_450), size(384), size(None)
    ('2.6 GB', '274 MB', '384 B', '-')
    """
    return NOTHING if number is None else _scaled(number, ("B", "kB", "MB", "GB", "TB"), " ")


def parameters(number: int) -> str:
    """Write a number of parameters.

    >>> parameters(4_000_000_000), parameters(137_000_000)
    ('4.0B', '137M')
    """
    return _scaled(number, ("", "k", "M", "B", "T"), "")


def _scaled(number: float, units: Sequence[str], gap: str) -> str:
    power = 0
    while number >= 999.5 and power < len(units) - 1:  # noqa: PLR2004  it would be written as 1000
        number, power = number / 1000, power + 1
    digits = 1 if power and number < 9.95 else 0  # noqa: PLR2004  it would be written as 10.0
    return f"{number:.{digits}f}{gap}{units[power]}".strip()


def duration(seconds: float) -> str:
    """Write a time.

    >>> duration(0.0002), duration(0.004), duration(0.42), duration(12.3), duration(125)
    ('<1 ms', '4 ms', '0.4 s', '12 s', '2 min 5 s')
    """
    if seconds < 0.0005:  # noqa: PLR2004  it would be written as 0 ms
        return "<1 ms"
    if seconds < 0.0995:  # noqa: PLR2004  it would be written as 100 ms
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004  it would be written as 10.0 s
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def speed(rate: float) -> str:
    """Write tokens per second.

    >>> speed(38.2), speed(3.14)
    ('38 tokens/s', '3.1 tokens/s')
    """
    return f"{rate:.{1 if rate < 9.95 else 0}f} tokens/s"  # noqa: PLR2004  else as 10.0


def number(value: float) -> str:
    """Write a number with as many digits as say something.

    >>> number(0.0123), number(0.41), number(7.26), number(38.2), number(1234.5)
    ('0.012', '0.41', '7.3', '38', '1,234')
    """
    if value < 1:
        return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"  # noqa: PLR2004  two that say
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"  # noqa: PLR2004  something


# Layout.


def paint(text: str, style: str, canvas: Canvas) -> str:
    """Give a text its look, where there are colours."""
    if not (style and text and canvas.color):
        return text
    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def table(
    canvas: Canvas,
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell] | str],
    *,
    folding: int = -1,
) -> list[str] | None:
    """Lay out rows in columns; `None` if they do not fit.

    A row that is a text stands across all columns. The column `folding` may become narrower, down
    to `NARROWEST` and its longest word; its texts then take more lines.
    """
    head = [[Cell(header, "dim") for header in headers]] if headers else []
    every = [*head, *rows]
    columns = [*zip(*(row for row in every if not isinstance(row, str)), strict=True)]
    widths = [max(cell_len(cell.text) for cell in column) for column in columns]
    total = len(INDENT) + sum(widths) + len(GAP) * (len(widths) - 1)
    if canvas.width is not None and total > canvas.width:
        if folding < 0:
            return None
        widths[folding] -= total - canvas.width
        words = (word for cell in columns[folding] for word in cell.text.split(" "))
        if widths[folding] < max(NARROWEST, *map(cell_len, words)):
            return None
    return [
        line
        for row in every
        for line in (wrap(canvas, row) if isinstance(row, str) else _lines(row, widths, canvas))
    ]


def _lines(row: Sequence[Cell], widths: Sequence[int], canvas: Canvas) -> Iterator[str]:
    columns = [_fold(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    for texts in zip_longest(*columns, fillvalue=""):
        cells = (
            paint(text, cell.style, canvas) + " " * (width - cell_len(text))
            for text, cell, width in zip(texts, row, widths, strict=True)
        )
        yield (INDENT + GAP.join(cells)).rstrip()


def _fold(text: str, width: int) -> list[str]:
    """Break a text of one column into lines, between words: none of them is wider."""
    if cell_len(text) <= width:
        return [text]
    first, *words = text.split()
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def blocks(canvas: Canvas, entries: Iterable[tuple[Cell, Sequence[str]]]) -> list[str]:
    """Lay out what has no room for columns: a title, and below it a line for each detail."""
    lines = list[str]()
    for title, details in entries:
        lines += [paint(line, title.style, canvas) for line in wrap(canvas, title.text)]
        for detail in details:
            lines += wrap(canvas, detail, indent=INDENT * 2)
    return lines


def wrap(canvas: Canvas, text: str, *, indent: str = INDENT) -> list[str]:
    """Break a paragraph into lines that fit."""
    if canvas.width is None or not text:
        return [indent + text] if text else [""]
    return textwrap.wrap(
        text,
        max(canvas.width, len(indent) + 1),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def join(*parts: str | None) -> str:
    """Join what there is, as one quiet line."""
    return " · ".join(part for part in parts if part)
