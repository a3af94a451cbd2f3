"""An answer as it comes, on two streams: the text on stdout, everything about it on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size

from patinox.cli.output import Output, Terminal
from patinox.cli.render import count, duration, join, printable, speech, speed
from patinox.provider.types import (
    CompletionResponse,
    LoadProgress,
    ModelInfo,
    ReasoningDelta,
    ReasoningImplied,
    ResponseStarted,
    StreamEvent,
    TextDelta,
)

_AT_FIRST = 0.4  # seconds without a word: what comes sooner needs no excuse


class Waiting:
    """One line on a terminal that says what is waited for and how long; then it is gone."""

    def __init__(self, terminal: Terminal) -> None:
        """Start with nothing on the terminal."""
        self.what = ""
        self._terminal = terminal
        self._timer: asyncio.TimerHandle | None = None
        self._shown = 0

    @contextmanager
    def during(self, what: str) -> Generator[None]:
        """Show the line for as long as the block takes, or until `stop`."""
        self.what = what
        if self._terminal.live:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_AT_FIRST, self._tick, loop, loop.time())
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Wipe the line away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shown:
            self._terminal.write("\r" + " " * self._shown + "\r")
            self._shown = 0

    def _tick(self, loop: asyncio.AbstractEventLoop, since: float) -> None:
        seconds = int(loop.time() - since)
        line = waiting_line(self.what, seconds, self._terminal.canvas.width)
        self._terminal.write("\r" + line.ljust(self._shown), "dim")
        self._shown = max(self._shown, cell_len(line))
        self._timer = loop.call_at(since + seconds + 1, self._tick, loop, since)


class Screen:
    """Writes one answer."""

    def __init__(self, out: Output, *, think: bool) -> None:
        """Begin an answer; `think` shows what the model thinks before it, dimmed on stderr."""
        self.text = ""
        self.waiting = Waiting(out.err)
        self._out = out
        self._think = think
        self._ends: dict[Terminal, str] = {}  # the last that was written to each stream

    def show(self, event: StreamEvent) -> None:
        """Write what an event adds."""
        if isinstance(event, LoadProgress):
            self.waiting.what = loading(event)
        elif isinstance(event, ResponseStarted):
            self.waiting.what = f"waiting for {event.model}"
        elif isinstance(event, ReasoningImplied):
            self._end(self._out.out)
            self.text = ""
            self._out.remark("All of this was reasoning; the answer:")
        elif isinstance(event, ReasoningDelta):
            self.waiting.what = "thinking"
            if self._think:
                self._write(self._out.err, event.reasoning, "dim")
        elif isinstance(event, TextDelta):
            self.end_reasoning()
            self.text += event.content
            self._write(self._out.out, event.content)

    def end_reasoning(self) -> None:
        """Set what was thought apart from what is said."""
        if self._end(self._out.err):
            self._out.err.line()

    def end(self) -> None:
        """Finish the lines that are still open."""
        self.waiting.stop()
        self._end(self._out.err)
        self._end(self._out.out)

    def _write(self, terminal: Terminal, text: str, style: str = "") -> None:
        self.waiting.stop()
        if text := speech(text):
            terminal.write(text, style)
            self._ends[terminal] = text[-1]

    def _end(self, terminal: Terminal) -> bool:
        last = self._ends.pop(terminal, "")
        if last not in ("", "\n"):
            terminal.line()
        return bool(last)


def waiting_line(what: str, seconds: int, width: int | None) -> str:
    """Say what is waited for and how long, in less than a line.

    >>> waiting_line("loading qwen3:4b", 3, 40)
    'loading qwen3:4b ... 3 s'
    >>> waiting_line("loading qwen3:4b", 3, 20)
    'loading qwe ... 3 s'
    """
    text, end = printable(what), " ..." + (f" {seconds} s" if seconds else "")
    if width is not None and cell_len(text) + len(end) >= width:
        text = set_cell_size(text, max(width - len(end) - 1, 0))
    return text + end


def waiting_for(info: ModelInfo) -> str:
    """Say what a request has to wait for."""
    return f"loading {info.id}" if info.loaded is False else f"waiting for {info.id}"


def loading(progress: LoadProgress) -> str:
    """Say how far a model is loaded.

    >>> loading(LoadProgress(model="qwen3:4b", fraction=0.65))
    'loading qwen3:4b, 65 %'
    """
    told = "" if progress.fraction is None else f", {progress.fraction * 100:.0f} %"
    return f"loading {progress.model}{told}"


def summary(response: CompletionResponse, model: str, place: str) -> str:
    """Write the quiet line at the end: who answered, how much, how fast.

    What is not known is left out.
    """
    used, times = response.usage.completion_tokens, response.timings
    return join(
        f"{model} on {place}",
        None if used is None else count(used, "token"),
        None if times.tokens_per_second is None else speed(times.tokens_per_second),
        None
        if times.time_to_first_token is None
        else f"first token {duration(times.time_to_first_token)}",
        "cut off at the limit of tokens" if response.finish_reason == "length" else None,
    )
