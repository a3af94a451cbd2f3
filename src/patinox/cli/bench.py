"""`patinox bench`: how fast each model is on each service of this machine."""

from __future__ import annotations

import asyncio
import os
import platform
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from patinox._version import __version__
from patinox.cli.figures import (
    STOPPED,
    Level,
    Request,
    Result,
    distinct,
    level_of,
    levels,
    request_of,
    requests_in_all,
    result_of,
    subject_of,
)
from patinox.cli.output import DONE, FAILED, Output, perform
from patinox.cli.plot import check_plot, draw
from patinox.cli.render import count
from patinox.cli.scoreboard import Scoreboard, report
from patinox.cli.session import (
    Setup,
    choose_model,
    chosen_models,
    find_model,
    open_local,
    place_of,
)
from patinox.provider.errors import CloudModelRefused, InvalidRequest, ProviderError
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.preflight import refuse
from patinox.provider.types import CompletionRequest, ModelId, ModelInfo

MOST_AT_ONCE = 64
MOST_ROUNDS = 100
PROMPT = (
    "A lighthouse keeper notes each evening what passes: ships with their flags, birds on their"
    " way south, the colour of the water, and how the wind turns. For thirty years nothing was"
    " missing from the book. Then, one calm night in autumn, a light answered from the open sea"
    " where no ship could be, three times long and once short, and went out again. The keeper"
    " wrote it down like everything else, but did not sleep. Tell how the story goes on, and do"
    " not stop before the keeper has found out who answered."
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure.

    Attributes:
        prompt: what is asked.
        rounds: how often each thing is measured.
        max_tokens: longest answer, in tokens.
        concurrency: most requests at once.
        timeout: seconds a request may take, or `None`.
        plot: file to draw into, or `None`.
    """

    prompt: str = PROMPT
    rounds: int = 3
    max_tokens: int = 64
    concurrency: int = 4
    timeout: float | None = None
    plot: Path | None = None

    def check(self) -> None:
        """Refuse what cannot be done; raises `InvalidRequest` or `ConfigurationError`."""
        for name, value, most in (
            ("--rounds", self.rounds, MOST_ROUNDS),
            ("--concurrency", self.concurrency, MOST_AT_ONCE),
        ):
            if not 1 <= value <= most:
                raise InvalidRequest(f"`{name}` is {value}; allowed: 1 to {most}.")
        self.request(ModelId("any"))
        if self.plot is not None:
            check_plot(self.plot)

    def request(
        self, model: ModelId, *, beginning: str = "", max_tokens: int | None = None
    ) -> CompletionRequest:
        """Make a request; raises `InvalidRequest` where its limits are none."""
        return CompletionRequest(
            model,
            beginning + self.prompt,
            max_tokens=self.max_tokens if max_tokens is None else max_tokens,
            temperature=0,
            timeout=self.timeout,
        )


def bench(setup: Setup, out: Output, names: Sequence[str], options: Options) -> int:
    """Measure the models that are named, or those that are in memory; return the exit code.

    Raises:
        KeyboardInterrupt: it was stopped; what had been measured is told.
    """
    results = list[Result]()
    try:
        code = perform(out, lambda: _measure(setup, out, names, options, results))
    except KeyboardInterrupt:
        _tell(out, results, options)
        raise
    return _tell(out, results, options) if results else code


def _tell(out: Output, results: Sequence[Result], options: Options) -> int:
    """Write what was measured, if anything was, and draw it."""
    if not results:
        return DONE
    if out.as_json:
        out.document(document(results, options))
    else:
        out.lines(["", *report(out.out.canvas, results, options.concurrency), ""])
    code = FAILED if any(each.error for each in results) else DONE
    if options.plot is None:
        return code
    if not any(each.measured for each in results):
        out.remark("There is no picture: nothing was measured.")
        return code
    try:
        draw(results, options.plot, note=_note(options))
    except OSError as error:
        out.remark(f"The picture cannot be written: {error.strerror}.")
        return FAILED
    out.remark(f"The picture is in {options.plot}")
    return code


async def _measure(
    setup: Setup, out: Output, names: Sequence[str], options: Options, results: list[Result]
) -> int:
    """Measure one model after another, and add what is known of each to `results`."""
    await asyncio.to_thread(options.check)  # a slow disk stops nothing
    async with open_local(setup, out) as local:
        found = await chosen(local, setup, names)
        out.remark(_plan(found, options))
        each = requests_in_all(options.concurrency, options.rounds)
        board = Scoreboard(out, requests=len(found) * each, at_once=options.concurrency)
        with board.shown():
            for info in found:
                measuring = _Measuring(local, info, options, board)
                try:
                    await measuring.measure()
                except asyncio.CancelledError:
                    stopped = replace(measuring.result, error=STOPPED)
                    results += [stopped] if stopped.measured else []
                    raise
                results.append(measuring.result)
    return DONE


async def chosen(local: LocalProvider, setup: Setup, names: Sequence[str]) -> list[ModelInfo]:
    """Choose what to measure: each named model wherever it is, or what is in memory.

    Raises:
        ModelNotFound: a named model is not there, or none can chat.
        CloudModelRefused: a named model is in the cloud.
        CapabilityNotSupported: a named model does not chat.
        ServiceNotFound: no service answers.
    """
    if not names:
        local_models = [info for info in await chosen_models(local, setup) if _measurable(info)]
        loaded = [info for info in local_models if info.loaded and not info.demo]
        return loaded or [(await choose_model(local, setup, None, ())).info]
    found = dict[ModelId, ModelInfo]()
    for name in names:
        named = await find_model(local, name, setup)
        wanted = ModelId(named.wanted.name)
        there = [
            info
            for info in await chosen_models(
                local, setup._replace(service=named.wanted.provider_hint)
            )
            if local.discovery.provider(info.service).match(wanted, [info])
        ] or [named.info]
        if all(info.remote for info in there):
            raise CloudModelRefused(
                f"{name!r} runs in the cloud.", hint="Only what runs on this machine is measured."
            )
        able = [info for info in there if _measurable(info)]
        for info in () if able else there:
            asked = CompletionRequest(info.model_id, PROMPT)
            refuse(asked, info, label=place_of(local, info.service), service=info.service)
        found |= {info.model_id: info for info in able}
    return list(found.values())


def _measurable(info: ModelInfo) -> bool:
    return not info.remote and info.capabilities.supports_chat is not False


class _Measuring:
    """Measures one model on one service: `result` is what is known so far."""

    def __init__(
        self, local: LocalProvider, info: ModelInfo, options: Options, board: Scoreboard
    ) -> None:
        self._local = local
        self._info = info
        self._options = options
        self._board = board
        self._asked = 0
        self._warned = list[str]()
        self._run = random.randrange(16**4)  # noqa: S311  no secret
        service = local.get_service_info(info.service)
        self.result = Result(
            subject=subject_of(
                info,
                service.service_type if service else info.service,
                service.version if service else None,
            )
        )

    async def measure(self) -> None:
        """Measure; what goes wrong ends it and stands in the result."""
        try:
            await self._measure()
        except ProviderError as error:
            self.result = replace(
                self.result,
                error=f"{type(error).__name__}: {error.message}",
                warnings=distinct(self._warned),
            )
        self._board.done(self.result)

    async def _measure(self) -> None:
        self._board.show(self.result, "warms up")
        warm_up = await self._ask(max_tokens=1)
        alone, reached = list[Request](), list[Level]()
        for at_once in levels(self._options.concurrency):
            rounds = list[tuple[float, Sequence[Request]]]()
            for _ in range(self._options.rounds):
                self._board.show(self.result, f"{at_once} at once")
                rounds.append(await self._side_by_side(at_once))
                alone += rounds[-1][1] if at_once == 1 else ()
                ended = [*reached, level_of(at_once, rounds)]
                now = result_of(self.result.subject, warm_up, alone, ended)
                self.result = replace(now, warnings=distinct(self._warned))
            reached.append(level_of(at_once, rounds))

    async def _side_by_side(self, count: int) -> tuple[float, Sequence[Request]]:
        """Make so many requests at once; return the seconds for all, and what each took."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask()) for _ in range(count)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return clock() - started, [task.result() for task in tasks]

    async def _ask(self, *, max_tokens: int | None = None) -> Request:
        """Make a request whose prompt begins as no other's: no server has read it before."""
        self._asked += 1
        beginning = f"{self._run:04x}-{self._asked}. "
        request = self._options.request(
            self._info.model_id, beginning=beginning, max_tokens=max_tokens
        )
        async with self._local.stream_completion(request) as stream:
            response = await stream.collect()
        self._board.step()
        self._warned += response.warnings
        return request_of(response)


def _plan(found: Sequence[ModelInfo], options: Options) -> str:
    each = requests_in_all(options.concurrency, options.rounds)
    names = ", ".join(str(info.model_id) for info in found)
    return f"Measuring {names}: {count(each, 'request')} each"


def _note(options: Options) -> str:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    return (
        f"patinox {__version__}, {datetime.now(tz=UTC):%Y-%m-%d}, {machine}; medians of"
        f" {options.rounds} rounds, answers of up to {options.max_tokens} tokens; the black lines"
        " go from the least to the most"
    )


def document(results: Sequence[Result], options: Options) -> dict[str, Any]:
    """Describe what was measured as a value of JSON; times are seconds."""
    return {
        "patinox": __version__,
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processors": os.cpu_count(),
        },
        "settings": {
            "rounds": options.rounds,
            "max_tokens": options.max_tokens,
            "concurrency": levels(options.concurrency),
            "prompt_characters": len(options.prompt),
            "timeout_seconds": options.timeout,
        },
        "results": [_flat(each) for each in results],
    }


def _flat(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(result)
    return {**told.pop("subject"), **told}
