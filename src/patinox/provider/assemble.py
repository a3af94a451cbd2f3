"""From events to a whole answer: the only place where pieces are joined."""

from __future__ import annotations

from collections.abc import Iterable

from patinox.provider.answers import CompletionChoice, CompletionResponse, TokenLogprob
from patinox.provider.messages import CompletionMessage, ToolCall
from patinox.provider.stream import (
    LogprobsDelta,
    ReasoningDelta,
    ReasoningImplied,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

# What a piece, and a call, takes beside its text, in bytes: roughly, for `Assembler.size`.
_PIECE = 16
_CALL = 1024


class _Call:
    """One tool call while its pieces come in."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id or ""
        self.name = self.name or delta.name or ""
        self.arguments.append(delta.arguments)


class Assembler:
    """Joins the events of one answer; `response()` may be asked at any time.

    Attributes:
        size: what has come so far, in characters, a little added for each piece and call.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.size = 0
        self._started = ResponseStarted(model="")
        self._finished = ResponseFinished()
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: list[TokenLogprob] = []

    def extend(self, events: Iterable[StreamEvent]) -> None:
        """Take in events, in their order."""
        text, size = self._text, 0
        for event in events:
            if type(event) is TextDelta:  # nearly all are, and this is done for every token
                text.append(event.content)
                size += _PIECE + len(event.content)
            else:
                self.add(event)
        self.size += size

    def add(self, event: StreamEvent) -> None:
        """Take in one event."""
        match event:
            case TextDelta():
                self._text.append(event.content)
                self.size += _PIECE + len(event.content)
            case ReasoningDelta():
                self._reasoning.append(event.reasoning)
                self.size += _PIECE + len(event.reasoning)
            case ToolCallDelta():
                self._add_call(event)
            case LogprobsDelta():
                self._logprobs.extend(event.tokens)
                self.size += sum(map(_size_of, event.tokens))
            case ReasoningImplied():
                self._reasoning += self._text
                self._text.clear()
            case ResponseStarted():
                self._started = event
            case ResponseFinished():
                self._finished = event
            case _:
                pass

    def _add_call(self, delta: ToolCallDelta) -> None:
        if delta.index not in self._calls:
            self._calls[delta.index] = _Call()
            self.size += _CALL
        self._calls[delta.index].add(delta)
        self.size += _PIECE + len(delta.id or "") + len(delta.name or "") + len(delta.arguments)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls so far, in the order of their index; a missing id is made from it."""
        return tuple(
            ToolCall(call.id or f"call_{index}", call.name, "".join(call.arguments))
            for index, call in sorted(self._calls.items())
        )

    def response(self) -> CompletionResponse:
        """Fold what has come into a response."""
        started, finished = self._started, self._finished
        message = CompletionMessage(
            role="assistant",
            content=self.text,
            reasoning=self.reasoning,
            tool_calls=self.tool_calls,
        )
        choice = CompletionChoice(
            message=message,
            finish_reason=finished.finish_reason,
            logprobs=tuple(self._logprobs),
        )
        return CompletionResponse(
            id=started.id,
            created=started.created,
            model=started.model,
            service=started.service,
            choices=(choice,),
            usage=finished.usage,
            timings=finished.timings,
            reason=started.reason,
            attempts=started.attempts,
            warnings=(*started.warnings, *finished.warnings),
        )


def _size_of(token: TokenLogprob) -> int:
    return _PIECE + len(token.token) + sum(_PIECE + len(other.token) for other in token.top)
