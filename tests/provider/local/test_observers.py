import logging
from typing import Any

import pytest

from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.events import (
    CallContent,
    Event,
    Observer,
    QueueWaited,
    Server,
)
from patinox.provider.local.observers import NOBODY, Observers
from patinox.provider.types import CompletionRequest

EVENT = QueueWaited(call=1, server=Server("ollama", "ollama"), seconds=0.5)
CONTENT = CallContent(call=1, request=CompletionRequest("m", "my secret"))


class Notes:
    """Keeps what it is told."""

    def __init__(self, *, content: bool = False) -> None:
        self.content = content
        self.seen = list[Event]()

    def observe(self, event: Event) -> None:
        self.seen.append(event)


class Broken:
    def observe(self, event: Event) -> None:
        raise KeyError(type(event).__name__)


def test_everybody_is_told_in_order() -> None:
    first, second = Notes(), Notes()
    Observers([first, second]).tell(EVENT)
    assert first.seen == second.seen == [EVENT]


def test_nobody_is_false() -> None:
    assert not NOBODY
    assert Observers([Notes()])


def test_what_was_said_is_told_only_to_those_who_asked() -> None:
    plain, curious = Notes(), Notes(content=True)
    observers = Observers([plain, curious])
    observers.tell(CONTENT)
    assert observers.curious
    assert not Observers([plain]).curious
    assert (plain.seen, curious.seen) == ([], [CONTENT])


def test_a_fault_of_one_is_logged_once_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = Notes()
    observers = Observers([Broken(), notes])
    observers.tell(EVENT)
    observers.tell(EVENT)
    assert notes.seen == [EVENT, EVENT]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("patinox", logging.WARNING)
    assert "Broken failed" in record.getMessage()
    assert record.exc_info


class Chained:
    """Fails while it handles a failure of its own."""

    def observe(self, event: Event) -> None:
        try:
            Broken().observe(event)
        except KeyError as error:
            raise ValueError("and another") from error


@pytest.mark.parametrize("observer", [Broken(), Chained()])
def test_of_the_error_of_a_call_nothing_is_logged_with_an_observers_fault(
    observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        int("my secret")
    except ValueError:
        Observers([observer]).tell(EVENT)
    assert "my secret" not in caplog.text
    assert "KeyError" in caplog.text
    assert ("and another" in caplog.text) is isinstance(observer, Chained)


@pytest.mark.parametrize("wrong", [None, object(), Notes, "logs"])
def test_what_cannot_observe_is_refused(wrong: Notes) -> None:
    with pytest.raises(InvalidConfiguration, match="objects with a method `observe`"):
        Observers([wrong])


def test_one_that_wants_to_be_awaited_is_refused() -> None:
    class Waits:
        async def observe(self, event: Event) -> None:
            """Never run."""

    waits: Any = Waits()
    with pytest.raises(InvalidConfiguration, match="with an `async def observe`") as caught:
        Observers([waits])
    assert caught.value.hint is not None


def test_one_without_brackets_is_told_where_they_belong() -> None:
    single: Any = Notes()
    with pytest.raises(InvalidConfiguration, match="allowed: a list of observers") as caught:
        Observers(single)
    assert caught.value.hint == "Put a single one into brackets: observers=[one]."


def test_a_value_of_content_does_not_show_what_was_said() -> None:
    assert "my secret" not in repr(CONTENT)
