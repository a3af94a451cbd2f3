"""One tree of errors for every provider: what happened, whose fault it is, what to do next.

    ProviderError
    |- ConfigurationError          the settings are wrong: nothing was sent
    |- InvalidRequest              the caller's request is wrong: every server would refuse it
    |   |- CapabilityNotSupported    this model cannot do what is asked
    |   `- ContextLengthExceeded     the prompt is longer than the context
    |- AuthenticationError         401, 403: a key is missing, wrong or not allowed to do this
    |- RateLimited                 429, 503: the server is busy; `retry_after` says how long
    |- ModelNotAvailable           the model cannot answer here
    |   |- ModelMismatch             another model than the one asked for answered
    |   `- CloudModelRefused         the model runs in the cloud and that was not allowed
    |- ProviderClosed              it was closed, before or while it was asked: no server's fault
    |- StructuredOutputError       the answer has not the shape that was asked for; its text is kept
    `- ToolCallInvalid             the model called a tool that is not there, or called it wrongly

Errors of servers on this machine branch off in `patinox.provider.local.errors`, and one of
conversations, `ToolLoopLimit`, in `patinox.provider.toolloop`.
"""

from __future__ import annotations

from typing import ClassVar


class ProviderError(Exception):
    """Base of everything a provider raises on purpose.

    Attributes:
        message: what happened and where, in one line.
        hint: what to do next, in one line, or `None`.
        service: id of the service that failed, or `None` before one was chosen.
        status: HTTP status the service answered with, or `None`.
        retryable: whether another server might do better with the same request.
        retry_after: seconds the server asked to wait, or `None`.
        delivered: whether part of the answer had already reached the caller.
    """

    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        service: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep the facts; `str()` joins where it was, the message and the hint."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.service = service
        self.status = status
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.delivered = False

    def __str__(self) -> str:
        """Return the message, before it which service replied so, and after it the hint."""
        return f"{self.what} {self.hint}" if self.hint else self.what

    @property
    def what(self) -> str:
        """The message; where it is a server's reply, that service's id stands before it."""
        replied = self.service is not None and self.status is not None
        return f"{self.service}: {self.message}" if replied else self.message


class ConfigurationError(ProviderError):
    """The settings are wrong; the message names the setting, its value and what is allowed."""


class InvalidRequest(ProviderError):
    """The request is wrong: refused before sending, or by the server as the caller's fault."""


class CapabilityNotSupported(InvalidRequest):
    """The model or service cannot do what the request asks for."""


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the context.

    Attributes:
        prompt_tokens: length of the prompt in tokens, where the server told it.
        context_tokens: length of the context in tokens, where the server told it.
    """

    def __init__(
        self,
        message: str,
        *,
        prompt_tokens: int | None = None,
        context_tokens: int | None = None,
        hint: str | None = None,
        service: str | None = None,
        status: int | None = None,
    ) -> None:
        """Keep the two lengths beside the usual facts."""
        super().__init__(message, hint=hint, service=service, status=status)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class AuthenticationError(ProviderError):
    """The service wants a key, or refuses the one it was given."""


class RateLimited(ProviderError):
    """The service is busy and took no work."""

    default_retryable = True


class ModelNotAvailable(ProviderError):
    """The model cannot answer on this service."""


class ModelMismatch(ModelNotAvailable):
    """The service answered with another model than the one that was asked for."""

    default_retryable = True


class CloudModelRefused(ModelNotAvailable):
    """The model runs on somebody else's computer, and leaving this machine was not allowed."""


class ProviderClosed(ProviderError):
    """The provider was closed, before it was asked or meanwhile; no server is to blame."""


class StructuredOutputError(ProviderError):
    """The model answered, but not in the shape that was asked for.

    Attributes:
        raw: the answer's text as the model wrote it; it is in no message and no `repr`.
    """

    def __init__(
        self,
        message: str,
        *,
        raw: str = "",
        hint: str | None = None,
        service: str | None = None,
        status: int | None = None,
    ) -> None:
        """Keep the text beside the usual facts."""
        super().__init__(message, hint=hint, service=service, status=status)
        self.raw = raw


class ToolCallInvalid(ProviderError):
    """The model called a tool that is not there, or with arguments that do not fit.

    The message is written for the model: handed back as the tool's result, it tells what to mend.
    """


def missing_extra(what: str, extra: str) -> ConfigurationError:
    """Make the error for a library that is not installed; `what` is what needs it."""
    return ConfigurationError(
        f"{what} needs the extra `{extra}`, which is not installed.",
        hint=f'Run: pip install "patinox[{extra}]"',
    )
