"""The picture of `patinox bench --plot`, drawn by matplotlib of the extra `patinox[bench]`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from patinox.cli.figures import Result, Spread
from patinox.cli.render import number, printable
from patinox.provider.errors import ConfigurationError, InvalidRequest

Axes: TypeAlias = Any  # matplotlib tells its types in part
Figure: TypeAlias = Any
FORMATS = (".png", ".svg")
# Told apart by people who see colours differently too (after Okabe and Ito).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
INK, FAINT, GRID = "#333333", "#777777", "#DDDDDD"
_LONGEST_NAME = 34
_INCHES = 10.0


def check_plot(file: Path) -> None:
    """Refuse a picture that could not be made, before anything is measured.

    Raises:
        InvalidRequest: the name ends otherwise than in `.png` or `.svg`, its folder is missing, or
            it cannot be written.
        ConfigurationError: matplotlib is not installed.
    """
    if file.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"`--plot` is {str(file)!r}; allowed: a name in .png or .svg.")
    if not file.parent.is_dir():
        raise InvalidRequest(f"The folder of `--plot` {str(file)!r} does not exist.")
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "The picture needs matplotlib, which is not installed.",
            hint='pip install "patinox[bench]"',
        ) from error
    _try(file.resolve())


def _try(file: Path) -> None:
    """Open the file as it will be, and leave it, or leave it out, as it was."""
    new = not file.exists()
    try:
        with file.open("ab"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        said = f"`--plot` {str(file)!r} cannot be written: {error.strerror}."
        raise InvalidRequest(said) from error


def draw(results: Sequence[Result], file: Path, *, note: str) -> None:
    """Draw what was measured into a file; `note` stands below."""
    picture(results, note=note).savefig(file, dpi=150)


def picture(results: Sequence[Result], *, note: str) -> Figure:
    """Draw what was measured; `note` stands below."""
    results = [each for each in results if each.measured]
    sweep = any(len(each.levels) > 1 for each in results)
    heights = [max(len(results), 2) * 0.5 + 1.0, *([3.2] if sweep else [])]
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(_INCHES, sum(heights) + 0.6), facecolor="white", layout="constrained"
    )
    figure.get_layout_engine().set(wspace=0.06, hspace=0.08)
    grid = figure.add_gridspec(len(heights), 3, height_ratios=heights)
    panels = [figure.add_subplot(grid[0, column]) for column in range(3)]
    _first_tokens(panels[0], results)
    _bars(panels[1], [each.prompt_tokens_per_second for each in results])
    _title(panels[1], "Reading the prompt", "tokens per second, more is better")
    _bars(panels[2], [each.answer_tokens_per_second for each in results])
    _title(panels[2], "Writing the answer", "tokens per second, more is better")
    panels[0].set_yticks(range(len(results)), [_name(each) for each in results], color=INK)
    for panel in panels[1:]:
        panel.set_yticks([])
    if sweep:
        _lines(figure.add_subplot(grid[1, :2]), figure.add_subplot(grid[1, 2]), results)
    figure.supxlabel(note, color=FAINT, fontsize=8)
    return figure


def _first_tokens(axes: Axes, results: Sequence[Result]) -> None:
    """Draw times in the unit that suits the longest."""
    spreads = [each.first_token_seconds for each in results]
    short = all(each is None or each.most < 1 for each in spreads)
    scale, unit = (1000.0, "milliseconds") if short else (1.0, "seconds")
    _bars(axes, spreads, scale=scale)
    _title(axes, "Time to first token", f"{unit}, less is better")


def _bars(axes: Axes, spreads: Sequence[Spread | None], *, scale: float = 1.0) -> None:
    """Draw a bar for each, with a line from the least to the most and the median beside it."""
    most = max((each.most * scale for each in spreads if each), default=1.0) or 1.0
    for row, spread in enumerate(spreads):
        if spread is None:
            axes.text(most * 0.02, row, "not told", va="center", color=FAINT, fontsize=9)
            continue
        least, middle, longest = (
            value * scale for value in (spread.least, spread.median, spread.most)
        )
        axes.barh(row, middle, height=0.62, color=COLORS[row % len(COLORS)])
        axes.plot([least, longest], [row, row], color=INK, linewidth=1.2)
        axes.text(longest + most * 0.03, row, number(middle), va="center", color=INK, fontsize=9)
    axes.set_ylim(len(spreads) - 0.4, -0.6)
    axes.set_xlim(0, most * 1.3)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    _plain(axes)


def _lines(axes: Axes, beside: Axes, results: Sequence[Result]) -> None:
    """Draw the speed of all answers together over how many there are, and the legend beside it."""
    counts = sorted({level.at_once for each in results for level in each.levels})
    most = 0.0
    for row, each in enumerate(results):
        rates = [(one.at_once, one.tokens_per_second) for one in each.levels]
        points = [(count, rate.median) for count, rate in rates if rate is not None]
        most = max(most, *(rate for _, rate in points), 0.0)
        axes.plot(
            [count for count, _ in points],
            [rate for _, rate in points],
            marker="o",
            markersize=5,
            linewidth=1.8,
            color=COLORS[row % len(COLORS)],
            label=_name(each).replace("\n", ", "),
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0, most * 1.08 or 1.0)  # a mark at the top is whole
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlabel("requests at once", fontsize=9, color=INK)
    _title(axes, "Several at once", "tokens per second of all answers together, more is better")
    _plain(axes)
    beside.axis("off")
    beside.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="upper left")


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(f"{title}\n", loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.text(0, 1.02, unit, transform=axes.transAxes, va="bottom", fontsize=8.5, color=FAINT)


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def _name(result: Result) -> str:
    model = printable(result.subject.model)
    if len(model) > _LONGEST_NAME:
        model = f"{model[: _LONGEST_NAME - 1]}…"
    # A dollar sign would begin a formula.
    return f"{model}\n{printable(result.subject.service)}".replace("$", r"\$")
