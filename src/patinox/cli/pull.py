"""`patinox pull`: a download, with how far it is."""

from __future__ import annotations

import asyncio

from rich.cells import cell_len, set_cell_size

from patinox.cli.output import DONE, Output, Terminal
from patinox.cli.render import GAP, INDENT, duration, join, printable, size
from patinox.cli.session import Setup, open_local, place_of
from patinox.provider.lifecycle import GO_ON, PullProgress
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.types import ModelId

_STEPS = 10  # of a download that is told in lines
_BAR = 30  # columns at most
_LEAST_BAR = 8


async def pull(setup: Setup, out: Output, name: str) -> int:
    """Download a model, and show how far it is."""
    wanted = ModelId.parse(name)
    wanted = ModelId(wanted.name, wanted.provider_hint or setup.service)
    started = asyncio.get_running_loop().time()
    async with open_local(setup, out) as local:
        shown = ProgressLine(out.err) if out.err.live else ProgressLines(out)
        async with local.pull(wanted) as download:
            try:
                async for progress in download:
                    shown.show(progress)
            except asyncio.CancelledError:
                shown.end()
                out.remark(_stopped(local, download.progress))
                raise
            finally:
                shown.end()
        seconds = asyncio.get_running_loop().time() - started
        last = download.progress
        place = place_of(local, last.service)
    if out.as_json:
        out.document(
            {
                "model": wanted.name,
                "service": last.service,
                "status": last.status,
                "total_bytes": last.total_bytes,
                "seconds": seconds,
            }
        )
        return DONE
    told = None if last.total_bytes is None else size(last.total_bytes)
    line = join(f"{wanted.name} is on {place}", told, duration(seconds))
    out.lines([INDENT + printable(line)])
    return DONE


def _stopped(local: LocalProvider, progress: PullProgress) -> str:
    """Say what becomes of a download that nobody waits for any more."""
    known = local.discovery.known(progress.service) if progress.service else None
    if known is not None and known.provider.pulls_alone:
        return f"{known.info.label} goes on downloading; stop it in its window."
    return f"Stopped. {GO_ON}"


class ProgressLine:
    """One line on a terminal that is written over and over; then it is gone."""

    def __init__(self, terminal: Terminal) -> None:
        """Start with nothing on the terminal."""
        self._terminal = terminal
        self._shown = 0

    def show(self, progress: PullProgress) -> None:
        """Write the line anew."""
        line = progress_line(progress, self._terminal.canvas.width)
        self._terminal.write("\r" + line + " " * (self._shown - cell_len(line)), "dim")
        self._shown = cell_len(line)

    def end(self) -> None:
        """Wipe the line away."""
        if self._shown:
            self._terminal.write("\r" + " " * self._shown + "\r")
            self._shown = 0


class ProgressLines:
    """A line now and then, where lines cannot be written over: a new status, a tenth more."""

    def __init__(self, out: Output) -> None:
        """Start with nothing said."""
        self._out = out
        self._said = ""
        self._tenths = 0

    def show(self, progress: PullProgress) -> None:
        """Write a line if there is news."""
        # A layer's digest is no news.
        what = progress.status.partition(" ")[0] if progress.digest else progress.status
        tenths = int((progress.fraction or 0.0) * _STEPS)
        if (what != self._said or tenths > self._tenths) and not self._out.as_json:
            self._said, self._tenths = what, max(tenths, self._tenths)
            self._out.remark(progress_line(progress, None))

    def end(self) -> None:
        """There is nothing to wipe away."""


def progress_line(progress: PullProgress, width: int | None) -> str:
    """Say how far a download is, in less than a line.

    >>> progress_line(PullProgress(status="pulling a1b2c3", total_bytes=2 * 10**9,
    ...     completed_bytes=10**9, bytes_per_second=5e7, eta_seconds=20.0), None)
    'pulling a1b2c3  50 %  1.0 GB of 2.0 GB  50 MB/s  20 s left'
    """
    status, fraction = printable(progress.status), progress.fraction
    rate, left = progress.bytes_per_second, progress.eta_seconds
    if fraction is None:
        parts = [status]
    else:
        parts = [
            status,
            f"{fraction:.0%}".replace("%", " %"),
            f"{size(progress.completed_bytes)} of {size(progress.total_bytes)}",
            *([f"{size(round(rate))}/s"] if rate else ()),
            *([f"{duration(left)} left"] if left and left >= 1 else ()),
        ]
    if width is None:
        return GAP.join(parts)
    line = INDENT + GAP.join(parts)
    room = min(width - 1 - cell_len(line) - len(GAP), _BAR)
    if fraction is not None and room >= _LEAST_BAR:
        line = INDENT + GAP.join([status, bar(fraction, room), *parts[1:]])
    return set_cell_size(line, min(cell_len(line), width - 1))


def bar(fraction: float, columns: int) -> str:
    """Draw how much of something is there.

    >>> bar(0.25, 8)
    '━━──────'
    """
    full = round(fraction * columns)
    return "━" * full + "─" * (columns - full)
