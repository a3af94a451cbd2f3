"""The account of a request: it ends exactly once, with all that was asked on its way.

    with Call(Operation.CHAT, request, observers=observers, clock=clock) as call:
        with call.attempt(server) as attempt:
            ...

How a block is left says how it went: by its end, an error, a cancellation, or as its caller left.
Where nobody watches, next to nothing is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from patinox.provider.assemble import Assembler
from patinox.provider.errors import ModelMismatch, ProviderError
from patinox.provider.local.errors import ParseError
from patinox.provider.local.events import (
    AttemptFinished,
    AttemptStarted,
    CallContent,
    CallFinished,
    CallStarted,
    Operation,
    Outcome,
    Phase,
    QueueWaited,
    Server,
    error_name,
)
from patinox.provider.local.features import Prompt
from patinox.provider.local.health import counts_against
from patinox.provider.local.observers import NOBODY, Observers
from patinox.provider.local.retrying import corrected, may_have_executed
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

Clock = Callable[[], float]
Ledger = Callable[[AttemptFinished], None]
AnyRequest = Prompt | EmbeddingRequest

_NUMBERS = itertools.count(1)
_UNKNOWN = Usage()
# Fields of a request that say how to answer and are numbers: nothing of what was said.
_PARAMETERS = (
    *("temperature", "max_tokens", "top_p", "top_k", "seed", "dimensions"),
    *("presence_penalty", "frequency_penalty"),
)


class Call:
    """One request, from its start to its end."""

    def __init__(
        self,
        operation: Operation,
        request: AnyRequest | None,
        *,
        clock: Clock,
        observers: Observers = NOBODY,
        ledger: Ledger | None = None,
        server: Server | None = None,
        streaming: bool = False,
    ) -> None:
        """Open the account.

        Args:
            operation: what is asked for.
            request: what is asked; `None` where no model is.
            clock: monotonic seconds.
            observers: who is told.
            ledger: takes the end of each attempt, whether or not anybody watches.
            server: who is asked, where there is no choice.
            streaming: whether the caller takes the answer piece by piece.
        """
        self.observers = observers
        self.ledger = ledger
        self.clock = clock
        self.number = next(_NUMBERS)
        self._operation = operation
        self._request = request
        self._server = server
        self._streaming = streaming
        self.pieces: Assembler | None = None
        self._attempts = list[Attempt]()
        self._began = clock()

    def __enter__(self) -> Self:
        """Begin."""
        if self.observers:
            self.observers.tell(
                CallStarted(
                    call=self.number,
                    operation=self._operation,
                    requested=self._requested,
                    server=self._server,
                    streaming=self._streaming,
                    output_type="json" if getattr(self._request, "schema", None) else None,
                    parameters=_parameters(self._request),
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, and tell how."""
        if self.observers:
            if self.observers.curious:
                self._tell_content()
            self.observers.tell(self._finished(error))
        # They know the call, and it them: what was said would wait for the garbage collector.
        self._attempts.clear()

    def attempt(self, server: Server, *, reason: str | None = None) -> Attempt:
        """Open the account of asking a server, and why that one."""
        attempt = Attempt(self, len(self._attempts) + 1, server, reason)
        self._attempts.append(attempt)
        return attempt

    @property
    def reached(self) -> Phase:
        """How far the last attempt came."""
        return self._attempts[-1].phase

    @property
    def _requested(self) -> str:
        return str(self._request.model) if self._request else ""

    def _tell_content(self) -> None:
        if isinstance(self._request, CompletionRequest):
            response = self.pieces.response() if self.pieces else None
            self.observers.tell(
                CallContent(call=self.number, request=self._request, response=response)
            )

    def _finished(self, error: BaseException | None) -> CallFinished:
        ended = CallFinished(
            call=self.number,
            operation=self._operation,
            requested=self._requested,
            streaming=self._streaming,
            server=self._server,
            outcome=_outcome(error),
            error=_error(error),
            seconds=self.clock() - self._began,
        )
        if not self._attempts:
            return ended
        first, last = self._attempts[0], self._attempts[-1]
        outcome = _outcome(error, whole=last.phase is Phase.ENDED)
        return replace(
            ended,
            model=last.model,
            server=last.server,
            outcome=outcome,
            attempts=len(self._attempts),
            fallback=outcome is Outcome.SUCCESS and last.server != first.server,
            reason=last.reason,
            time_to_first_token=next(
                (each.first - self._began for each in self._attempts if each.first is not None),
                None,
            ),
            chunk_seconds=[seconds for each in self._attempts for seconds in each.chunk_seconds],
            characters=sum(each.characters for each in self._attempts),
            usage=last.usage,
            finish_reason=last.finish_reason,
            answered_model=last.answered_model,
            response_id=last.response_id,
            sent_bytes=sum(each.sent_bytes for each in self._attempts),
            received_bytes=sum(each.received_bytes for each in self._attempts),
        )


