"""What happens while an answer is made, as it happens."""

from __future__ import annotations

import msgspec

from patinox.provider.answers import Timings, TokenLogprob, Usage


class StreamEvent(msgspec.Struct, frozen=True):
    """Something that happened while an answer was made."""

    @property
    def text(self) -> str:
        """The text it adds to the answer; empty for every event but `TextDelta`."""
        return ""


class LoadProgress(StreamEvent, frozen=True, kw_only=True):
    """The model is not in memory, so that it is loaded before it answers.

    Attributes:
        model: the model, in the server's words.
        service: id of the service that loads it.
        fraction: how far it is, 0 to 1; `None` where the server does not tell.
        seconds: for how long this has been going on.
    """

    model: str
    service: str | None = None
    fraction: float | None = None
    seconds: float = 0.0


class ResponseStarted(StreamEvent, frozen=True, kw_only=True):
    """The server began to answer.

    Attributes:
        model: the model that answers, in the server's words.
        service: id of the service that answers.
        remote: the server passed the request on to the cloud.
        reason: why this service was asked, where there was a choice to make.
        attempts: who was asked before, each with what it said.
        warnings: what is not as the request wants it, each in a line.
    """

    model: str
    id: str | None = None
    created: int | None = None
    service: str | None = None
    remote: bool = False
    reason: str | None = None
    attempts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class TextDelta(StreamEvent, frozen=True, gc=False):
    """A piece of the answer."""

    content: str

    @property
    def text(self) -> str:
        """The piece."""
        return self.content


class ReasoningDelta(StreamEvent, frozen=True, gc=False):
    """A piece of what the model thinks before it answers."""

    reasoning: str


class ReasoningImplied(StreamEvent, frozen=True):
    """All text so far was reasoning: the model closed what its template had opened unseen."""


class ToolCallDelta(StreamEvent, frozen=True, kw_only=True):
    """A piece of a tool call; pieces of one call share `index`, and `arguments` are joined."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class LogprobsDelta(StreamEvent, frozen=True):
    """How probable the tokens of the next piece are."""

    tokens: tuple[TokenLogprob, ...]


class AnswerContinued(StreamEvent, frozen=True, kw_only=True):
    """The answer broke off, and a server goes on with it exactly where it ended.

    Attributes:
        service: id of the service that goes on.
        reason: why that one may.
        after_characters: how much text had come before.
    """

    service: str
    reason: str
    after_characters: int


class ResponseFinished(StreamEvent, frozen=True, kw_only=True):
    """The answer is whole: why it ended, what it cost and how long it took.

    Attributes:
        finish_reason: `stop`, `length`, `tool_calls` or another word of the server's.
        usage: tokens, as the server counted them.
        timings: durations and speed.
        warnings: what turned out not to be as the request wants it, each in a line.
    """

    finish_reason: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()
    warnings: tuple[str, ...] = ()


_OUTPUT = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})


def is_output(event: StreamEvent) -> bool:
    """Tell whether an event is a part of the answer, not something said about it."""
    return type(event) in _OUTPUT
