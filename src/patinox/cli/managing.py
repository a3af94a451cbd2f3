"""The commands that get, load and remove models; what each does is imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from patinox.cli.options import Config, Json, Service
from patinox.cli.output import Output, perform
from patinox.cli.session import Setup

Named = Annotated[str, typer.Argument(metavar="MODEL", hidden=True)]


def ps(*, service: Service = None, config: Config = None, as_json: Json = False) -> int:
    """Show what is in memory, how much it takes, and for how long."""
    from patinox.cli.manage import ps as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out))


def pull(
    model: Named, *, service: Service = None, config: Config = None, as_json: Json = False
) -> int:
    """Download a model; Ctrl-C stops, and the same command goes on."""
    from patinox.cli.pull import pull as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out, model))


def load(
    model: Named,
    *,
    num_ctx: Annotated[
        int | None,
        typer.Option(
            "--num-ctx",
            min=1,
            metavar="NUMBER",
            help="Length of the context, in tokens; with less it is loaded anew.",
        ),
    ] = None,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            "--keep-alive", metavar="TIME", help="How long it stays unused: 10m, 2h, forever."
        ),
    ] = None,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Have a model in memory, and tell with which context."""
    from patinox.cli.manage import load as work

    out = Output(as_json=as_json)
    return perform(
        out,
        lambda: work(Setup(service, config), out, model, num_ctx=num_ctx, keep_alive=keep_alive),
    )


def unload(
    model: Named, *, service: Service = None, config: Config = None, as_json: Json = False
) -> int:
    """Take a model out of memory."""
    from patinox.cli.manage import unload as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out, model))


def cp(
    source: Annotated[str, typer.Argument(metavar="MODEL", hidden=True)],
    destination: Annotated[str, typer.Argument(metavar="NAME", hidden=True)],
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Even if a model has that name already.")
    ] = False,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Give a model a second name on its service."""
    from patinox.cli.manage import cp as work

    out = Output(as_json=as_json)
    return perform(
        out, lambda: work(Setup(service, config), out, source, destination, overwrite=overwrite)
    )


def rm(
    model: Named,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Delete a model from the disk, after asking."""
    from patinox.cli.remove import rm as work

    return work(Setup(service, config), Output(as_json=as_json), model, yes=yes)


COMMANDS = (ps, pull, load, unload, cp, rm)
