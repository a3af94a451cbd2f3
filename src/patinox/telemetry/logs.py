"""Events as structured records of the standard library's logging: no prompts, no answers, no keys.

    logging.basicConfig(level=logging.INFO)
    async with LocalProvider(observers=[LogObserver()]) as local: ...

A record's message is a line for people; its attribute `patinox` has the fields, ready for JSON:
without those that are `None`, and with `chunks`, how many pieces came, in place of `chunk_seconds`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from patinox.provider.local.events import (
    AttemptFinished,
    AttemptStarted,
    CallContent,
    CallFinished,
    CallStarted,
    Event,
    Outcome,
    QueueWaited,
    ServiceChanged,
    ServiceProbed,
)
from patinox.provider.local.types import ServiceStatus

_SHOWN_CHARACTERS = 120


class LogObserver:
    """Writes a record for each event.

    The end of a request and a change of a service are `INFO`, what failed is `WARNING`, all else is
    `DEBUG`.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        """Write to this logger; to `patinox` if none is given."""
        self._logger = logger or logging.getLogger("patinox")

    def observe(self, event: Event) -> None:
        """Write the record of an event."""
        level = _level(event)
        if self._logger.isEnabledFor(level) and not isinstance(event, CallContent):
            self._logger.log(level, "%s", line(event), extra={"patinox": fields(event)})


class JSONFormatter(logging.Formatter):
    """Writes each record as a line of JSON: time, level, logger, message, and our fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        written = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "patinox", {}),
        }
        if record.exc_info:
            written["exception"] = self.formatException(record.exc_info)
        return json.dumps(written, ensure_ascii=False, default=str)


def fields(event: Event) -> dict[str, Any]:
    """Return the fields of an event, with its name, as values of JSON.

    Those that are `None` are left out; of the times between pieces only the pieces' number is told.
    """
    told = _set(msgspec.to_builtins(event))
    if isinstance(event, CallFinished):
        later = told.pop("chunk_seconds")
        told["chunks"] = len(later) + (event.time_to_first_token is not None)
    return {"event": type(event).__name__, **told}


def _set(values: dict[str, Any]) -> dict[str, Any]:
    inner = {
        name: _set(cast("dict[str, Any]", each)) if isinstance(each, dict) else each
        for name, each in values.items()
    }
    return {name: each for name, each in inner.items() if each is not None}


def line(event: Event) -> str:
    """Say what happened in a line."""
    match event:
        case CallStarted():
            said = f"{_asked(event)} began"
        case AttemptStarted():
            said = f"asking {event.server.id}" + (f" ({event.reason})" if event.reason else "")
        case AttemptFinished():
            said = f"{event.server.id}: {_end(event)} ({event.phase})"
        case CallFinished():
            where = f" by {event.server.id}" if event.server else ""
            asked = f", {event.attempts} attempts" if event.attempts > 1 else ""
            said = f"{_asked(event)}{where}: {_end(event)}{asked}"
        case ServiceChanged():
            before = "" if event.after is event.before else f", was {event.before}"
            ended = before and event.after is ServiceStatus.UNKNOWN
            now = "watched no more" if ended else event.after
            said = f"{event.server.id} is {now}{before}"
        case ServiceProbed():
            said = f"probed {event.server.id}: {_end(event)}"
        case QueueWaited():
            said = f"waited {event.seconds:.3f} s for {event.server.id}"
        case _:
            said = type(event).__name__
    return said


def _end(event: AttemptFinished | CallFinished | ServiceProbed) -> str:
    return f"{event.error or event.outcome} after {event.seconds:.3f} s"


def _asked(event: CallStarted | CallFinished) -> str:
    return f"{event.operation} {_safe(event.requested)}".rstrip()


def _safe(name: str) -> str:
    """Write a name in one line, and not without end: it may come from anywhere."""
    return "".join(each if each.isprintable() else "?" for each in name[:_SHOWN_CHARACTERS])


def _level(event: Event) -> int:
    match event:
        case CallFinished() | AttemptFinished() if event.outcome is Outcome.ERROR:
            return logging.WARNING
        case ServiceChanged(opened=True):
            return logging.WARNING
        case ServiceChanged(after=ServiceStatus.UNKNOWN):
            return logging.DEBUG  # it has not changed: its provider is closed
        case CallFinished() | ServiceChanged():
            return logging.INFO
        case _:
            return logging.DEBUG
