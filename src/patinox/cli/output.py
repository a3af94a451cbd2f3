"""Where words go: results to stdout, remarks to stderr; with `--json` one document on stdout."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TextIO

import msgspec
from rich.console import Console

from patinox.cli.interrupt import run_stoppable
from patinox.cli.render import INDENT, Canvas, paint, printable, wrap
from patinox.provider.errors import (
    ConfigurationError,
    InvalidRequest,
    ProviderError,
    StructuredOutputError,
)
from patinox.provider.local.errors import (
    AllServicesFailed,
    LocalProviderError,
    ModelNotFound,
    ServiceNotFound,
    StreamInterrupted,
)

DONE, FAILED, USAGE, NOT_FOUND = range(4)
_INVISIBLE = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_PLAIN = str.maketrans({"·": "-", "━": "#", "─": "-"})  # for terminals that know ASCII only


def tolerate(stream: TextIO) -> None:
    """Let a character that a stream cannot hold be replaced: it is no reason to fail."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


class ReaderGone(Exception):
    """Whoever read the output has had enough: `patinox models | head -1`."""


class Terminal:
    """A stream for people: what it can show, and a way to write to it."""

    def __init__(self, stream: TextIO) -> None:
        """Look at what the stream is."""
        tolerate(stream)
        console = Console(file=stream)
        self.is_terminal = stream.isatty()
        self.live = self.is_terminal and not console.is_dumb_terminal and not console.legacy_windows
        self.canvas = Canvas(
            width=console.width if self.is_terminal else None,
            color=self.live and not console.no_color,
        )
        self.is_unicode = (stream.encoding or "").lower().startswith("utf")
        self._stream = stream

    def write(self, text: str, style: str = "") -> None:
        """Write a text that is safe to write, now."""
        text = text if self.is_unicode else text.translate(_PLAIN)
        try:
            self._stream.write(paint(text, style, self.canvas))
            self._stream.flush()
        except BrokenPipeError:
            raise ReaderGone from None

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line."""
        self.write(text, style)
        self.write("\n")

    def paragraph(self, text: str, style: str = "", *, indent: str = "") -> None:
        """Write what may take more than a line, broken between words."""
        for line in wrap(self.canvas, text, indent=indent):
            self.line(line, style)


class Output:
    """The two streams of a command, and in which of the two ways it speaks."""

    def __init__(self, *, as_json: bool = False) -> None:
        """Take the process's own streams."""
        self.as_json = as_json
        self.out = Terminal(sys.stdout)
        self.err = Terminal(sys.stderr)

    def lines(self, lines: Iterable[str]) -> None:
        """Write the result for people."""
        self.out.write("".join(f"{line}\n" for line in lines))

    def remark(self, text: str) -> None:
        """Say something beside the result."""
        self.err.paragraph(printable(text), "dim")

    def document(self, value: object) -> None:
        """Write the result for programs."""
        indent = 2 if self.out.is_terminal else None
        self.out.line(to_json(value, unicode=self.out.is_unicode, indent=indent))

    def failure(self, error: ProviderError) -> None:
        """Tell what happened, why, and what next."""
        if self.as_json:
            self.document(error_document(error))
            return
        first, *rest = failure_lines(error)
        self.err.paragraph(first, "red", indent=INDENT)
        for line in rest:
            self.err.paragraph(line, indent=INDENT)


def perform(out: Output, work: Callable[[], Coroutine[object, object, int]]) -> int:
    """Run one command in an event loop of its own and return its exit code."""
    try:
        with asyncio.Runner() as runner:
            return run_stoppable(runner, work())
    except ProviderError as error:
        out.failure(error)
        return exit_code(error)


def exit_code(error: ProviderError) -> int:
    """Choose the exit code that an error means."""
    if isinstance(error, ServiceNotFound | ModelNotFound):
        return NOT_FOUND
    # A request that no server has seen was wrong when it was written down.
    unsent = type(error) is InvalidRequest and error.service is None and error.status is None
    return USAGE if unsent or isinstance(error, ConfigurationError) else FAILED


def to_json(value: object, *, unicode: bool = True, indent: int | None = None) -> str:
    """Write a document: valid JSON without a character that could move a cursor."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=not unicode, indent=indent)
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_document(error: ProviderError) -> dict[str, dict[str, Any]]:
    """Write an error as a value of JSON."""
    document = _error(error) | {
        "hint": error.hint,
        "service": error.service,
        "status": error.status,
        "retryable": error.retryable,
        "retry_after": error.retry_after,
    }
    if isinstance(error, AllServicesFailed):
        document["attempts"] = {name: _error(each) for name, each in error.attempts.items()}
    if isinstance(error, ModelNotFound):
        document["nearest"] = list(error.nearest)
    if isinstance(error, StreamInterrupted):
        document["text"] = error.text
    if isinstance(error, StructuredOutputError):
        document["text"] = error.raw
    return {"error": document}


def _error(error: ProviderError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": error.message}


def failure_lines(error: ProviderError) -> list[str]:
    """Tell in a line what happened, in a line each why, and in a line what to do next."""
    what, why = error.what, list[str]()
    if isinstance(error, AllServicesFailed):
        what = f"All {len(error.attempts)} services failed."
        why = [f"{name}: {each.message}" for name, each in error.attempts.items()]
    elif isinstance(error, StreamInterrupted) and error.text:
        why = [f"{len(error.text):,} characters had arrived; they are above."]
    elif (cause := error.__cause__) and isinstance(cause, ProviderError):
        why = [cause.message] if cause.message not in what else []
    hint = error.hint
    if hint is None and isinstance(error, LocalProviderError):
        hint = "Next: patinox doctor"
    return [printable(line) for line in (what, *why, *([hint] if hint else ()))]
