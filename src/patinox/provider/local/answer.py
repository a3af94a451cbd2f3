"""One answer followed from the request to its end: clocks, what has come, what an error means."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from patinox.provider.assemble import Assembler
from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local.accounts import Attempt
from patinox.provider.local.config import Deadlines
from patinox.provider.local.dialects.base import speed
from patinox.provider.local.errors import (
    ParseError,
    ResponseTooLarge,
    ServiceTimeout,
    StreamInterrupted,
)
from patinox.provider.local.prepare import Prepared
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.stream import (
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    is_output,
)
from patinox.provider.types import ModelInfo, Timings

# What is kept of one answer at most, as `Assembler.size` reckons it.
MAX_ANSWER = 16 * 2**20
# Batches, and bytes of the reply, that are kept as they are before they are joined.
_MOST_BATCHES = 256
_MOST_BYTES = 2**20


class Answer:
    """What is known of one answer while it comes in; free of I/O.

    Attributes:
        error: what was wrong with the bytes that were received last, or `None`.
    """

    _expected: Prepared

    def __init__(
        self,
        *,
        service: str,
        deadlines: Deadlines,
        total: float | None,
        attempt: float | None = None,
        clock: Callable[[], float],
        account: Attempt | None = None,
    ) -> None:
        """Start the clocks.

        Args:
            service: id of the service that answers.
            deadlines: limits of the phases.
            total: seconds the caller gives the whole answer, waiting included, or `None`.
            attempt: seconds the service's settings give it, once it is not waited any more.
            clock: monotonic seconds.
            account: what is told of it; `None` where nobody keeps one.

        """
        self.error: ProviderError | None = None
        self._service = service
        self._deadlines = deadlines
        self._total = total
        self._attempt = attempt
        self._clock = clock
        self._account = account
        self._began = self._started = self._awaited = clock()
        self._first: float | None = None
        self._last: float | None = None
        self._since: float | None = None  # the first wait for the next output began
        # A server that only pings is waited for as long as one that has not begun.
        self._longest, self._longest_phase = max(
            (deadlines.idle, "idle"), (deadlines.first_token, "first_token")
        )
        self._expecting = False
        self._pieces: Assembler | None = None
        self._batches: list[list[StreamEvent]] = []
        self._unjoined = 0
        self._begun = self._remote = False

    def expect(self, prepared: Prepared) -> None:
        """Say how to read the answer, before its first bytes."""
        self._expected = prepared
        self._expecting = True

    def found(self, info: ModelInfo) -> None:
        """Note which model is asked."""
        self._remote = info.remote
        if self._account is not None:
            self._account.finds(info)

    def asked(self, http: HTTPRequest) -> None:
        """Note that the server is called now."""
        if self._account is not None:
            self._account.sends(http)

    def accepted(self, size: int = 0) -> None:
        """Note that the server replies; `size` bytes of that say why it does not answer."""
        if self._account is not None:
            self._account.replies(size)

    @property
    def ended(self) -> bool:
        """Whether the server has said that the answer is whole."""
        return self._expecting and self._expected.decoder.ended

    def starts(self) -> None:
        """Start all clocks but the caller's anew: so far the request has waited for its turn."""
        self._started = self._awaited = self._clock()
        if self._account is not None:
            self._account.waited(self._started - self._began)

    def goes_on(self) -> None:
        """Note that a model that is being loaded is further: its first output may come later."""
        self._awaited = self._clock()

    @property
    def seconds(self) -> float:
        """Seconds since the request."""
        return self._clock() - self._started

    @property
    def answering(self) -> bool:
        """Whether output has come."""
        return self._first is not None

    def connect(self, *, local: bool) -> float:
        """Return the seconds for the connection, to this machine (`local`) or another."""
        return self._deadlines.connect if local else self._deadlines.connect_remote

    def total(self) -> float | None:
        """Return the seconds that are left of the caller's limit."""
        if self._total is None:
            return None
        return max(0.0, self._total - (self._clock() - self._began))

    def limit(self) -> tuple[float, str]:
        """Return how many seconds may pass until the next bytes, and the name of that limit."""
        now = self._clock()
        elapsed = now - self._started
        if self._first is None:
            seconds, phase = self._deadlines.first_token - (now - self._awaited), "first_token"
        else:
            seconds, phase = self._deadlines.idle, "idle"
            if self._since is None:
                self._since = now
            if self._longest - (now - self._since) < seconds:
                seconds, phase = self._longest - (now - self._since), self._longest_phase
        if self._attempt is not None and self._attempt - elapsed < seconds:
            seconds, phase = self._attempt - elapsed, "attempt"
        total = self.total()
        if total is not None and total < seconds:
            seconds, phase = total, "total"
        return max(seconds, 0.0), phase

    def receive(self, data: bytes) -> list[StreamEvent]:
        """Turn bytes into events; none is the end of the body.

        What is wrong with the bytes is put into `error`: what came before it is handed out first.
        """
        self._unjoined += len(data)
        events = self._decoded(data)
        if self._account is not None:
            self._account.takes(events, len(data))
        return events

    def _decoded(self, data: bytes) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        try:
            if data:
                self._expected.decoder.feed(data, events)
            else:
                self._expected.decoder.close(events)
        except ProviderError as error:
            if isinstance(error, ParseError):
                error.status = 200  # which is what says that this was a server's reply
            self.error = error
        if events and (not self._begun or ResponseStarted in map(type, events)):
            events = self._signed(events)
        if not events:
            return events
        self._since = None
        if any(map(is_output, events)):
            self._last = self._clock()
            self._first = self._last if self._first is None else self._first
        if isinstance(last := events[-1], ResponseFinished):
            warnings = self._expected.review(last)
            events[-1] = replace(last, timings=self._timings(last), warnings=warnings)
        self._keep(events)
        return events

    def failed(self, error: ProviderError) -> ProviderError:
        """Return the error to raise: once output was handed out, one that carries it."""
        if error.service is None:
            error.service = self._service
        if isinstance(error, ServiceTimeout):
            error.seconds = self._limits().get(error.phase, error.seconds)
        if self._first is None:
            return error
        pieces = self._joined()
        text = pieces.text
        interrupted = StreamInterrupted(
            _broken(error, self._service, len(text)),
            text=text,
            reasoning=pieces.reasoning,
            tool_calls=pieces.tool_calls,
            hint=error.hint,
            service=self._service,
            retryable=False,
        )
        interrupted.delivered = True
        interrupted.__cause__ = error
        return interrupted

    def _limits(self) -> dict[str, float]:
        """Return the whole limits, of which `limit` returns what is left."""
        limits = {"first_token": self._deadlines.first_token, "idle": self._deadlines.idle}
        more = {"total": self._total, "attempt": self._attempt}
        return limits | {phase: limit for phase, limit in more.items() if limit is not None}

    def _signed(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Begin with one `ResponseStarted`, which names the service; check every model named."""
        signed: list[StreamEvent] = []
        for event in events:
            head = event if isinstance(event, ResponseStarted) else None
            try:
                warning = self._expected.accept(head) if head else None
            except ProviderError as error:
                self.error = error
                break
            if not self._begun:
                self._begun = True
                signed.append(self._head(head, warning))
            if head is None:
                signed.append(event)
        return signed

    def _head(self, head: ResponseStarted | None, warning: str | None) -> ResponseStarted:
        """Sign the beginning; where no model is named it is taken to be the right one."""
        expected = self._expected
        head = head or ResponseStarted(model=expected.model)
        warnings = (*expected.warnings, warning) if warning else expected.warnings
        return replace(
            head,
            model=head.model or expected.model,
            service=self._service,
            remote=head.remote or self._remote,
            warnings=warnings,
        )

    def _keep(self, events: list[StreamEvent]) -> None:
        self._batches.append(events)
        if len(self._batches) < _MOST_BATCHES and self._unjoined < _MOST_BYTES:
            return
        if self._joined().size > MAX_ANSWER and not self.ended:
            msg = f"The answer is longer than {MAX_ANSWER:,} bytes, its calls and probabilities in."
            self.error = self.error or ResponseTooLarge(msg)

    def _joined(self) -> Assembler:
        pieces = self._pieces = self._pieces or Assembler()
        for batch in self._batches:
            pieces.extend(batch)
        self._batches.clear()
        self._unjoined = 0
        return pieces

    def _timings(self, event: ResponseFinished) -> Timings:
        """Add what was measured here to what the server says."""
        timings = replace(
            event.timings,
            time_to_first_token=None if self._first is None else self._first - self._started,
            total_seconds=self.seconds,
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


# Limits that say nothing of the server.
_OVER = {
    "total": "The time for the whole call (total)",
    "attempt": "The time that its settings give {} (attempt)",
}


def _broken(error: ProviderError, service: str, length: int) -> str:
    """Say what ended an answer after so much text; not the server, where it was not it."""
    place = f"in the middle of the answer, after {length:,} characters"
    if isinstance(error, ProviderClosed):
        return f"This provider was closed {place}."
    if isinstance(error, ServiceTimeout) and error.phase in _OVER:
        return f"{_OVER[error.phase].format(service)} was over {place}."
    return f"{service} stopped {place}: {error.message}"
