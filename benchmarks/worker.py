"""One client under measurement, in a process and an environment of its own.

`worker.py MODULE STYLE PORT...` makes the client, says how much memory it takes after one chat, and
then does blocks of work: a JSON object a line comes in, its times go out. Only the standard library
is used here, so that what is measured is the client's.

A client has `start()`, `chat(model)`, which gives the answer's text, `stream(model, see)`, which
shows each piece, and `embed(model, texts, form)`, which gives vectors of numbers, `form` being
`float` or `base64`. `decodes` says that it reads what it gets, `blocking` that its calls block.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (" the", " moon", " pulls", " water", " up,", " twice", " a", " day.")
TEXTS = [f"text number {number} to be turned into a vector" for number in range(32)]
NUMBERS = 32 * 768


def memory() -> int:
    """Resident memory of this process, in kB."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def expected(pieces: int) -> str:
    """What the stub says in so many pieces."""
    return "".join(WORDS[number % len(WORDS)] for number in range(pieces))


class Work:
    """One kind of call and the check of its outcome."""

    def __init__(self, client: Any, *, work: str, model: str, pieces: int, paced: bool) -> None:
        self.client, self.model, self.paced = client, model, paced
        self.pieces = pieces
        self.call: Callable[[], Any] = getattr(self, work.partition("_")[0])
        self.form = work.partition("_")[2]
        self.seen: list[str] = []
        self.delays: list[int] = []
        timed = paced and client.decodes
        self.see: Callable[[str], object] = self.late if timed else self.seen.append

    def late(self, text: str) -> None:
        """Note how long ago a piece was written; its text is that time."""
        self.delays.append(time.monotonic_ns() - int(text))

    def chat(self) -> Any:
        return self.client.chat(self.model)

    def stream(self) -> Any:
        return self.client.stream(self.model, self.see)

    def embed(self) -> Any:
        return self.client.embed(self.model, TEXTS, self.form)

    def check(self, outcome: Any, calls: int) -> None:
        """Make sure that the work was done."""
        if not self.client.decodes:
            return
        if self.call == self.embed:
            count = sum(map(len, outcome)) if hasattr(outcome[0], "__len__") else len(outcome)
            assert count == NUMBERS, count
        elif self.paced:
            assert len(self.delays) in {0, self.pieces * calls}
        elif self.call == self.stream:
            assert "".join(self.seen) == expected(self.pieces) * calls
        else:
            assert outcome == expected(self.pieces), outcome

    def start(self) -> tuple[float, float]:
        """Forget what was seen, tidy up, and look at the clocks."""
        self.seen.clear()
        self.delays.clear()
        gc.collect()
        return time.perf_counter(), time.process_time()


def times(work: Work, started: tuple[float, float]) -> dict[str, Any]:
    """What the block took since it was started."""
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    return {"wall": wall, "cpu": cpu, "delays": work.delays if work.paced else []}


async def block(work: Work, calls: int, at_once: int) -> dict[str, Any]:
    """Do the work `calls` times, `at_once` side by side, after once for warming up."""
    outcome = None
    if not work.paced:
        await asyncio.gather(*(work.call() for _ in range(at_once)))
    started = work.start()
    if at_once == 1:
        for _ in range(calls):
            outcome = await work.call()
    else:
        for _ in range(calls):
            outcome = (await asyncio.gather(*(work.call() for _ in range(at_once))))[0]
    taken = times(work, started)
    work.check(outcome, calls * at_once)
    return taken


def blocking_block(work: Work, calls: int, at_once: int) -> dict[str, Any]:
    """Do the work of a blocking client."""
    assert at_once == 1
    if not work.paced:
        work.call()
    started = work.start()
    outcome = None
    for _ in range(calls):
        outcome = work.call()
    taken = times(work, started)
    work.check(outcome, calls)
    return taken


def told(line: str, client: Any) -> tuple[Work, int, int]:
    """Read what is to be done."""
    order = json.loads(line)
    calls, at_once = order.pop("calls"), order.pop("at_once")
    return Work(client, **order), calls, at_once


def say(answer: object) -> None:
    """Send an answer to whoever started this."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def serve(client: Any, first: str) -> None:
    """Do what comes, on one event loop that also runs between the blocks."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    await client.start()
    entered = time.perf_counter() - started
    await client.chat(first)
    say({"memory": memory(), "start": entered})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        say(await block(*told(line, client)))


def serve_blocking(client: Any, first: str) -> None:
    """Do what comes."""
    started = time.perf_counter()
    client.start()
    entered = time.perf_counter() - started
    client.chat(first)
    say({"memory": memory(), "start": entered})
    while line := sys.stdin.readline():
        say(blocking_block(*told(line, client)))


def main() -> None:
    """Make the client and serve."""
    module, style, first, *ports = sys.argv[1:]
    client = importlib.import_module(f"clients.{module}").Client(style, *map(int, ports))
    if getattr(client, "blocking", False):
        serve_blocking(client, first)
    else:
        asyncio.run(serve(client, first))
    os._exit(0)  # not every client can be closed, and what is left open is told at length


if __name__ == "__main__":
    main()
