"""One answer followed from the request to its end: clocks, what has come, what an error means."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from patinox.provider.assemble import Assembler
from patinox.provider.errors import ModelMismatch, ProviderError
from patinox.provider.local.config import Deadlines
from patinox.provider.local.dialects.base import ChatDecoder, speed
from patinox.provider.local.errors import ServiceTimeout, StreamInterrupted
from patinox.provider.types import (
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    Timings,
)


class Answer:
    """What is known of one answer while it comes in; free of I/O."""

    def __init__(
        self,
        *,
        service: str,
        decoder: ChatDecoder,
        deadlines: Deadlines,
        total: float | None,
        clock: Callable[[], float],
    ) -> None:
        """Start the clocks.

        Args:
            service: id of the service that answers.
            decoder: turns its bytes into events.
            deadlines: limits of the phases.
            total: seconds the whole answer may take, or `None`.
            clock: monotonic seconds.
        """
        self._service = service
        self._decoder = decoder
        self._deadlines = deadlines
        self._total = total
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._last: float | None = None
        self._pieces = Assembler()
        self._begun = False

    @property
    def ended(self) -> bool:
        """Whether the server has said that the answer is whole."""
        return self._decoder.ended

    def limit(self) -> tuple[float, str]:
        """Return how many seconds may pass until the next bytes, and the name of that limit."""
        elapsed = self._clock() - self._started
        if self._first is None:
            seconds, phase = self._deadlines.first_token - elapsed, "first_token"
        else:
            seconds, phase = self._deadlines.idle, "idle"
        if self._total is not None and self._total - elapsed < seconds:
            seconds, phase = self._total - elapsed, "total"
        return max(seconds, 0.0), phase

    def events(
        self, data: bytes, *, model: str, same_model: Callable[[str], bool]
    ) -> Iterator[StreamEvent]:
        """Turn bytes into events; none is the end of the body.

        A server that names no model is taken to answer with `model`.

        Raises:
            ModelMismatch: another model answers, or goes on, than `same_model` accepts.
            ProviderError: what the server reports, or that the answer broke off.
        """
        for event in self._decoder.feed(data) if data else self._decoder.close():
            if isinstance(event, ResponseStarted):
                if not same_model(event.model):
                    msg = f"{self._service} answered with {event.model!r} instead."
                    raise ModelMismatch(msg, hint="See: patinox models")
                yield from self._begin(event)
                continue
            yield from self._begin(ResponseStarted(model=model))
            if isinstance(event, ResponseFinished):
                yield self._keep(replace(event, timings=self._timings(event)))
            else:
                self._last = self._clock()
                self._first = self._last if self._first is None else self._first
                yield self._keep(event)

    def failed(self, error: ProviderError) -> ProviderError:
        """Return the error to raise: once output was handed out, one that carries it."""
        if error.service is None:
            error.service = self._service
        if isinstance(error, ServiceTimeout):
            error.seconds = self._limits().get(error.phase, error.seconds)
        if self._first is None:
            return error
        text = self._pieces.text
        interrupted = StreamInterrupted(
            f"{self._service} stopped in the middle of the answer, after {len(text):,} characters:"
            f" {error.message}",
            text=text,
            reasoning=self._pieces.reasoning,
            tool_calls=self._pieces.tool_calls,
            hint=error.hint,
            service=self._service,
            retryable=False,
        )
        interrupted.delivered = True
        interrupted.__cause__ = error
        return interrupted

    def _begin(self, event: ResponseStarted) -> Iterator[StreamEvent]:
        if not self._begun:
            self._begun = True
            yield self._keep(replace(event, service=self._service))

    def _limits(self) -> dict[str, float]:
        """Return the whole limits, of which `limit` returns what is left."""
        limits = {"first_token": self._deadlines.first_token, "idle": self._deadlines.idle}
        return limits if self._total is None else {**limits, "total": self._total}

    def _keep(self, event: StreamEvent) -> StreamEvent:
        self._pieces.add(event)
        return event

    def _timings(self, event: ResponseFinished) -> Timings:
        """Add what was measured here to what the server says."""
        timings = replace(
            event.timings,
            time_to_first_token=None if self._first is None else self._first - self._started,
            total_seconds=self._clock() - self._started,
        )
        rate = self._speed(event.usage.completion_tokens)
        if timings.tokens_per_second is not None or rate is None:
            return timings
        return replace(timings, tokens_per_second=rate, measured_by="client")

    def _speed(self, tokens: int | None) -> float | None:
        """Tokens after the first, by the time they took; unknown if all came at once."""
        if tokens is None or self._first is None or self._last is None:
            return None
        return speed(tokens - 1, self._last - self._first)
