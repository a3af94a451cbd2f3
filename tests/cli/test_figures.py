import doctest

import pytest

from patinox.cli import figures
from patinox.cli.figures import (
    Request,
    Subject,
    level_of,
    request_of,
    requests_in_all,
    result_of,
    spread,
)
from patinox.provider.types import (
    CompletionChoice,
    CompletionMessage,
    CompletionResponse,
    Timings,
    Usage,
)

COLD = Subject(model="m", service="s", service_type="s", in_memory_before=False)
WARM = Subject(model="m", service="s", service_type="s", in_memory_before=True)
ALONE = [
    Request(first_token=first, prompt_tokens=100, tokens_per_second=rate, measured_by="server")
    for first, rate in ((0.5, 40.0), (0.25, 50.0), (1.0, 45.0))
]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(figures).failed == 0


def test_a_request_is_taken_from_its_answer() -> None:
    response = CompletionResponse(
        model="m",
        choices=(CompletionChoice(message=CompletionMessage.assistant("Blue.")),),
        usage=Usage(prompt_tokens=100, completion_tokens=7, cached_tokens=30),
        timings=Timings(
            time_to_first_token=0.1,
            total_seconds=0.9,
            load_seconds=2.0,
            prompt_seconds=0.05,
            tokens_per_second=38.0,
            measured_by="server",
        ),
    )
    assert request_of(response) == Request(
        first_token=0.1,
        seconds=0.9,
        load_seconds=2.0,
        prompt_tokens=70,  # the others were read before
        prompt_seconds=0.05,
        answer_tokens=7,
        tokens_per_second=38.0,
        measured_by="server",
    )


def test_a_spread_has_the_middle_and_both_ends() -> None:
    told = spread([3.0, None, 1.0, 2.0])
    assert told is not None
    assert (told.median, told.least, told.most) == (2.0, 1.0, 3.0)
    assert told.samples == (3.0, 1.0, 2.0)
    assert spread([None]) is None


def test_so_many_requests_are_made_as_the_progress_says() -> None:
    assert requests_in_all(1, 1) == 2
    assert requests_in_all(8, 2) == 1 + 2 * (1 + 2 + 4 + 8)


def test_answers_at_once_are_added_up() -> None:
    rounds = [
        (2.0, [Request(answer_tokens=30, first_token=0.1), Request(answer_tokens=50)]),
        (4.0, [Request(answer_tokens=40, first_token=0.3), Request(answer_tokens=40)]),
    ]
    level = level_of(2, rounds)
    assert level.tokens_per_second is not None
    assert level.tokens_per_second.samples == (40.0, 20.0)
    assert level.first_token_seconds is not None
    assert level.first_token_seconds.samples == (0.1, 0.3)


@pytest.mark.parametrize(
    "rounds",
    [
        [(2.0, [Request(answer_tokens=30), Request()])],
        [(0.0, [Request(answer_tokens=30)])],
    ],
)
def test_a_sum_that_lacks_a_part_is_none(rounds: list[tuple[float, list[Request]]]) -> None:
    assert level_of(2, rounds).tokens_per_second is None


@pytest.mark.parametrize(
    ("subject", "warm_up", "seconds", "by"),
    [
        (COLD, Request(first_token=3.0, load_seconds=2.0), 2.0, "server"),
        (WARM, Request(first_token=3.0, load_seconds=0.01), None, None),
        (COLD, Request(first_token=3.0), 2.5, "client"),
        (COLD, Request(first_token=0.51), None, None),
        (COLD, Request(), None, None),
        (WARM, Request(first_token=3.0), None, None),
    ],
)
def test_loading_is_what_the_server_says_or_what_the_first_took_longer(
    subject: Subject, warm_up: Request, seconds: float | None, by: str | None
) -> None:
    result = result_of(subject, warm_up, ALONE)
    assert (result.load_seconds, result.load_measured_by) == (seconds, by)


def test_speeds_say_who_measured_them() -> None:
    result = result_of(WARM, Request(), ALONE)
    assert result.prompt_tokens == 100
    assert result.answer_tokens_per_second == spread([40.0, 50.0, 45.0], measured_by="server")
    # The server did not tell how long it read.
    assert result.prompt_tokens_per_second == spread([200.0, 400.0, 100.0])
    told = Request(prompt_tokens=100, prompt_seconds=0.2, tokens_per_second=9.0)
    result = result_of(WARM, Request(), [told])
    assert result.prompt_tokens_per_second == spread([500.0], measured_by="server")
    assert result.answer_tokens_per_second == spread([9.0])


def test_what_nobody_tells_is_none() -> None:
    result = result_of(COLD, Request(first_token=1.0), [Request()])
    assert result.first_token_seconds is None
    assert result.prompt_tokens is None
    assert result.prompt_tokens_per_second is None
    assert result.answer_tokens_per_second is None
