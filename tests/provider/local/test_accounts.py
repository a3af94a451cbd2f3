import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import InvalidRequest, ModelMismatch, ProviderError, RateLimited
from patinox.provider.local.accounts import Attempt, Call
from patinox.provider.local.errors import (
    AllServicesFailed,
    ParseError,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.events import (
    UNEXPECTED,
    AttemptFinished,
    AttemptStarted,
    CallContent,
    CallFinished,
    CallStarted,
    Event,
    Operation,
    Outcome,
    Phase,
    QueueWaited,
    Server,
    error_name,
)
from patinox.provider.local.observers import Observers
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.types import (
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelInfo,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
)

OLLAMA = Server("ollama", "ollama", "127.0.0.1", 11434)
LMSTUDIO = Server("lmstudio", "lmstudio", "127.0.0.1", 1234)
REQUEST = CompletionRequest("qwen3:4b", "my secret", temperature=0.5, max_tokens=9, stop="secret")
USAGE = Usage(prompt_tokens=3, completion_tokens=2)
END = ResponseFinished(finish_reason="stop", usage=USAGE)


class Notes:
    def __init__(self, *, content: bool = False) -> None:
        self.content = content
        self.seen = list[Event]()

    def observe(self, event: Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if type(event) is kind]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def notes() -> Notes:
    return Notes()


def call(
    *notes: Notes, clock: Clock | None = None, streaming: bool = False, server: Server | None = None
) -> Call:
    return Call(
        Operation.CHAT,
        REQUEST,
        clock=clock or Clock(),
        observers=Observers(notes),
        streaming=streaming,
        server=server,
    )


def ask(account: Call, *batches: list[StreamEvent], fails: BaseException | None = None) -> None:
    """Ask Ollama once: so much comes, and then perhaps it fails."""
    with account.attempt(OLLAMA) as attempt:
        attempt.sends(HTTPRequest(path="/"))
        for batch in batches:
            attempt.takes(batch)
        if fails is not None:
            raise fails


def ask_in_vain(notes: Notes, error: BaseException, *batches: list[StreamEvent]) -> None:
    """Make a request that ends so."""
    with pytest.raises(type(error)), call(notes) as account:
        ask(account, *batches, fails=error)


def test_a_request_is_told_from_its_start_to_its_end(notes: Notes) -> None:
    clock = Clock()
    with call(notes, clock=clock, streaming=True) as account:
        clock.now += 1
        with account.attempt(OLLAMA, reason="preferred") as attempt:
            attempt.finds(ModelInfo(id="qwen3:4b", service="ollama", loaded=True))
            attempt.sends(HTTPRequest(path="/", body=b"x" * 200))
            clock.now += 1
            attempt.takes([ResponseStarted(model="qwen3:4b", id="x"), TextDelta("ab")], 50)
            clock.now += 1
            attempt.takes([TextDelta("c"), ReasoningDelta("d")])
            attempt.takes([ToolCallDelta(index=0, arguments="{}"), END])
    number = account.number
    assert notes.seen == [
        CallStarted(
            call=number,
            operation=Operation.CHAT,
            requested="qwen3:4b",
            streaming=True,
            parameters={"temperature": 0.5, "max_tokens": 9},
        ),
        AttemptStarted(call=number, attempt=1, server=OLLAMA, reason="preferred"),
        AttemptFinished(
            call=number,
            attempt=1,
            server=OLLAMA,
            model="qwen3:4b",
            loaded=True,
            outcome=Outcome.SUCCESS,
            phase=Phase.ENDED,
            seconds=2.0,
            may_have_executed=True,
            characters=6,
            sent_bytes=200,
            received_bytes=50,
        ),
        CallFinished(
            call=number,
            operation=Operation.CHAT,
            requested="qwen3:4b",
            streaming=True,
            model="qwen3:4b",
            server=OLLAMA,
            outcome=Outcome.SUCCESS,
            attempts=1,
            reason="preferred",
            seconds=3.0,
            time_to_first_token=2.0,
            chunk_seconds=[0.5, 0.5, 0.0],
            characters=6,
            usage=USAGE,
            finish_reason="stop",
            answered_model="qwen3:4b",
            response_id="x",
            sent_bytes=200,
            received_bytes=50,
        ),
    ]


def test_another_server_is_a_fallback_and_both_attempts_are_seen(notes: Notes) -> None:
    with call(notes) as account:
        with pytest.raises(ServiceError):
            ask(account, fails=ServiceError("it broke"))
        with account.attempt(LMSTUDIO) as second:
            second.takes([TextDelta("a"), END])
    failed, answered = notes.of(AttemptFinished)
    assert (failed.attempt, failed.outcome, failed.error) == (1, "error", "ServiceError")
    assert (failed.at_fault, failed.may_have_executed) == (True, True)
    assert (answered.attempt, answered.outcome) == (2, "success")
    (end,) = notes.of(CallFinished)
    assert (end.outcome, end.attempts, end.fallback, end.server) == ("success", 2, True, LMSTUDIO)


def test_an_answer_that_another_server_goes_on_with_is_one_answer() -> None:
    clock, notes = Clock(), Notes(content=True)
    with call(notes, clock=clock) as account:
        clock.now += 1
        with pytest.raises(StreamInterrupted):
            ask(account, [TextDelta("One ")], [TextDelta("two ")], fails=StreamInterrupted("x"))
        clock.now += 1
        with account.attempt(LMSTUDIO) as attempt:
            attempt.takes([TextDelta("three")])
            attempt.takes([END])
    (end,), (said,) = notes.of(CallFinished), notes.of(CallContent)
    assert (end.outcome, end.fallback, end.server) == ("success", True, LMSTUDIO)
    assert (end.characters, end.time_to_first_token) == (13, 1.0)
    assert len(end.chunk_seconds) == 1
    assert said.response.text == "One two three"


def test_the_same_server_asked_again_is_no_fallback(notes: Notes) -> None:
    with call(notes) as account:
        for _ in range(2):
            with account.attempt(OLLAMA) as attempt:
                attempt.takes([END])
    assert notes.of(CallFinished)[0].fallback is False


@pytest.mark.parametrize(
    ("error", "outcome", "name"),
    [
        (ServiceError("x"), "error", "ServiceError"),
        (KeyError("x"), "error", UNEXPECTED),
        (asyncio.CancelledError(), "cancelled", None),
        (KeyboardInterrupt(), "cancelled", None),
        (GeneratorExit(), "client_gone", None),
    ],
)
def test_how_it_was_left_says_how_it_ended(
    notes: Notes, error: BaseException, outcome: str, name: str | None
) -> None:
    ask_in_vain(notes, error, [TextDelta("abc")])
    for event in (*notes.of(AttemptFinished), *notes.of(CallFinished)):
        assert (event.outcome, event.error, event.characters) == (outcome, name, 3)


def test_whoever_leaves_after_the_end_has_the_whole_answer(notes: Notes) -> None:
    ask_in_vain(notes, GeneratorExit(), [TextDelta("abc"), END])
    assert [event.outcome for event in notes.of(AttemptFinished)] == ["success"]
    assert [event.outcome for event in notes.of(CallFinished)] == ["success"]


@pytest.mark.parametrize(
    ("error", "characters"),
    [(ServiceError("x"), 3), (asyncio.CancelledError(), 3), (GeneratorExit(), 0)],
)
def test_output_of_no_whole_answer_is_waste_unless_its_caller_had_enough(
    notes: Notes, error: BaseException, characters: int
) -> None:
    ask_in_vain(notes, error, [TextDelta("abc")])
    (event,) = notes.of(AttemptFinished)
    assert (event.characters, event.wasted_characters) == (3, characters)


def test_the_time_that_a_server_worked_in_vain_begins_when_it_is_called(notes: Notes) -> None:
    clock = Clock()

    def fail(attempt: Attempt) -> None:
        clock.now += 1
        attempt.sends(HTTPRequest(path="/"))
        clock.now += 2
        raise ServiceError("x")

    with (
        pytest.raises(ServiceError),
        call(notes, clock=clock) as account,
        account.attempt(OLLAMA) as asked,
    ):
        fail(asked)
    assert notes.of(AttemptFinished)[0].wasted_seconds == 2.0


@pytest.mark.parametrize(
    ("error", "phase", "may_have_executed"),
    [
        (ServiceUnavailable("x", refused=True, sent=False), "connecting", False),
        (ServiceTimeout("x", phase="connect", seconds=1), "connecting", False),
        (ServiceUnavailable("x", sent=False), "connecting", False),
        (ServiceUnavailable("x"), "sent", True),
        (ServiceTimeout("x", phase="first_token", seconds=1), "sent", True),
        (RateLimited("x", status=503), "answering", False),
        (InvalidRequest("x", status=400), "answering", False),
        (ServiceError("x", status=500), "answering", True),
    ],
)
def test_an_attempt_says_how_far_it_came_and_whether_it_may_have_run(
    notes: Notes, error: ProviderError, phase: str, may_have_executed: object
) -> None:
    ask_in_vain(notes, error)
    (event,) = notes.of(AttemptFinished)
    assert (event.phase, event.may_have_executed) == (phase, may_have_executed)


def caused(error: ProviderError, cause: ProviderError) -> ProviderError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "breach", "at_fault"),
    [
        (ParseError("x"), True, True),
        (ModelMismatch("x"), True, False),
        (caused(StreamInterrupted("x"), ParseError("y")), True, True),
        (caused(StreamInterrupted("x"), ServiceError("y")), False, True),
        (InvalidRequest("x"), False, False),
    ],
)
def test_an_attempt_says_whose_fault_it_was(
    notes: Notes, error: ProviderError, breach: object, at_fault: object
) -> None:
    ask_in_vain(notes, error)
    (event,) = notes.of(AttemptFinished)
    assert (event.breach, event.at_fault) == (breach, at_fault)


