from collections.abc import Callable

import pytest
from msgspec.structs import replace

from patinox.provider.errors import ModelMismatch, ProviderClosed, ProviderError
from patinox.provider.local.answer import MAX_ANSWER, Answer
from patinox.provider.local.config import Deadlines
from patinox.provider.local.errors import ResponseTooLarge, ServiceError, StreamInterrupted
from patinox.provider.local.prepare import Prepared
from patinox.provider.local.waiting import late
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.types import (
    LogprobsDelta,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

Accept = Callable[[ResponseStarted], str | None]
DEADLINES = Deadlines(first_token=300, idle=120)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A decoder for which each byte is one event, a blank none; it ends with its last."""

    def __init__(self, *events: StreamEvent, error: ProviderError | None = None) -> None:
        self.ended = False
        self._events = list(events)
        self._error = error

    def feed(self, data: bytes, events: list[StreamEvent]) -> None:
        for _ in data.strip():
            event = self._events.pop(0)
            self.ended = isinstance(event, ResponseFinished)
            events.append(event)

    def close(self, events: list[StreamEvent]) -> None:
        events += self._events
        if self._error:
            raise self._error


def answer(
    *events: StreamEvent,
    clock: Clock | None = None,
    total: float | None = None,
    error: ProviderError | None = None,
    accept: Accept = lambda _: None,
    warnings: tuple[str, ...] = (),
    review: tuple[str, ...] = (),
    deadlines: Deadlines = DEADLINES,
) -> Answer:
    running = Answer(service="ollama", deadlines=deadlines, total=total, clock=clock or Clock())
    running.expect(
        Prepared(
            http=HTTPRequest(path="/"),
            model="asked",
            decoder=Script(*events, error=error),
            warnings=warnings,
            accept=accept,
            review=lambda _: review,
        )
    )
    return running


def refuse_all_but(name: str) -> Accept:
    def accept(head: ResponseStarted) -> str | None:
        if head.model != name:
            raise ModelMismatch(f"It is {head.model!r}.")
        return None

    return accept


def read(running: Answer, count: int = 1) -> list[StreamEvent]:
    """Let bytes in that stand for so many events, which must be sound."""
    events = running.receive(b"x" * count)
    assert running.error is None
    return events


def read_slowly(running: Answer, clock: Clock, *passed: float) -> list[StreamEvent]:
    """Let time pass before each event; return the last."""
    events = list[StreamEvent]()
    for seconds in passed:
        clock.now += seconds
        events = read(running)
    return events


START = ResponseStarted(model="m")
CALL = ToolCallDelta(index=0, id="1", name="f", arguments="{")


def test_the_beginning_is_signed_by_the_service() -> None:
    assert read(answer(START)) == [ResponseStarted(model="m", service="ollama")]


def test_the_end_of_the_body_is_taken_to_the_decoder() -> None:
    error = StreamInterrupted("Broke off.")
    running = answer(START, TextDelta("a"), error=error)
    assert running.receive(b"") == [ResponseStarted(model="m", service="ollama"), TextDelta("a")]
    assert running.error is error
    assert isinstance(running.failed(ServiceError("No.")), StreamInterrupted)


def test_bytes_that_complete_nothing_are_no_events() -> None:
    running = answer()
    assert running.receive(b"") == []
    assert not running.ended


def test_before_it_is_known_what_will_answer_nothing_has_ended() -> None:
    running = Answer(service="ollama", deadlines=DEADLINES, total=None, clock=Clock())
    assert not running.ended


def test_an_answer_has_ended_when_the_server_says_so() -> None:
    running = answer(START, ResponseFinished())
    read(running)
    before = running.ended
    read(running)
    assert (before, running.ended) == (False, True)


def test_another_model_than_the_one_asked_for_is_refused_before_its_text() -> None:
    running = answer(START, TextDelta("a"), accept=refuse_all_but("other"))
    assert running.receive(b"xx") == []
    assert isinstance(running.error, ModelMismatch)
    assert running.error.retryable
    assert running.failed(running.error) is running.error


def test_another_model_may_be_labelled_instead() -> None:
    running = answer(
        START, TextDelta("a"), accept=lambda head: f"It is {head.model}.", warnings=("First.",)
    )
    assert read(running, 2) == [
        ResponseStarted(model="m", service="ollama", warnings=("First.", "It is m.")),
        TextDelta("a"),
    ]


@pytest.mark.parametrize("event", [TextDelta("a"), ReasoningDelta("a"), CALL])
def test_an_answer_that_names_no_model_is_signed_with_the_one_asked_for(event: StreamEvent) -> None:
    running = answer(event, event)
    assert read(running, 2) == [ResponseStarted(model="asked", service="ollama"), event, event]


def test_an_answer_without_output_is_signed_too() -> None:
    first, last = read(answer(ResponseFinished()))
    assert first == ResponseStarted(model="asked", service="ollama")
    assert isinstance(last, ResponseFinished)


def test_the_time_before_its_turn_came_is_not_held_against_the_server() -> None:
    clock = Clock()
    running = answer(clock=clock, total=1000)
    clock.now += 290
    running.starts()
    clock.now += 20
    assert running.seconds == 20
    assert running.limit() == (280, "first_token")
    assert running.total() == 690


def test_the_end_tells_what_turned_out_otherwise_than_asked() -> None:
    *_, end = read(answer(START, TextDelta("a"), ResponseFinished(), review=("Cut.",)), 3)
    assert isinstance(end, ResponseFinished)
    assert end.warnings == ("Cut.",)


def test_a_model_that_is_named_late_is_checked_and_begins_nothing_anew() -> None:
    running = answer(TextDelta("a"), START, TextDelta("b"))
    begun = ResponseStarted(model="asked", service="ollama")
    assert read(running, 3) == [begun, TextDelta("a"), TextDelta("b")]


def test_another_model_in_the_middle_is_an_interruption() -> None:
    events = (START, TextDelta("a"), ResponseStarted(model="other"), TextDelta("b"))
    running = answer(*events, accept=refuse_all_but("m"))
    assert running.receive(b"xxxx") == [
        ResponseStarted(model="m", service="ollama"),
        TextDelta("a"),
    ]
    assert running.error is not None
    error = running.failed(running.error)
    assert isinstance(error, StreamInterrupted)
    assert (error.text, error.retryable, error.delivered) == ("a", False, True)


def test_many_batches_are_joined_as_they_come() -> None:
    running = answer(*map(TextDelta, "abc" * 300))
    for _ in range(900):
        read(running)
    error = running.failed(ServiceError("It broke."))
    assert isinstance(error, StreamInterrupted)
    assert error.text == "abc" * 300


# The clocks.


def test_until_the_first_output_its_limit_runs_from_the_request() -> None:
    clock = Clock()
    running = answer(START, TextDelta("a"), clock=clock)
    assert running.limit() == (300, "first_token")
    clock.now += 100
    read(running)
    assert running.limit() == (200, "first_token")
    clock.now += 250
    assert running.limit() == (0, "first_token")


def test_a_model_that_is_loaded_further_may_answer_later_but_not_beyond_the_callers_limit() -> None:
    clock = Clock()
    running = answer(TextDelta("a"), clock=clock, total=500)
    clock.now += 250
    running.goes_on()
    assert running.limit() == (250, "total")
    running = answer(TextDelta("a"), clock=clock)
    clock.now += 250
    running.goes_on()
    assert running.limit() == (300, "first_token")
    assert running.seconds == 250


@pytest.mark.parametrize("event", [TextDelta("a"), ReasoningDelta("a"), CALL])
def test_after_the_first_output_each_wait_has_the_whole_limit(event: StreamEvent) -> None:
    clock = Clock()
    running = answer(event, event, clock=clock)
    for _ in range(2):
        clock.now += 119
        read(running)
        assert running.limit() == (120, "idle")


def test_bytes_without_output_keep_an_answer_alive_but_not_for_ever() -> None:
    clock = Clock()
    running = answer(TextDelta("a"), TextDelta("b"), clock=clock)
    read(running)
    for passed, limit in ((0, 120), (119, 120), (119, 62), (62, 0)):
        clock.now += passed
        assert running.limit() == (limit, "idle" if limit == 120 else "first_token")
        assert running.receive(b" ") == []
    read(running)
    clock.now += 1000  # which whoever asked took, not the server
    assert running.limit() == (120, "idle")


def test_a_limit_of_silence_that_is_longer_than_the_beginnings_holds_for_pings_too() -> None:
    clock = Clock()
    deadlines = Deadlines(first_token=60, idle=120)
    running = answer(TextDelta("a"), clock=clock, deadlines=deadlines)
    read(running)
    assert running.limit() == (120, "idle")
    clock.now += 100
    assert running.limit() == (20, "idle")


@pytest.mark.parametrize(
    ("total", "elapsed", "limit"),
    [
        (400, 0, (300, "first_token")),
        (300, 0, (300, "first_token")),
        (299, 0, (299, "total")),
        (50, 20, (30, "total")),
        (50, 60, (0, "total")),
    ],
)
def test_the_callers_total_is_kept_where_it_is_nearer(
    total: float, elapsed: float, limit: tuple[float, str]
) -> None:
    clock = Clock()
    running = answer(clock=clock, total=total)
    clock.now += elapsed
    assert running.limit() == limit


def test_the_callers_total_holds_in_the_middle_too() -> None:
    clock = Clock()
    running = answer(TextDelta("a"), clock=clock, total=100)
    read(running)
    clock.now += 10
    assert running.limit() == (90, "total")


def test_durations_are_measured_here() -> None:
    clock = Clock()
    end = ResponseFinished(
        finish_reason="stop",
        usage=Usage(completion_tokens=11),
        timings=Timings(load_seconds=2.0, prompt_seconds=0.5),
    )
    running = answer(START, TextDelta("a"), TextDelta("b"), end, clock=clock)
    assert read_slowly(running, clock, 1, 2, 4, 8) == [
        ResponseFinished(
            finish_reason="stop",
            usage=Usage(completion_tokens=11),
            timings=Timings(
                time_to_first_token=3.0,
                total_seconds=15.0,
                load_seconds=2.0,
                prompt_seconds=0.5,
                tokens_per_second=10 / 4,
                measured_by="client",
            ),
        )
    ]


def test_the_servers_speed_goes_before_ours() -> None:
    clock = Clock()
    told = Timings(tokens_per_second=99.0, measured_by="server")
    end = ResponseFinished(usage=Usage(completion_tokens=9), timings=told)
    running = answer(TextDelta("a"), TextDelta("b"), end, clock=clock)
    (event,) = read_slowly(running, clock, 1, 1, 1)
    assert isinstance(event, ResponseFinished)
    assert (event.timings.tokens_per_second, event.timings.measured_by) == (99.0, "server")


@pytest.mark.parametrize(
    ("tokens", "pieces", "passed"),
    [(None, 2, 1.0), (1, 2, 1.0), (0, 2, 1.0), (9, 0, 1.0), (9, 1, 1.0), (9, 2, 0.0)],
    ids=["not counted", "one token", "none", "no output", "one piece", "all at once"],
)
def test_a_speed_that_cannot_be_measured_is_unknown(
    tokens: int | None, pieces: int, passed: float
) -> None:
    clock = Clock()
    end = ResponseFinished(usage=Usage(completion_tokens=tokens))
    running = answer(*[TextDelta("a")] * pieces, end, clock=clock)
    for _ in range(pieces):
        read(running)
        clock.now += passed
    *_, event = read(running)
    assert isinstance(event, ResponseFinished)
    assert (event.timings.tokens_per_second, event.timings.measured_by) == (None, None)
    assert event.timings.total_seconds == pieces * passed
    assert event.timings.time_to_first_token == (0.0 if pieces else None)


# What an error means.


@pytest.mark.parametrize("count", [0, 1])
def test_before_any_output_an_error_is_raised_as_it_is(count: int) -> None:
    running = answer(START)
    read(running, count)
    error = ServiceError("It broke.")
    assert running.failed(error) is error
    assert (error.service, error.retryable, error.delivered) == ("ollama", True, False)


def test_an_error_keeps_the_service_it_names() -> None:
    error = ServiceError("It broke.", service="lmstudio")
    assert answer().failed(error).service == "lmstudio"


def test_after_output_an_error_carries_it_and_nobody_else_is_asked() -> None:
    running = answer(ReasoningDelta("Hm."), TextDelta("x" * 1500), TextDelta("y"), CALL)
    read(running, 4)
    cause = ServiceError("It broke.", hint="Mend it.")
    error = running.failed(cause)
    assert isinstance(error, StreamInterrupted)
    assert str(error) == (
        "ollama stopped in the middle of the answer, after 1,501 characters: It broke. Mend it."
    )
    assert (error.text, error.reasoning) == ("x" * 1500 + "y", "Hm.")
    assert error.tool_calls == (ToolCall("1", "f", "{"),)
    assert (error.service, error.retryable, error.delivered) == ("ollama", False, True)
    assert error.__cause__ is cause


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (late("h:1", "total", 5), "The time for the whole call (total) was over"),
        (late("h:1", "attempt", 5), "The time that its settings give ollama (attempt) was over"),
        (ProviderClosed("Closed."), "This provider was closed"),
    ],
    ids=["total", "attempt", "closed"],
)
def test_what_ends_an_answer_and_is_not_the_server_is_not_said_of_it(
    error: ProviderError, said: str
) -> None:
    running = answer(TextDelta("abc"))
    read(running)
    failed = running.failed(error)
    assert failed.message == f"{said} in the middle of the answer, after 3 characters."
    assert failed.__cause__ is error


@pytest.mark.parametrize("event", [TextDelta("a"), ReasoningDelta("a"), CALL])
def test_any_output_counts_as_delivered(event: StreamEvent) -> None:
    running = answer(event)
    read(running)
    assert running.failed(StreamInterrupted("Broke off.", retryable=True)).delivered


# What is kept of it.

WORD = TokenLogprob("a", -1.0)
FLOODS: dict[str, StreamEvent] = {
    "text": TextDelta("a" * 10_000),
    "short texts": TextDelta("a"),
    "reasoning": ReasoningDelta("a" * 10_000),
    "one call": ToolCallDelta(index=0, arguments=" " * 10_000),
    "calls without an end": ToolCallDelta(index=-1),
    "names": ToolCallDelta(index=0, name="a" * 10_000),
    "probabilities": LogprobsDelta((replace(WORD, top=(WORD,) * 20),) * 10),
}


class Flood(Script):
    """A decoder for which each byte stands for the same event, and no answer ever ends."""

    def __init__(self, event: StreamEvent) -> None:
        super().__init__()
        self._event = event
        self._index = 0

    def feed(self, data: bytes, events: list[StreamEvent]) -> None:
        for _ in data:
            self._index += 1
            endless = isinstance(self._event, ToolCallDelta) and self._event.index < 0
            events.append(ToolCallDelta(index=self._index, name="f") if endless else self._event)


@pytest.mark.parametrize("what", FLOODS)
def test_of_an_answer_without_an_end_no_more_is_kept_than_its_budget(what: str) -> None:
    running = answer()
    running.expect(replace(running._expected, decoder=Flood(FLOODS[what])))  # noqa: SLF001
    pieces, piece = 0, b"x" * 256
    while running.error is None:
        running.receive(piece)
        pieces += len(piece)
        assert pieces <= MAX_ANSWER // 16 + 256 * 256, "nothing ended it"
    assert isinstance(running.error, ResponseTooLarge)
    assert "16,777,216" in str(running.error)


def test_a_whole_answer_is_one_however_long_it_is() -> None:
    events = (TextDelta("a" * MAX_ANSWER), *[TextDelta("b")] * 400, ResponseFinished())
    assert len(read(answer(*events), count=len(events))) == len(events) + 1
