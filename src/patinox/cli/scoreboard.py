"""What `patinox bench` shows: a table that grows while it measures, and what is said in the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from patinox.cli.figures import CLIENT, STOPPED, Result, Spread
from patinox.cli.output import Output
from patinox.cli.render import (
    NOTHING,
    Canvas,
    Cell,
    blocks,
    duration,
    join,
    number,
    printable,
    speed,
    table,
    wrap,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_CLIENT_MARK = "~"
_PAUSE = 0.1  # seconds between two drawings


class Scoreboard:
    """Shows on stderr what is measured: a table that grows, or a line for each model."""

    def __init__(self, out: Output, *, requests: int, at_once: int) -> None:
        """Show nothing yet, of so many requests altogether and up to so many at once."""
        self._out = out
        self._at_once = at_once
        self._live: Live | None = None
        self._rows = dict[str, tuple[Result, str]]()
        self._asked = 0
        self._drawn = 0.0
        self._all = requests

    @contextmanager
    def shown(self) -> Generator[None]:
        """Keep the table on a terminal until the block is left."""
        if not self._out.err.live:
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr)
        with Live(console=console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def show(self, result: Result, doing: str) -> None:
        """Show how far a model is."""
        self._rows[_key(result)] = (result, doing)
        self._refresh(now=True)

    def step(self) -> None:
        """Count a request."""
        self._asked += 1
        self._refresh()

    def done(self, result: Result) -> None:
        """Show that a model is done."""
        self.show(result, "failed" if result.error else "done")
        if self._live is None:
            self._out.remark(_in_a_line(result))

    def _refresh(self, *, now: bool = False) -> None:
        """Draw anew, but not so often that it takes time from what is measured."""
        time = asyncio.get_running_loop().time()
        if self._live is not None and (now or time - self._drawn > _PAUSE):
            self._live.update(self._picture(), refresh=True)
            self._drawn = time

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for header in (*HEADERS, f"{self._at_once} AT ONCE", ""):
            rows.add_column(header)
        for result, doing in self._rows.values():
            cells = _cells(result, [self._at_once])
            rows.add_row(*(Text(cell) for cell in (*cells, doing)))
        said = Text(f"  {self._asked} of {self._all} requests", style="dim")
        return Group(rows, ProgressBar(self._all, self._asked, width=40), said)


# What is said in the end.

_LEGEND = (
    "FIRST is the time to the first token; READS and WRITES are tokens per second of the prompt and"
    " of the answer, each by itself, one request at a time; AT ONCE is tokens per second of all"
    " answers together from the first request to the last word, the reading of the prompts"
    " included, so for one it is less than WRITES. Medians; ~ is measured here, not by the server."
)
HEADERS = ("MODEL", "SERVICE", "LOAD", "FIRST", "READS", "WRITES")


def report(canvas: Canvas, results: Sequence[Result], at_once: int) -> list[str]:
    """Lay out what was measured, with up to `at_once` requests at once."""
    shown = [each for each in results if each.measured]
    lines = _table(canvas, shown, at_once) if shown else []
    failed = [f"{_ending(each)} {each.error}" for each in results if each.error]
    warned = [f"{_key(each)}: {warning}" for each in results for warning in each.warnings]
    notes = (*failed, *warned, *((_LEGEND,) if shown else ()))
    return [*lines, *(line for each in notes for line in ("", *wrap(canvas, printable(each))))]


def _table(canvas: Canvas, results: Sequence[Result], at_once: int) -> list[str]:
    """Lay out the results: also one at once beside the most if there is room for it."""
    most, both = [at_once], sorted({1, at_once})
    for counts, folding in ((both, -1), (most, 0)):
        rows = [[Cell(text) for text in _cells(each, counts)] for each in results]
        if lines := table(canvas, _headers(counts), rows, folding=folding):
            return lines
    return blocks(canvas, (_block(_cells(each, both), _headers(both)) for each in results))


def _headers(counts: Sequence[int]) -> list[str]:
    return [*HEADERS, *(f"{count} AT ONCE" for count in counts)]


def _block(row: Sequence[str], headers: Sequence[str]) -> tuple[Cell, list[str]]:
    model, *cells = row
    told = zip(headers[1:], cells, strict=True)
    return Cell(model, "bold"), [join(*(f"{name.lower()} {cell}" for name, cell in told))]


def _key(result: Result) -> str:
    return f"{result.subject.service}::{result.subject.model}"


def _cells(result: Result, counts: Sequence[int]) -> list[str]:
    together = {level.at_once: level.tokens_per_second for level in result.levels}
    return [
        printable(result.subject.model),
        printable(result.subject.service),
        NOTHING if result.load_seconds is None else duration(result.load_seconds),
        duration(first.median) if (first := result.first_token_seconds) else NOTHING,
        _rate(result.prompt_tokens_per_second),
        _rate(result.answer_tokens_per_second),
        *(number(rate.median) if (rate := together.get(count)) else NOTHING for count in counts),
    ]


def _rate(spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    return (_CLIENT_MARK if spread.measured_by == CLIENT else "") + number(spread.median)


def _ending(result: Result) -> str:
    """Say that a model failed, or was stopped; why stands below the table."""
    return f"{_key(result)} {'ended early' if result.error == STOPPED else 'failed'}."


def _in_a_line(result: Result) -> str:
    if result.error is not None:
        return _ending(result)
    first, answer = result.first_token_seconds, result.answer_tokens_per_second
    return join(
        _key(result),
        f"first token {duration(first.median)}" if first else None,
        speed(answer.median) if answer else None,
    )
