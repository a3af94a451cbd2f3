"""What happens, as values that observers receive: frozen, free of I/O, and without what was said.

Each request is told by one `CallStarted` and one `CallFinished` of the same `call`; between them
stand the attempts, one for each server that is asked. Texts of prompts and answers are in
`CallContent` alone, which only an observer that asks for it receives. Times are seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from patinox.provider.errors import ProviderError
from patinox.provider.local.types import ServiceStatus
from patinox.provider.types import CompletionRequest, CompletionResponse, Usage

# What is no error of ours: a bug, ours or a plugin's.
UNEXPECTED = "_OTHER"


class Operation(enum.StrEnum):
    """What is asked for; the names are those of OpenTelemetry, where it has one."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    LIST_MODELS = "list_models"


class Outcome(enum.StrEnum):
    """How a request or an attempt ended: one of these, once."""

    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"
    CLIENT_GONE = "client_gone"


class Phase(enum.StrEnum):
    """How far an attempt came."""

    FINDING = "finding"
    """A turn was waited for or the model looked up; the request was not sent."""
    CONNECTING = "connecting"
    """The server was called, and has not taken the call."""
    SENT = "sent"
    """The server has the request, and has not answered."""
    ANSWERING = "answering"
    """The server replies, if only with an error, and no output has come."""
    OUTPUT = "output"
    """Output has come."""
    ENDED = "ended"
    """The answer is whole."""

    @property
    def reached_the_server(self) -> bool:
        """Whether the server may have begun to work."""
        return self not in (Phase.FINDING, Phase.CONNECTING)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""


class Server(msgspec.Struct, frozen=True):
    """Who is asked.

    Attributes:
        id: id of the service.
        kind: what it proved to be: a `ServiceType`, or the name of a plugin's service.
        address: its host.
        port: its port; 0 for what is no server.
    """

    id: str
    kind: str
    address: str = ""
    port: int = 0


class CallStarted(Event, frozen=True, kw_only=True):
    """A request began.

    Attributes:
        call: its number; no other request of this process has it.
        operation: what is asked for.
        requested: the model, as the caller wrote it; empty where none is asked for.
        server: who is asked, where the caller chose it.
        streaming: whether the caller takes the answer piece by piece.
        output_type: `json` if the answer must keep to a schema; else `None`.
        parameters: the numbers in the request that are set, such as `temperature`, by field.
    """

    call: int
    operation: Operation
    requested: str
    server: Server | None = None
    streaming: bool = False
    output_type: str | None = None
    parameters: Mapping[str, float] = {}


class AttemptStarted(Event, frozen=True, kw_only=True):
    """A server is asked.

    Attributes:
        call: the request that it is for.
        attempt: 1 for the first of the request.
        server: who is asked.
        reason: why this service, where there was a choice.
    """

    call: int
    attempt: int
    server: Server
    reason: str | None = None


class AttemptFinished(Event, frozen=True, kw_only=True):
    """A server that was asked is done, or given up.

    Attributes:
        call: the request that it was for.
        attempt: 1 for the first of the request.
        server: who was asked.
        model: the model, as the server lists it; `None` if it was not found.
        loaded: whether that was in memory when it was asked; `None` if the server does not tell.
        outcome: how it ended.
        error: name of the error's class, one of ours or `_OTHER`; `None` unless it failed.
        at_fault: the failure counts against the service, whose state is worse after it.
        breach: the reply broke the server's contract: it was unreadable, or of another model.
        phase: how far it came.
        seconds: how long it took.
        may_have_executed: the server may have done the work, or part of it.
        characters: output that came, text and reasoning.
        wasted_characters: all of them if the attempt failed or was cancelled, else none.
        wasted_seconds: likewise, the time that the server may have worked.
        sent_bytes: size of the request's body.
        received_bytes: size of the reply's body, as far as it came.
    """

    call: int
    attempt: int
    server: Server
    model: str | None = None
    loaded: bool | None = None
    outcome: Outcome
    error: str | None = None
    at_fault: bool = False
    breach: bool = False
    phase: Phase = Phase.FINDING
    seconds: float = 0.0
    may_have_executed: bool = False
    characters: int = 0
    wasted_characters: int = 0
    wasted_seconds: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0


