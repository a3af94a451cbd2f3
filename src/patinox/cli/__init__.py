"""The command line `patinox`; it comes with the extra `patinox[cli]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from patinox._version import __version__

_NEEDED = ("typer", "rich")
_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: the console script `patinox`.

    Args:
        argv: the arguments without the program's name; `None` for the process's own.

    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments == ["--version"]:  # answered before anything heavy is imported
        print(f"patinox {__version__}")
        return 0
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
