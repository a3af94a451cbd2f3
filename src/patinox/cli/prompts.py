"""Where a prompt comes from: the command line, standard input, or both; and what goes with it."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from patinox.cli.output import Output, tolerate
from patinox.provider.errors import InvalidRequest
from patinox.provider.images import Image
from patinox.provider.schema import OutputSchema

# How long a prompt that is already there waits for the first byte of standard input, in seconds:
# a service manager may hand down a pipe in which nothing will ever come.
PATIENCE = 10.0
STDIN = "-"


def read_piped(stream: TextIO, out: Output, *, wait: bool) -> str | None:
    """Read standard input to its end; `None` if it is a terminal.

    Without `wait` a pipe that stays empty for `PATIENCE` seconds is let be, and that is said.
    """
    if stream.isatty():
        return None
    if not wait and not _has_input(stream):
        out.remark(f"Nothing came on standard input for {PATIENCE:g} s: going on without it.")
        return ""
    tolerate(stream)
    return stream.read()


def _has_input(stream: TextIO) -> bool:
    """Whether there is something to read, or the end."""
    if sys.platform == "win32":  # there, only sockets can be waited for
        return True
    try:
        return bool(select.select([stream], [], [], PATIENCE)[0])
    except (OSError, ValueError):  # it is no file
        return True


def join_prompt(words: Sequence[str], piped: str | None) -> str:
    """Make one prompt: the words, and below them what was piped in."""
    parts = (" ".join(words).strip(), (piped or "").strip("\n"))
    return "\n\n".join(part for part in parts if part.strip())


def read_images(paths: Iterable[Path | str]) -> tuple[Image, ...]:
    """Read pictures; raises `InvalidRequest`."""
    return tuple(Image.of(Path(path).expanduser()) for path in paths)


def read_schema(name: str, stream: TextIO) -> OutputSchema[Any]:
    """Read a JSON schema from a file, or from standard input where it is called `-`.

    Raises:
        InvalidRequest: it cannot be read, or is no JSON schema.
    """
    try:
        text = stream.read() if name == STDIN else Path(name).expanduser().read_text("utf-8")
        schema = msgspec.json.decode(text, type=dict[str, Any])
    except OSError as error:
        raise InvalidRequest(
            f"The JSON schema {name!r} cannot be read: {error.strerror}."
        ) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRequest(f"The JSON schema {name!r} is not JSON: {error}.") from error
    return OutputSchema.of(schema)
