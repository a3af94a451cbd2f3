"""The point of no return of an answer: until its first output, nothing of it has gone out."""

from __future__ import annotations

import msgspec

from patinox.provider.stream import LoadProgress, ResponseFinished, StreamEvent, is_output

# What is held back at most, in events and in bytes: beyond it the answer goes out as it is.
MOST_EVENTS = 64
MOST_BYTES = 256 * 2**10


class Held:
    """Holds the events of one answer back until its first output, so that it may still be dropped.

    Attributes:
        committed: output has gone out: the answer is this server's, come what may.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.committed = False
        self._events: list[StreamEvent] = []
        self._bytes = 0

    def take(self, batch: list[StreamEvent]) -> list[StreamEvent]:
        """Take events; return those that go out now.

        That a model is being loaded is told at once: whoever answers in the end, it is true.
        """
        if self.committed:
            return batch
        if not self._events and _commits(batch[-1]):
            # Nothing is held, and what comes first goes out with what it waited for.
            self.committed = True
            return batch
        progress: list[StreamEvent] = [event for event in batch if isinstance(event, LoadProgress)]
        self._events += (event for event in batch if not isinstance(event, LoadProgress))
        self.committed = any(map(_commits, batch)) or self._too_many(batch)
        if not self.committed:
            return progress
        held, self._events = self._events, []
        return progress + held

    def _too_many(self, batch: list[StreamEvent]) -> bool:
        self._bytes += len(msgspec.json.encode(batch))
        return len(self._events) > MOST_EVENTS or self._bytes > MOST_BYTES


def _commits(event: StreamEvent) -> bool:
    return is_output(event) or isinstance(event, ResponseFinished)