class Attempt:
    """One server asked once; who asks it says how far it came.

    Attributes:
        phase: how far it came.
        model: the model, as the server lists it, once it is found.
        loaded: whether that is in memory.
        usage: tokens, as the server counted them.
        answered_model: the model's name in the answer.
        sent_bytes: size of the request's body.
        received_bytes: size of the reply's body, so far.
    """

    phase = Phase.FINDING
    model: str | None = None
    loaded: bool | None = None
    usage = _UNKNOWN
    answered_model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    sent_bytes = 0
    received_bytes = 0
    characters = 0
    first: float | None = None
    chunk_seconds: Sequence[float] = ()
    _seconds: list[float]
    _last = 0.0
    _sent: float | None = None

    def __init__(self, call: Call, number: int, server: Server, reason: str | None) -> None:
        """Open the account of the request's attempt of this number."""
        self.server = server
        self.reason = reason
        self._call = call
        self._number = number
        self._watched = bool(call.observers)
        self._began = call.clock()

    def __enter__(self) -> Self:
        """Begin."""
        call = self._call
        if self._watched:
            call.observers.tell(
                AttemptStarted(
                    call=call.number,
                    attempt=self._number,
                    server=self.server,
                    reason=self.reason,
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, and tell how."""
        call = self._call
        if isinstance(error, ProviderError):
            self.phase = corrected(self.phase, error)
        if self._watched or call.ledger:
            event = self._finished(error)
            if call.ledger:
                call.ledger(event)
            call.observers.tell(event)

    def waited(self, seconds: float) -> None:
        """Note that its turn has come, so many seconds after it was asked for."""
        if self._watched:
            self._call.observers.tell(
                QueueWaited(call=self._call.number, server=self.server, seconds=seconds)
            )

    def finds(self, info: ModelInfo) -> None:
        """Note which model is asked."""
        self.model, self.loaded = info.id, info.loaded

    def sends(self, http: HTTPRequest) -> None:
        """Note that the server is called now."""
        self.phase = Phase.SENT
        self.sent_bytes += len(http.body or b"")
        self._sent = self._call.clock()

    def replies(self, size: int = 0) -> None:
        """Note that the server replies, in so many bytes beside those that `takes` is told."""
        self.phase = Phase.ANSWERING
        self.received_bytes += size

    def takes(self, batch: list[StreamEvent], size: int = 0) -> None:
        """Note what came of the answer at once, in so many bytes."""
        if self._watched:
            self.received_bytes += size
            self._take(batch)
        if batch and type(batch[-1]) is ResponseFinished:
            self.phase = Phase.ENDED

    def takes_vectors(self, response: EmbeddingResponse) -> None:
        """Note that all vectors have come."""
        self.usage, self.answered_model = response.usage, response.model
        self.phase = Phase.ENDED

    def _take(self, batch: Iterable[StreamEvent]) -> None:
        chunks = 0
        for event in batch:
            if type(event) is TextDelta:  # nearly all are
                chunks += 1
                self.characters += len(event.content)
                continue
            match event:
                case ReasoningDelta():
                    chunks += 1
                    self.characters += len(event.reasoning)
                case ToolCallDelta():
                    chunks += 1
                    self.characters += len(event.arguments)
                case ResponseStarted():
                    self.answered_model, self.response_id = event.model, event.id
                case ResponseFinished():
                    self.usage, self.finish_reason = event.usage, event.finish_reason
                case _:
                    pass
        if self._call.observers.curious:
            self._call.pieces = self._call.pieces or Assembler()
            self._call.pieces.extend(batch)
        if chunks:
            self._time(chunks)

    def _time(self, chunks: int) -> None:
        """Note that so many pieces of output came now; what comes at once shares the time."""
        now = self._call.clock()
        if self.first is None:
            self.phase = Phase.OUTPUT
            self.first = now
            # The first has no time between it and another.
            self._seconds = [0.0] * (chunks - 1)
            self.chunk_seconds = self._seconds
        else:
            self._seconds += [(now - self._last) / chunks] * chunks
        self._last = now

    def _finished(self, error: BaseException | None) -> AttemptFinished:
        now = self._call.clock()
        outcome = _outcome(error, whole=self.phase is Phase.ENDED)
        failed = error if isinstance(error, ProviderError) else None
        worked = may_have_executed(self.phase, failed)
        wasted = outcome in (Outcome.ERROR, Outcome.CANCELLED)
        return AttemptFinished(
            call=self._call.number,
            attempt=self._number,
            server=self.server,
            model=self.model,
            loaded=self.loaded,
            outcome=outcome,
            error=_error(error),
            at_fault=failed is not None and counts_against(failed),
            breach=failed is not None and is_breach(failed),
            phase=self.phase,
            seconds=now - self._began,
            may_have_executed=worked,
            characters=self.characters,
            wasted_characters=self.characters if wasted else 0,
            wasted_seconds=now - (self._sent or now) if wasted and worked else 0.0,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
        )


def operation_of(request: Prompt) -> Operation:
    """Name what a request for an answer asks for."""
    chats = isinstance(request, CompletionRequest)
    return Operation.CHAT if chats else Operation.TEXT_COMPLETION


def is_breach(error: BaseException | None) -> bool:
    """Whether an error says that the server broke its contract."""
    return isinstance(error, ParseError | ModelMismatch) or isinstance(
        getattr(error, "__cause__", None), ParseError
    )


def _outcome(error: BaseException | None, *, whole: bool = False) -> Outcome:
    if error is None or (whole and isinstance(error, GeneratorExit)):
        return Outcome.SUCCESS
    if isinstance(error, GeneratorExit):
        return Outcome.CLIENT_GONE
    return Outcome.ERROR if isinstance(error, Exception) else Outcome.CANCELLED


def _error(error: BaseException | None) -> str | None:
    return error_name(error) if isinstance(error, Exception) else None


def _parameters(request: AnyRequest | None) -> Mapping[str, float]:
    named = ((name, getattr(request, name, None)) for name in _PARAMETERS)
    return {name: value for name, value in named if value is not None}