def test_a_request_that_reached_nobody_is_told_too(notes: Notes) -> None:
    with pytest.raises(AllServicesFailed), call(notes, server=OLLAMA):
        raise AllServicesFailed("none", attempts={})
    (end,) = notes.of(CallFinished)
    assert (end.attempts, end.model, end.server) == (0, None, OLLAMA)
    assert (end.outcome, end.error) == ("error", "AllServicesFailed")


def test_what_was_said_is_told_to_the_curious_alone() -> None:
    plain, curious = Notes(), Notes(content=True)
    with pytest.raises(StreamInterrupted), call(plain, curious) as account:
        ask(account, [TextDelta("half an ")], [TextDelta("answer")], fails=StreamInterrupted("x"))
    assert not plain.of(CallContent)
    (said,) = curious.of(CallContent)
    assert said.request is REQUEST
    assert said.response.text == "half an answer"
    assert "secret" not in repr(plain.seen)
    assert "half" not in repr(plain.seen)


def test_a_request_without_an_answer_has_none_to_tell() -> None:
    curious = Notes(content=True)
    with pytest.raises(ServiceError), call(curious):
        raise ServiceError("x")
    assert [said.response for said in curious.of(CallContent)] == [None]


def test_texts_to_embed_are_never_told() -> None:
    curious = Notes(content=True)
    request = EmbeddingRequest("nomic", ["my secret"], dimensions=8)
    with (
        Call(
            Operation.EMBEDDINGS, request, clock=Clock(), observers=Observers([curious])
        ) as account,
        account.attempt(OLLAMA) as attempt,
    ):
        matrix = EmbeddingMatrix.from_rows([[1.0]])
        attempt.takes_vectors(EmbeddingResponse(model="nomic", embeddings=matrix, usage=USAGE))
    assert [type(event) for event in curious.seen] == [
        CallStarted,
        AttemptStarted,
        AttemptFinished,
        CallFinished,
    ]
    assert curious.seen[0].parameters == {"dimensions": 8}  # type: ignore[attr-defined]
    assert "secret" not in repr(curious.seen)


