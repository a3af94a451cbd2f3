"""The arithmetic of `patinox bench`: from single requests to what is said of a model. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from patinox.provider.types import CompletionResponse, ModelInfo

# Shorter than this, a server did not load: it looked at what it has in memory.
LEAST_LOAD = 0.05
SERVER, CLIENT = "server", "client"
STOPPED = "It was stopped before all was measured."


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What one request took; `None` where nobody told. Times are seconds.

    Attributes:
        first_token: from sending the request to the first output.
        seconds: from sending the request to the end.
        load_seconds: loading the model, as the server says.
        prompt_tokens: length of the prompt.
        prompt_seconds: reading the prompt, as the server says.
        answer_tokens: length of the answer.
        tokens_per_second: speed of the answer.
        measured_by: who measured that speed, `server` or `client`.
    """

    first_token: float | None = None
    seconds: float = 0.0
    load_seconds: float | None = None
    prompt_tokens: int | None = None
    prompt_seconds: float | None = None
    answer_tokens: int | None = None
    tokens_per_second: float | None = None
    measured_by: str | None = None


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Several measurements of one thing, and who measured."""

    median: float
    least: float
    most: float
    samples: tuple[float, ...]
    measured_by: str = CLIENT


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests at once, several times.

    Attributes:
        at_once: how many.
        tokens_per_second: of all answers together.
        first_token_seconds: of each request.
    """

    at_once: int
    tokens_per_second: Spread | None
    first_token_seconds: Spread | None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: a model on a service, as it was before."""

    model: str
    service: str
    service_type: str
    service_version: str | None = None
    parameter_count: int | None = None
    quantization: str | None = None
    size_bytes: int | None = None
    in_memory_before: bool | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a subject.

    Attributes:
        load_seconds: loading the model; `None` if it was in memory or nothing tells.
        load_measured_by: `server`, or `client`: by how much longer the first request took.
        first_token_seconds: from sending a request to its first output, one at a time.
        prompt_tokens: length of the prompts, as the server counts it.
        prompt_tokens_per_second: how fast prompts are read, one at a time.
        answer_tokens_per_second: how fast answers are written, one at a time.
        levels: several requests at once.
        warnings: what was not as it should be, such as a prompt that was cut, each in a line.
        error: why there is no more; `None` if all went well.
    """

    subject: Subject
    load_seconds: float | None = None
    load_measured_by: str | None = None
    first_token_seconds: Spread | None = None
    prompt_tokens: int | None = None
    prompt_tokens_per_second: Spread | None = None
    answer_tokens_per_second: Spread | None = None
    levels: tuple[Level, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def measured(self) -> bool:
        """Whether there is anything to show: a round at least ended."""
        return self.first_token_seconds is not None or bool(self.levels)


def request_of(response: CompletionResponse) -> Request:
    """Take what a request took from its answer."""
    times, usage = response.timings, response.usage
    prompt = usage.prompt_tokens
    if prompt is not None and usage.cached_tokens:
        prompt = max(prompt - usage.cached_tokens, 0)  # those were not read anew
    return Request(
        first_token=times.time_to_first_token,
        seconds=times.total_seconds or 0.0,
        load_seconds=times.load_seconds,
        prompt_tokens=prompt,
        prompt_seconds=times.prompt_seconds,
        answer_tokens=usage.completion_tokens,
        tokens_per_second=times.tokens_per_second,
        measured_by=times.measured_by,
    )


def levels(most: int) -> list[int]:
    """How many requests to make at once: powers of two, and the most.

    >>> levels(1), levels(4), levels(6)
    ([1], [1, 2, 4], [1, 2, 4, 6])
    """
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def requests_in_all(most: int, rounds: int) -> int:
    """How many requests a subject takes: one to warm up, then `rounds` at each level.

    >>> requests_in_all(4, 3)
    22
    """
    return 1 + rounds * sum(levels(most))


def spread(values: Iterable[float | None], *, measured_by: str = CLIENT) -> Spread | None:
    """Join measurements; `None` if there are none.

    >>> spread([3.0, None, 1.0]).median
    2.0
    """
    known = tuple(value for value in values if value is not None)
    if not known:
        return None
    return Spread(
        median=median(known),
        least=min(known),
        most=max(known),
        samples=known,
        measured_by=measured_by,
    )


def distinct(warnings: Iterable[str]) -> tuple[str, ...]:
    """Keep one of those warnings that differ in nothing but numbers.

    >>> distinct(["2,050 of 9,001 tokens", "2,051 of 9,002 tokens", "no tokens"])
    ('2,050 of 9,001 tokens', 'no tokens')
    """
    kinds = dict[str, str]()
    for each in warnings:
        kinds.setdefault(re.sub(r"[0-9,.]+", "", each), each)
    return tuple(kinds.values())


def level_of(at_once: int, rounds: Sequence[tuple[float, Sequence[Request]]]) -> Level:
    """Join the rounds of a level, each with the seconds it took."""
    rates = list[float | None]()
    for seconds, requests in rounds:
        counts = [each.answer_tokens for each in requests]
        told = [count for count in counts if count is not None]
        rates.append(sum(told) / seconds if len(told) == len(counts) and seconds > 0 else None)
    return Level(
        at_once=at_once,
        tokens_per_second=spread(rates),
        first_token_seconds=spread(each.first_token for _, all_ in rounds for each in all_),
    )


def result_of(
    subject: Subject, warm_up: Request, alone: Sequence[Request], levels: Sequence[Level] = ()
) -> Result:
    """Say what was measured: the first request, those that were alone, and all levels."""
    first = spread(each.first_token for each in alone)
    seconds, by = _load(subject, warm_up, first)
    counts = [each.prompt_tokens for each in alone if each.prompt_tokens is not None]
    return Result(
        subject=subject,
        load_seconds=seconds,
        load_measured_by=by,
        first_token_seconds=first,
        prompt_tokens=round(median(counts)) if counts else None,
        prompt_tokens_per_second=_prompt_speed(alone),
        answer_tokens_per_second=_answer_speed(alone),
        levels=tuple(levels),
    )


def _load(
    subject: Subject, warm_up: Request, first: Spread | None
) -> tuple[float | None, str | None]:
    """How long the model took to load, and who says so."""
    if warm_up.load_seconds is not None:
        loaded = warm_up.load_seconds >= LEAST_LOAD
        return (warm_up.load_seconds, SERVER) if loaded else (None, None)
    if subject.in_memory_before is not False or warm_up.first_token is None or first is None:
        return None, None
    longer = warm_up.first_token - first.median
    return (longer, CLIENT) if longer >= LEAST_LOAD else (None, None)


def _prompt_speed(alone: Sequence[Request]) -> Spread | None:
    """Tokens of the prompt by the server's time for them; else by the time to the first token."""
    by_server = spread(
        (_rate(each.prompt_tokens, each.prompt_seconds) for each in alone), measured_by=SERVER
    )
    return by_server or spread(_rate(each.prompt_tokens, each.first_token) for each in alone)


def _answer_speed(alone: Sequence[Request]) -> Spread | None:
    by_server = bool(alone) and all(each.measured_by == SERVER for each in alone)
    return spread(
        (each.tokens_per_second for each in alone), measured_by=SERVER if by_server else CLIENT
    )


def _rate(tokens: int | None, seconds: float | None) -> float | None:
    return tokens / seconds if tokens and seconds and seconds > 0 else None


def subject_of(info: ModelInfo, service_type: str, version: str | None) -> Subject:
    """Describe what is measured."""
    return Subject(
        model=info.id,
        service=info.service,
        service_type=service_type,
        service_version=version,
        parameter_count=info.parameter_count,
        quantization=info.quantization,
        size_bytes=info.size_bytes,
        in_memory_before=info.loaded,
    )
