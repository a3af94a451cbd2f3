"""The command line `patinox`; it comes with the extra `patinox[cli]`."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from patinox._version import __version__

_NEEDED = ("typer", "rich")
_DONE = 0
_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: the console script `patinox`.

    Args:
        argv: the arguments without the program's name; `None` for the process's own.

    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        _replace_closed_streams()
        return _run(arguments)
    except BrokenPipeError:  # whoever read it has enough
        _silence(sys.stdout, sys.stderr)
        return _DONE
    except KeyboardInterrupt:  # before there was a loop that it could stop
        return _INTERRUPTED
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        return _unwritten(error)


def _run(arguments: Sequence[str]) -> int:
    if arguments == ["--version"]:  # answered before anything heavy is imported
        print(f"patinox {__version__}", flush=True)
        return _DONE
    try:
        from patinox.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(
            f'The command line needs {error.name}: pip install "patinox[cli]"',
            file=sys.stderr,
        )
        return _USAGE
    return run(arguments)


def _replace_closed_streams() -> None:
    """Put the null device where whoever started this left nothing: `patinox <&- >&-`."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _silence(*streams: TextIO) -> None:
    """Point closed pipes at nothing: Python writes to them once more when it ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _unwritten(error: OSError) -> int:
    """Say that the output could not be written, and drop what is left of it."""
    _silence(sys.stdout)
    try:
        print(f"The output cannot be written: {error.strerror}.", file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
    return _FAILED