def test_a_ledger_takes_each_attempt_though_nobody_watches() -> None:
    taken = list[AttemptFinished]()
    account = Call(Operation.CHAT, REQUEST, clock=Clock(), ledger=taken.append)
    with contextlib.suppress(ServiceError), account:
        ask(account, [TextDelta("a"), END])
        ask(account, fails=ServiceError("x"))
    assert [(event.outcome, event.at_fault) for event in taken] == [
        ("success", False),
        ("error", True),
    ]


def test_an_error_of_somebody_elses_is_named_by_the_nearest_of_ours() -> None:
    theirs = type("QuotaExceeded", (RateLimited,), {"__module__": "plugin"})
    assert error_name(theirs("x")) == "RateLimited"


def test_a_turn_that_was_waited_for_is_told(notes: Notes) -> None:
    with call(notes) as account, account.attempt(OLLAMA) as attempt:
        attempt.waited(0.5)
        attempt.takes([END])
    assert notes.of(QueueWaited) == [QueueWaited(call=account.number, server=OLLAMA, seconds=0.5)]


def test_where_nobody_watches_nothing_is_kept() -> None:
    account = Call(Operation.CHAT, REQUEST, clock=Clock())
    with account:
        with account.attempt(OLLAMA) as attempt:
            attempt.waited(1.0)
            attempt.takes([TextDelta("abc"), END])
        assert (attempt.characters, attempt.phase) == (0, Phase.ENDED)


