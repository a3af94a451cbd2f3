import io
import json
import logging
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import pytest

from patinox.provider.local.errors import ServiceError
from patinox.provider.local.events import (
    CallContent,
    CallFinished,
    CallStarted,
    Event,
    Operation,
    Outcome,
    QueueWaited,
    Server,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.types import ServiceStatus
from patinox.telemetry import JSONFormatter, LogObserver
from patinox.telemetry.logs import fields, line

Story: TypeAlias = Any  # that of `conftest.py`
OLLAMA = Server("ollama", "ollama", "127.0.0.1", 11434)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the logger `patinox.test` writes, as JSON."""
    logger = logging.getLogger("patinox.test")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def records(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in written.getvalue().splitlines()]


def test_each_event_is_a_line_of_json(written: io.StringIO, story: Story) -> None:
    story.tell(LogObserver(logging.getLogger("patinox.test")))
    said = records(written)
    assert [(each["event"], each["level"]) for each in said] == [
        ("CallStarted", "DEBUG"),
        ("AttemptStarted", "DEBUG"),
        ("AttemptFinished", "WARNING"),
        ("AttemptStarted", "DEBUG"),
        ("AttemptFinished", "DEBUG"),
        ("CallFinished", "INFO"),
    ]
    end = said[-1]
    assert end["message"] == (
        "chat lmstudio::qwen3:4b by lmstudio: success after 0.800 s, 2 attempts"
    )
    assert end["server"] == {
        "id": "lmstudio",
        "kind": "lmstudio",
        "address": "127.0.0.1",
        "port": 1234,
    }
    assert end["usage"] == {"prompt_tokens": 12, "completion_tokens": 3, "cached_tokens": 4}
    assert (end["chunks"], end["time_to_first_token"]) == (2, 0.75)
    assert "error" not in end


def test_a_record_has_the_fields_that_are_known_and_the_number_of_pieces() -> None:
    known = CallFinished(
        call=1,
        operation=Operation.CHAT,
        requested="m",
        outcome=Outcome.SUCCESS,
        time_to_first_token=0.5,
        chunk_seconds=[0.1, 0.2],
    )
    all_of_them = {field.name for field in msgspec.structs.fields(CallFinished)}
    assert fields(known)["chunks"] == 3
    assert all_of_them - set(fields(known)) == {
        "chunk_seconds",
        *(name for name in all_of_them if getattr(known, name) is None),
    }
    assert set(fields(known)) - all_of_them == {"event", "chunks"}


def test_nothing_that_was_said_is_written(written: io.StringIO, story: Story) -> None:
    observer = LogObserver(logging.getLogger("patinox.test"))
    observer.observe(CallContent(call=1, request=story.request))
    with pytest.raises(ServiceError):
        story.tell(observer, answered=False)
    assert "secret" not in written.getvalue()
    assert records(written)[-1]["error"] == "ServiceError"


def test_the_usual_logger_takes_only_what_its_level_lets_through(
    caplog: pytest.LogCaptureFixture, story: Story
) -> None:
    with caplog.at_level(logging.INFO, logger="patinox"):
        story.tell(LogObserver())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert vars(caplog.records[0])["patinox"]["phase"] == "sent"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            ServiceChanged(
                server=OLLAMA, before=ServiceStatus.UNKNOWN, after=ServiceStatus.AVAILABLE
            ),
            "ollama is available, was unknown",
        ),
        (
            ServiceChanged(
                server=OLLAMA, before=ServiceStatus.UNKNOWN, after=ServiceStatus.UNKNOWN
            ),
            "ollama is unknown",
        ),
        (
            ServiceChanged(
                server=OLLAMA, before=ServiceStatus.AVAILABLE, after=ServiceStatus.UNKNOWN
            ),
            "ollama is watched no more, was available",
        ),
        (
            ServiceProbed(server=OLLAMA, outcome=Outcome.ERROR, error="ParseError", seconds=0.25),
            "probed ollama: ParseError after 0.250 s",
        ),
        (
            QueueWaited(call=1, server=OLLAMA, seconds=1),
            "waited 1.000 s for ollama",
        ),
        (
            CallStarted(call=1, operation=Operation.CHAT, requested="evil\n\x1b[2J"),
            "chat evil??[2J began",
        ),
        (CallStarted(call=1, operation=Operation.LIST_MODELS, requested=""), "list_models began"),
        (Event(), "Event"),
    ],
)
def test_an_event_is_told_in_one_line(event: Event, said: str) -> None:
    assert line(event) == said


def test_a_service_that_is_put_aside_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    LogObserver().observe(
        ServiceChanged(
            server=OLLAMA,
            before=ServiceStatus.AVAILABLE,
            after=ServiceStatus.UNAVAILABLE,
            opened=True,
        )
    )
    assert caplog.records[0].levelname == "WARNING"


def test_the_end_of_the_watch_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="patinox"):
        LogObserver().observe(
            ServiceChanged(
                server=OLLAMA, before=ServiceStatus.AVAILABLE, after=ServiceStatus.UNKNOWN
            )
        )
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_a_record_of_somebody_else_is_json_too() -> None:
    why = (ValueError, ValueError("oh"), None)
    record = logging.LogRecord("app", logging.ERROR, "f.py", 1, "it %s", ("broke",), why)
    written = json.loads(JSONFormatter().format(record))
    assert (written["logger"], written["message"]) == ("app", "it broke")
    assert "ValueError: oh" in written["exception"]
