"""One fault in one service, seen in one call through one face: what must come of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from faces import KEY, LONG, PROMPT, Ask, Asked, AsyncFace, CommandLine, Face, Said, Subject

from patinox.testing import EmulatedServer, Exchange
from patinox.testing.faults import CALLS, Fault

# Seconds that a wait may take where it is to end, and what may be added to every limit.
SHORT = 0.8
SLACK = 0.5
TICK = 0.02
SECONDS_TO_HANG_UP = 10.0  # on a busy machine
# Models in a long list, each there twice: in capital letters and in small ones.
MANY = 20_000
GENERATIONS = ("chat", "stream", "embed")
# The text that some faults put in place of each piece of the answer.
ITS = {"split_characters": "Zürich → 東京 🙂", "unicode_separators": "a\u2028\u2029\x85b"}


async def no_keeping(exchange: Exchange) -> bool:
    """Close each connection after its answer, so that a fault of connections meets every call."""
    exchange.headers["connection"] = "close"  # type: ignore[index]
    return False


class Lateness:
    """How late the event loop of this test was altogether: no fault of what is being tested."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            self.seconds += max(time.monotonic() - before - TICK, 0.0)


RIGHT: dict[tuple[str, str], object] = {}


async def right(subject: Subject, call: str) -> object:
    """What the service answers when it is well, asked once."""
    key = (subject.name, call)
    if key not in RIGHT:
        async with (
            subject.serve() as server,
            AsyncFace().open(Asked(subject, server, call, LONG)) as ask,
        ):
            RIGHT[key] = await ask()
    return RIGHT[key]


@dataclass(frozen=True)
class Cell:
    """A fault in a service, seen in a call: what must come of it, and within what time."""

    fault: Fault
    subject: Subject
    call: str
    expected: str
    timed: bool
    abandoned: bool
    requests: int
    slow: float

    def __str__(self) -> str:
        return f"{self.fault.name} / {self.subject.name} / {self.call}"

    async def complaints(self, face: Face) -> list[str]:
        """See it through a face, and tell what is not as it must be."""
        good = await right(self.subject, self.call)
        server = self.subject.serve()
        if self.fault.on_request is None:
            server.faults.append(no_keeping)
        seconds = SHORT if self.timed else LONG
        quick = self.timed and (self.call == "probe" or isinstance(face, CommandLine))
        async with server:
            asked = Asked(self.subject, server, self.call, seconds, SHORT if quick else LONG)
            async with face.open(asked) as ask:
                if self.fault.on_request is None or self.fault.section == "E":
                    # So that the call itself meets the fault, not a list before it, which is asked
                    # for anew where the first answer has loaded the model.
                    await ask()
                    await ask()
                found = await self._struck(face, server, ask, good)
                found += await self._recovered(server, ask, good)
            if await _lasting(lambda: server.open_connections > 0):
                found.append("a connection stays open")
        return [f"{self}: {complaint}" for complaint in found]

    async def _struck(
        self, face: Face, server: EmulatedServer, ask: Ask, good: object
    ) -> list[str]:
        # Who is somebody else is so in every call.
        calls = CALLS if self.fault.section == "E" else [self.call]
        installed = self.fault.install(server, calls=calls)  # type: ignore[arg-type]
        async with Lateness() as late:
            started = time.monotonic()
            outcome = await self._outcome(ask)
            took = time.monotonic() - started
        found = [] if (wrong := self._judge(outcome, good)) is None else [wrong]
        # To the server and back: each way may be as late as the loop is.
        if took > (limit := self._most(face) + 2 * late.seconds):
            found.append(f"took {took:.2f} s, more than {limit:.2f}")
        if not installed.hits:
            found.append("the fault was not met")
        once = self.fault.on_request and calls != CALLS and self.call in GENERATIONS
        if once and installed.hits > self.requests:
            found.append(f"asked {installed.hits} times instead of {self.requests}")
        if self.abandoned and await _lasting(lambda: not server.client_gone):
            found.append("the server was not hung up on")
        if any(seen.path.startswith("/canary") for seen in server.requests):
            found.append("a redirect was followed")
        installed.remove()
        return found

    async def _outcome(self, ask: Ask) -> object:
        try:
            async with asyncio.timeout(LONG * 2):
                return await ask()
        except Exception as error:  # noqa: BLE001 - what comes out is judged, whatever it is
            return error

    def _most(self, face: Face) -> float:
        timer = SHORT + (1.0 if self.call == "embed" else 0.0) if self.timed else self.slow
        return timer + max(timer * 0.2, SLACK) + face.patience

    def _judge(self, outcome: object, good: object) -> str | None:
        if isinstance(outcome, Said):
            return self._judge_error(outcome, good)
        if isinstance(outcome, Exception):
            return f"a raw {outcome!r:.300} instead of {self.expected}"
        wanted = self._wanted(good, outcome)
        return None if wanted else f"{self.expected} was due, but came {outcome!r:.300}"

    def _judge_error(self, outcome: Said, good: object) -> str | None:
        if outcome.kind != self.expected:
            return f"{self.expected} was due, but came {outcome.kind}: {outcome.words[:400]}"
        for secret in (KEY, PROMPT, "Traceback"):
            if secret in outcome.words:
                return f"{secret!r} is told: {outcome.words[:400]}"
        if outcome.text and not str(good).startswith(outcome.text) and self.call != "stream":
            return f"a partial text that was never sent: {outcome.text!r}"
        return None

    def _wanted(self, good: Any, value: Any) -> bool:  # noqa: ANN401
        rules: dict[str, Callable[[], bool]] = {
            "ok": lambda: value == good,
            "no": lambda: value == [],
            "none": lambda: value == [],
            "is": lambda: bool(value) and not set(value) & set(good),
            "few": lambda: len(value) == len(good) - 1 and set(value) < set(good),
            "all": lambda: set(good) <= set(value),
            "one": lambda: len(value) == len({name.casefold() for name in value}) == MANY // 2,
            "new": lambda: len(value) == len(good) and not set(value) & set(good),
            "its": lambda: bool(value) and not value.replace(ITS[self.fault.name], ""),
        }
        return self.expected in rules and rules[self.expected]()

    async def _recovered(self, server: EmulatedServer, ask: Ask, good: object) -> list[str]:
        """Ask once more, now that all is well again."""
        if self.fault.on_server is not None or self.fault.name == "die_after_list":
            await server.start()
        outcome = await self._outcome(ask)
        return [] if outcome == good else [f"does not recover: {outcome!r:.300}"]


async def _lasting(holds: Callable[[], bool]) -> bool:
    """Whether something still holds after the time that hanging up may take."""
    end = time.monotonic() + SECONDS_TO_HANG_UP
    while holds() and time.monotonic() < end:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.005)
    return holds()
