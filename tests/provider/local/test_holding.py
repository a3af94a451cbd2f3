"""What goes out of an answer, and when."""

import msgspec
import pytest

from patinox.provider.local.holding import MOST_BYTES, MOST_EVENTS, Held
from patinox.provider.stream import (
    LoadProgress,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

START = ResponseStarted(model="m")
TEXT = TextDelta("one")
LOADING = LoadProgress(model="m")


@pytest.mark.parametrize(
    "output",
    [TEXT, ReasoningDelta("hm"), ToolCallDelta(index=0), ResponseFinished()],
    ids=lambda event: type(event).__name__,
)
def test_the_beginning_is_held_back_until_the_first_output(output: StreamEvent) -> None:
    held = Held()
    assert held.take([START]) == []
    assert not held.committed
    assert held.take([output]) == [START, output]
    assert held.committed
    assert held.take([TEXT, TEXT]) == [TEXT, TEXT]


def test_what_comes_at_once_goes_out_at_once() -> None:
    held = Held()
    assert held.take([START, TEXT, TEXT]) == [START, TEXT, TEXT]
    assert held.committed


def test_that_a_model_is_loaded_is_told_at_once() -> None:
    held = Held()
    assert held.take([LOADING]) == [LOADING]
    assert held.take([START, LOADING]) == [LOADING]
    assert not held.committed
    assert held.take([TEXT]) == [START, TEXT]


def test_no_more_is_held_back_than_so_many_events() -> None:
    held = Held()
    for _ in range(MOST_EVENTS):
        assert held.take([START]) == []
    assert held.take([START]) == [START] * (MOST_EVENTS + 1)
    assert held.committed


def test_no_more_is_held_back_than_so_many_bytes() -> None:
    around = len(msgspec.json.encode([ResponseStarted(model="m", id="")]))
    exactly = ResponseStarted(model="m", id="x" * (MOST_BYTES - around))
    assert Held().take([exactly]) == []
    more = ResponseStarted(model="m", id="x" * (MOST_BYTES - around + 1))
    assert Held().take([more]) == [more]
    held = Held()
    half = ResponseStarted(model="m", id="x" * (MOST_BYTES // 2))
    assert held.take([half]) == []
    assert held.take([half]) == [half, half]
    assert held.committed


def test_how_much_that_is() -> None:
    assert (MOST_EVENTS, MOST_BYTES) == (64, 256 * 1024)