ENDS = (ServiceError("x"), asyncio.CancelledError(), GeneratorExit(), KeyError())
BATCHES = st.lists(
    st.lists(
        st.sampled_from([TextDelta("ab"), ResponseStarted(model="m"), StreamEvent(), END]),
        min_size=1,
    ),
    max_size=3,
)
ATTEMPTS = st.lists(st.tuples(BATCHES, st.none() | st.sampled_from(ENDS)), max_size=4)


@given(requests=st.lists(ATTEMPTS, max_size=5))
def test_the_books_balance_whatever_happens(
    requests: list[list[tuple[list[list[StreamEvent]], BaseException | None]]],
) -> None:
    notes, asked, came = Notes(), 0, 0
    for attempts in requests:
        with contextlib.suppress(*map(type, ENDS)), call(notes) as account:
            for batches, error in attempts:
                asked += 1
                came += sum(len(each.text) for batch in batches for each in batch)
                with contextlib.suppress(ServiceError):  # as a coordinator does: to the next one
                    ask(account, *batches, fails=error)
    started, ended = notes.of(CallStarted), notes.of(CallFinished)
    assert len(ended) == len(requests)
    assert [event.call for event in started] == [event.call for event in ended]
    assert sum(event.attempts for event in ended) == asked == len(notes.of(AttemptFinished))
    in_flight = [0]
    for event in notes.seen:
        in_flight.append(in_flight[-1] + DEPTH[type(event)])
    assert in_flight[-1] == 0
    assert min(in_flight) == 0
    assert sum(event.characters for event in notes.of(AttemptFinished)) == came
    assert all(event.wasted_characters <= event.characters for event in notes.of(AttemptFinished))


DEPTH: dict[type[Event], int] = {
    CallStarted: 1,
    AttemptStarted: 1,
    AttemptFinished: -1,
    CallFinished: -1,
}


def every_error(kind: type[ProviderError] = ProviderError) -> Iterator[type[ProviderError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def test_the_names_of_errors_are_those_of_our_classes() -> None:
    ours = {kind for kind in every_error() if kind.__module__.startswith("patinox.")}
    assert {error_name(kind.__new__(kind)) for kind in ours} == {kind.__name__ for kind in ours}
