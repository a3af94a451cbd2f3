"""Who is asked next after a failure, and after how long."""

import pytest

from patinox.provider.errors import (
    AuthenticationError,
    CloudModelRefused,
    ContextLengthExceeded,
    InvalidRequest,
    ModelMismatch,
    ProviderError,
    RateLimited,
)
from patinox.provider.local.errors import (
    AllServicesFailed,
    LocalResourcesExhausted,
    ModelNotFound,
    ModelNotLoaded,
    ParseError,
    ServiceError,
    ServiceTimeout,
    ServiceUnavailable,
    StreamInterrupted,
)
from patinox.provider.local.events import Phase
from patinox.provider.local.retrying import Tries, Try, corrected, may_have_executed
from patinox.provider.local.routing import Choice
from patinox.provider.types import ModelId

A, B, C, D = (
    Choice(service=name, model=ModelId("m", name), reason="is available") for name in "abcd"
)
REFUSED = ServiceUnavailable("Refused.", refused=True)
NO_ROUTE = ServiceUnavailable("No route.", sent=False)
RESET = ServiceUnavailable("Reset.")
NO_CONNECTION = ServiceTimeout("No connection.", phase="connect", seconds=1)
NO_TOKEN = ServiceTimeout("No output.", phase="first_token", seconds=1)
OWN_LIMIT = ServiceTimeout("Your limit.", phase="total", seconds=1, retryable=False)
BUSY = RateLimited("Busy.", status=503, retry_after=4.0)
NEVER_FREE = RateLimited("Busy.", status=429)
FULL = RateLimited("100 wait already.")
WARMING = ModelNotLoaded("Loading model.", status=503)
NOT_LOADED = ModelNotLoaded("No models loaded.", status=400)


def delivered(error: ProviderError) -> ProviderError:
    error.delivered = True
    error.retryable = False
    return error


HALF = delivered(StreamInterrupted("Broke off.", text="half"))
KEY = AuthenticationError("Key.", status=401)
BROKE = ServiceError("It broke.", status=500)


def tries(*choices: Choice, **how: bool) -> Tries:
    return Tries(choices, random=lambda: 0.5, **how)


