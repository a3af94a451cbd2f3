"""`patinox rm`: a model deleted from the disk, which is asked about first."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from patinox.cli.interrupt import run_stoppable
from patinox.cli.output import DONE, FAILED, Output, exit_code
from patinox.cli.render import INDENT, join, printable, size
from patinox.cli.session import Chosen, Setup, find_model, open_local, place_of
from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.lifecycle import Operation
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.lookup import ModelLookup


def rm(setup: Setup, out: Output, name: str, *, yes: bool) -> int:
    """Delete a model, after asking."""
    stack = AsyncExitStack()
    # The person may take long to answer, so the loop is entered before and after.
    with asyncio.Runner() as runner:
        try:
            local = run_stoppable(runner, stack.enter_async_context(open_local(setup, out)))
            chosen = run_stoppable(runner, _to_delete(local, setup, name))
            if not yes and not _confirmed(out, local, chosen):
                out.remark("Nothing was deleted.")
                return FAILED
            return run_stoppable(runner, _delete(local, out, chosen))
        except ProviderError as error:
            out.failure(error)
            return exit_code(error)
        finally:
            runner.run(stack.aclose())


async def _to_delete(local: LocalProvider, setup: Setup, name: str) -> Chosen:
    """Find the model; raises where it could not be deleted, or where another could be meant."""
    chosen = await find_model(local, name, setup)
    await ModelLookup(local.discovery).refuse_several(chosen.wanted)
    refusal = await local.discovery.provider(chosen.info.service).refused(Operation.DELETE)
    if refusal is not None:
        raise refusal
    return chosen


def _confirmed(out: Output, local: LocalProvider, chosen: Chosen) -> bool:
    """Ask the person; raises `InvalidRequest` where nobody could be asked."""
    if out.as_json or not sys.stdin.isatty():
        raise InvalidRequest("Nobody can be asked whether to delete it.", hint="Say so: --yes")
    info = chosen.info
    what = join(
        f"{info.id} on {place_of(local, info.service)}",
        None if info.size_bytes is None else size(info.size_bytes),
    )
    out.err.write(f"{INDENT}Delete {printable(what)}? [y/N] ")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _delete(local: LocalProvider, out: Output, chosen: Chosen) -> int:
    info = chosen.info
    await local.delete(info.model_id)
    if out.as_json:
        out.document({"model": info.id, "service": info.service, "deleted": True})
    else:
        place = place_of(local, info.service)
        out.lines([INDENT + printable(f"{info.id} is deleted from {place}.")])
    return DONE
