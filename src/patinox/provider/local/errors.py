"""What can go wrong with a server on this machine.

LocalProviderError (a ProviderError)
|- InvalidConfiguration        also a ConfigurationError
|- ModelNotFound               also a ModelNotAvailable
|- ModelNotLoaded              also a ModelNotAvailable
|- NetworkError                the server could not be reached or did not answer
|   |- ServiceUnavailable        refused, reset, no route, or it speaks something else
|   |- ServiceNotFound           no such service is known, or none answered
|   `- ServiceTimeout            one phase took too long
|- LocalResourcesExhausted     this process has no descriptor or port left: no server's fault
|- ServiceError                the server failed: 5xx, an error object
|- ParseError                  the reply breaks the contract: path to the field
|   `- ResponseTooLarge          the reply breaks its budget
|- StreamInterrupted           the answer broke off; it carries what had arrived
`- AllServicesFailed           several were tried: every attempt with its error
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from patinox.provider.errors import ConfigurationError, ModelNotAvailable, ProviderError

if TYPE_CHECKING:
    from patinox.provider.types import ToolCall


class LocalProviderError(ProviderError):
    """Base of everything that goes wrong with servers on this machine."""


class InvalidConfiguration(ConfigurationError, LocalProviderError):
    """A setting for local services is wrong; names it, its value and what is allowed."""


class ModelNotFound(ModelNotAvailable, LocalProviderError):
    """No service has this model.

    Attributes:
        nearest: similar names that exist, as `service::model`.
    """

    default_retryable: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        nearest: tuple[str, ...] = (),
        hint: str | None = None,
        service: str | None = None,
        status: int | None = None,
    ) -> None:
        """Keep the similar names beside the usual facts."""
        super().__init__(message, hint=hint, service=service, status=status)
        self.nearest = nearest


class ModelNotLoaded(ModelNotAvailable, LocalProviderError):
    """The model is there but not in memory, and the server did not load it (yet)."""

    default_retryable: ClassVar[bool] = True


class NetworkError(LocalProviderError):
    """The server could not be reached, or fell silent."""

    default_retryable: ClassVar[bool] = True


class ServiceUnavailable(NetworkError):
    """Refused, reset, no route, or something else than this service is listening there.

    Attributes:
        refused: the kernel said that nothing listens there, which is definite on this machine.
        sent: the request may have reached the server.
        foreign: what listens there speaks no HTTP, or wrongly.
    """

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        sent: bool = True,
        foreign: bool = False,
        hint: str | None = None,
        service: str | None = None,
    ) -> None:
        """Keep whether it was refused beside the usual facts."""
        super().__init__(message, hint=hint or "See: patinox doctor", service=service)
        self.refused = refused
        self.sent = sent and not refused
        self.foreign = foreign


class ServiceNotFound(NetworkError):
    """No such service is known, or none that is known answered."""

    default_retryable: ClassVar[bool] = False


class ServiceTimeout(NetworkError):
    """One phase of a call took too long.

    Attributes:
        phase: the deadline that passed: a field of `Deadlines`, `total` for the caller's own, or
            `headers` for the head of a reply that began and was not whole 10 s later.
        seconds: the limit that was passed.
        retryable: false where the limit was the caller's own, which holds for every service.
    """

    def __init__(
        self,
        message: str,
        *,
        phase: str,
        seconds: float,
        hint: str | None = None,
        service: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Keep the phase and its limit beside the usual facts."""
        hint = _MORE_TIME.get(phase, _MORE.format(phase)) if hint is None else hint
        super().__init__(message, hint=hint, service=service, retryable=retryable)
        self.phase = phase
        self.seconds = seconds


_MORE = "Allow it more: deadlines={{{!r}: seconds}}."
_MORE_TIME = {
    "total": "Allow it more: `timeout` of the request, or --timeout.",
    "attempt": "Allow it more: `timeout` in the settings of the service.",
    "headers": None,
}


class LocalResourcesExhausted(LocalProviderError):
    """This process has no file descriptor or port left; no server is to blame, none would help."""


class ServiceError(LocalProviderError):
    """The server answered that it failed."""

    default_retryable: ClassVar[bool] = True


class ParseError(LocalProviderError):
    """The reply is not what the service's contract says; the message has the path to the field."""

    default_retryable: ClassVar[bool] = True


class ResponseTooLarge(ParseError):
    """The reply is larger than its budget."""


class StreamInterrupted(LocalProviderError):
    """The answer broke off before its end.

    Attributes:
        text: the text that had arrived.
        reasoning: the reasoning that had arrived.
        tool_calls: the tool calls that had arrived, perhaps unfinished.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        reasoning: str = "",
        tool_calls: tuple[ToolCall, ...] = (),
        hint: str | None = None,
        service: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        """Keep what had arrived beside the usual facts."""
        super().__init__(message, hint=hint, service=service, retryable=retryable)
        self.text = text
        self.reasoning = reasoning
        self.tool_calls = tool_calls


class FailedAttempt(NamedTuple):
    """A server that was asked in vain.

    Attributes:
        service: id of the service.
        error: what it said, or what happened to it.
        phase: how far the attempt came, by a word of `Phase`.
        may_have_executed: the server may have done the work, or a part of it.
    """

    service: str
    error: ProviderError
    phase: str
    may_have_executed: bool


class AllServicesFailed(LocalProviderError):
    """Several services were tried, and each failed.

    Attributes:
        attempts: each service's id with its error, in the order in which they were tried.
        tried: every attempt in its order, with how far it came.
    """

    def __init__(
        self,
        message: str,
        *,
        attempts: Mapping[str, ProviderError],
        tried: Sequence[FailedAttempt] = (),
        hint: str | None = None,
    ) -> None:
        """Keep every attempt."""
        super().__init__(message, hint=hint)
        self.attempts = dict(attempts)
        self.tried = tuple(tried)