class CallFinished(Event, frozen=True, kw_only=True):
    """A request ended, well or not; there is exactly one for each `CallStarted`.

    Attributes:
        call: the request.
        operation: what was asked for.
        requested: the model, as the caller wrote it.
        streaming: whether the caller took the answer piece by piece.
        model: the model that answered or was asked last, as the server lists it; `None` if none.
        server: who answered or was asked last; `None` if nobody was.
        outcome: how it ended.
        error: name of the error's class, one of ours or `_OTHER`; `None` unless it failed.
        attempts: how many servers were asked.
        fallback: the answer came from another than the first.
        reason: why that service, where there was a choice.
        seconds: from the beginning to the end.
        time_to_first_token: from the beginning to the first output; `None` if none came.
        chunk_seconds: times from one piece of output to the next, one less than there were pieces.
        characters: output that reached the caller, text and reasoning.
        usage: tokens, as the server counted them.
        finish_reason: why the answer ended, as the server says.
        answered_model: the model's name in the answer.
        response_id: the answer's id, where the server gives one.
        sent_bytes: size of the requests' bodies, of all attempts.
        received_bytes: size of the replies' bodies, of all attempts.
    """

    call: int
    operation: Operation
    requested: str
    streaming: bool = False
    model: str | None = None
    server: Server | None = None
    outcome: Outcome
    error: str | None = None
    attempts: int = 0
    fallback: bool = False
    reason: str | None = None
    seconds: float = 0.0
    time_to_first_token: float | None = None
    chunk_seconds: Sequence[float] = ()
    characters: int = 0
    usage: Usage = Usage()
    finish_reason: str | None = None
    answered_model: str | None = None
    response_id: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0


class CallContent(Event, frozen=True, kw_only=True):
    """What was said: told before `CallFinished`, only to observers that ask for `content`.

    Attributes:
        call: the request.
        request: what was asked.
        response: the answer, as far as it came; `None` if nothing did.
    """

    call: int
    request: CompletionRequest
    response: CompletionResponse | None = None


class ServiceChanged(Event, frozen=True, kw_only=True):
    """A service was found, its state is another than before, or it is watched no more.

    Attributes:
        server: which.
        before: the state it had; `UNKNOWN` for one that was found.
        after: the state it has; `UNKNOWN` for one that is watched no more.
        opened: it was put aside: requests go there only if every other is so too, until it is well.
    """

    server: Server
    before: ServiceStatus
    after: ServiceStatus
    opened: bool = False


class ServiceProbed(Event, frozen=True, kw_only=True):
    """A service was asked how it is.

    Attributes:
        server: which.
        outcome: whether it answered well.
        error: name of the error's class; `None` if it answered well.
        seconds: how long that took.
        models: how many models it lists; `None` if it did not say.
        skipped: entries of its lists that could not be read.
        breach: the reply broke the server's contract: it was unreadable.
    """

    server: Server
    outcome: Outcome
    error: str | None = None
    seconds: float = 0.0
    models: int | None = None
    skipped: int = 0
    breach: bool = False


class QueueWaited(Event, frozen=True, kw_only=True):
    """A request had to wait for its turn at a service, and got it.

    Attributes:
        call: the request.
        server: which.
        seconds: how long it waited.
    """

    call: int
    server: Server
    seconds: float


class Observer(Protocol):
    """Receives what happens; whatever goes wrong in it is logged and harms nothing.

    It is called in the event loop, between two steps of a request: it must not wait. One that has
    an attribute `content` that is true also receives `CallContent`.
    """

    def observe(self, event: Event) -> None:
        """Take one event."""
        ...


def error_name(error: BaseException) -> str:
    """Name an error by the nearest class of ours, so that the names are a closed set.

    >>> from patinox.provider.errors import RateLimited
    >>> theirs = type("QuotaExceeded", (RateLimited,), {"__module__": "plugin"})
    >>> error_name(theirs("x")), error_name(KeyError())
    ('RateLimited', '_OTHER')
    """
    if not isinstance(error, ProviderError):
        return UNEXPECTED
    ours = (kind for kind in type(error).__mro__ if kind.__module__.startswith("patinox."))
    return next(ours).__name__