def course(*errors: ProviderError, among: Tries) -> str:
    """Write down who is asked when each attempt fails by the next error; `.` where it ends."""
    asked = ""
    for error in errors:
        following = among.next(0.0)
        if following is None:
            return asked + "."
        asked += following.choice.service
        among.failed(following.choice, error, 0.0, corrected(Phase.SENT, error))
    return asked + ("." if among.next(0.0) is None else "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        # Nothing has left this machine.
        (NO_ROUTE, "aab"),
        (REFUSED, "ab."),
        (NO_CONNECTION, "ab."),
        # It may have: elsewhere only.
        (RESET, "ab."),
        (NO_TOKEN, "ab."),
        (StreamInterrupted("Empty.", retryable=True), "ab."),
        (ParseError("Rubbish."), "ab."),
        (BROKE, "ab."),
        # The caller's fault, or limit, is one everywhere.
        (InvalidRequest("Wrong.", status=400), "a."),
        (ContextLengthExceeded("Too long.", status=400), "a."),
        (CloudModelRefused("Cloud."), "a."),
        (OWN_LIMIT, "a."),
        # A fact of one server.
        (ModelNotFound("Not here.", status=404), "ab."),
        (ModelMismatch("Another."), "ab."),
        (NOT_LOADED, "ab."),
        (KEY, "a."),
        # Busy, and whether it says when it will not be.
        (BUSY, "aba"),
        (NEVER_FREE, "ab."),
        (FULL, "ab."),
        (WARMING, "aba"),
        # A part of the answer has reached the caller.
        (HALF, "a."),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_where_a_request_goes_after_an_error(error: ProviderError, expected: str) -> None:
    assert course(*[error] * 3, among=tries(A, B))[: len(expected)] == expected


def test_there_are_at_most_three_attempts_and_one_more_than_servers() -> None:
    assert course(*[BROKE] * 9, among=tries(A, B, C, D)) == "abc."
    assert course(*[BUSY] * 9, among=tries(A)) == "aa."
    assert course(*[NO_ROUTE] * 9, among=tries(A, B)) == "aab."
    assert course(*[BROKE] * 9, among=tries()) == "."


def test_the_same_server_is_asked_twice_at_most() -> None:
    assert course(NO_ROUTE, BUSY, BROKE, among=tries(A, B)) == "aab."
    assert course(BUSY, BROKE, BUSY, among=tries(A, B)) == "aba."
    assert course(BROKE, among=tries(A)) == "a."


def test_what_may_be_done_twice_may_be_done_twice_on_one_server() -> None:
    assert course(RESET, RESET, among=tries(A, repeatable=True)) == "aa."
    assert course(REFUSED, among=tries(A, repeatable=True)) == "a."
    assert course(BROKE, among=tries(A, repeatable=True)) == "a."


def test_an_end_for_everybody_ends_the_waiting_too() -> None:
    assert course(BUSY, InvalidRequest("Wrong."), among=tries(A, B, C)) == "ab."


def test_who_could_not_be_reached_is_asked_again_after_a_moment() -> None:
    among = tries(A)
    among.next(0.0)
    among.failed(A, NO_ROUTE, 0.0, Phase.CONNECTING)
    assert among.next(0.0) == Try(choice=A, wait=0.1)


def test_the_moment_is_longer_after_more_failures() -> None:
    among = tries(A, B)
    among.failed(A, BROKE, 0.0, Phase.ANSWERING)
    among.failed(B, NO_ROUTE, 0.0, Phase.CONNECTING)
    assert among.next(0.0) == Try(choice=B, wait=0.2)


@pytest.mark.parametrize(
    ("asked", "passed", "wait"), [(4.0, 0.0, 4.0), (4.0, 1.5, 2.5), (4.0, 9.0, 0.0), (99, 0, 10)]
)
def test_who_is_busy_is_waited_for_as_it_says(asked: float, passed: float, wait: float) -> None:
    among = tries(A)
    among.next(100.0)
    among.failed(A, RateLimited("Busy.", retry_after=asked), 100.0, Phase.ANSWERING)
    assert among.next(100.0 + passed) == Try(choice=A, wait=wait)


def test_who_loads_its_model_is_waited_for() -> None:
    among = tries(A)
    among.next(0.0)
    among.failed(A, WARMING, 0.0, Phase.ANSWERING)
    assert among.next(0.0) == Try(choice=A, warming=True)


@pytest.mark.parametrize(
    ("noted", "error", "phase", "executed"),
    [
        # Nobody took the call.
        (Phase.FINDING, REFUSED, Phase.CONNECTING, False),
        (Phase.SENT, REFUSED, Phase.CONNECTING, False),
        (Phase.SENT, NO_ROUTE, Phase.CONNECTING, False),
        (Phase.SENT, NO_CONNECTION, Phase.CONNECTING, False),
        (Phase.SENT, LocalResourcesExhausted("No port left."), Phase.CONNECTING, False),
        # What was seen is so.
        (Phase.FINDING, FULL, Phase.FINDING, False),
        (Phase.FINDING, ServiceError("No list.", status=500), Phase.FINDING, False),
        (Phase.FINDING, OWN_LIMIT, Phase.FINDING, False),
        (Phase.SENT, RESET, Phase.SENT, True),
        (Phase.SENT, NO_TOKEN, Phase.SENT, True),
        (Phase.ANSWERING, NO_TOKEN, Phase.ANSWERING, True),
        (Phase.OUTPUT, HALF, Phase.OUTPUT, True),
        # There was a reply, and some say that nothing was begun.
        (Phase.SENT, BROKE, Phase.ANSWERING, True),
        (Phase.SENT, ParseError("Compressed."), Phase.ANSWERING, True),
        (Phase.ANSWERING, BUSY, Phase.ANSWERING, False),
        (Phase.ANSWERING, KEY, Phase.ANSWERING, False),
        (Phase.ANSWERING, InvalidRequest("Wrong.", status=400), Phase.ANSWERING, False),
    ],
    ids=str,
)
def test_how_far_an_attempt_came_is_what_was_seen_and_its_error(
    noted: Phase, error: ProviderError, phase: Phase, *, executed: bool
) -> None:
    reached = corrected(noted, error)
    assert (reached, may_have_executed(reached, error)) == (phase, executed)


def test_one_service_that_failed_raises_what_it_said_last() -> None:
    among = tries(A)
    course(BUSY, BROKE, among=among)
    assert among.error() is BROKE


def test_what_would_be_the_same_everywhere_is_raised_as_it_is_whatever_failed_before() -> None:
    among, wrong = tries(A, B), InvalidRequest("Wrong.")
    course(BROKE, wrong, among=among)
    assert among.error() is wrong


def test_several_are_one_error_with_the_first_as_its_cause() -> None:
    among = tries(A, B)
    first = ServiceError("It broke.", status=500, hint="Restart it.")
    course(first, RESET, among=among)
    error = among.error()
    assert isinstance(error, AllServicesFailed)
    assert str(error) == "All 2 services failed. a: It broke. b: Reset. Restart it."
    assert (error.attempts, error.__cause__) == ({"a": first, "b": RESET}, first)
    assert [(one.service, one.phase, one.may_have_executed) for one in error.tried] == [
        ("a", "answering", True),
        ("b", "sent", True),
    ]
