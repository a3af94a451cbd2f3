"""Events and replies of Ollama's OpenAI routes for chat and completion."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from patinox.testing.ollama.go_json import to_json, without_empty
from patinox.testing.ollama.openai_requests import StreamOptions
from patinox.testing.ollama.text import Call, Piece

_SECOND = 10**9
_NOTHING = Piece()

Event = dict[str, object]


class Head(msgspec.Struct, frozen=True):
    """What all events of an answer share; `clock` gives nanoseconds since 1970."""

    id: str
    model: str
    clock: Callable[[], int]

    def event(self, kind: str, **fields: object) -> Event:
        """Return an event of this moment."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.clock() // _SECOND,
            "model": self.model,
            "system_fingerprint": "fp_ollama",
            **fields,
        }


class ChatEvents:
    """Writes the events of a chat, or the whole reply."""

    def __init__(self, head: Head, options: StreamOptions) -> None:
        self._head = head
        self._options = options
        self._created = head.clock() // _SECOND
        self._begun = False
        self._called = False

    def events(self, piece: Piece) -> Iterator[Event]:
        """Yield the events for one piece."""
        self._called = self._called or bool(piece.tool_calls)
        bare = not (piece.text or piece.thinking or piece.tool_calls or piece.logprobs)
        if not (piece.done and self._begun and bare):
            yield self._chunk(self._delta(piece), piece)
        if piece.done:
            yield self._chunk({}, finish_reason=_reason(piece, called=self._called))
            yield from self._usage(piece)

    def broken(self) -> Event:
        """Return what comes in place of an error within a stream: an empty delta of no model."""
        return {**self._chunk(self._delta(_NOTHING)), "model": ""}

    def whole(self, piece: Piece) -> Event:
        """Return the reply in one piece."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", **_said(piece)},
            "finish_reason": _reason(piece, called=bool(piece.tool_calls)),
            **_logprobs(piece),
        }
        return self._head.event("chat.completion", choices=[choice], usage=_usage(piece))

    def _delta(self, piece: Piece) -> Event:
        role: Event = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return {**role, **_said(piece)}

    def _chunk(
        self, delta: Event, piece: Piece = _NOTHING, *, finish_reason: str | None = None
    ) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **_logprobs(piece)}
        return self._event(choices=[choice])

    def _usage(self, piece: Piece) -> Iterator[Event]:
        if self._options.include_usage:
            yield self._event(choices=[], usage=_usage(piece))

    def _event(self, **fields: object) -> Event:
        """Return an event of the moment when the answer began."""
        event = self._head.event("chat.completion.chunk", **fields)
        return {**event, "created": self._created}


class EarlierChatEvents(ChatEvents):
    """Events as before 0.30: each has the role and its own time, the last the reason as well."""

    def events(self, piece: Piece) -> Iterator[Event]:
        """Yield the events for one piece."""
        self._called = self._called or bool(piece.tool_calls)
        reason = _reason(piece, called=self._called)
        yield self._chunk(self._delta(piece), piece, finish_reason=reason)
        if piece.done:
            yield from self._usage(piece)

    def _delta(self, piece: Piece) -> Event:
        return {"role": "assistant", **_said(piece)}

    def _event(self, **fields: object) -> Event:
        return self._head.event("chat.completion.chunk", **fields)


class CompletionEvents:
    """Writes the events of a completion, or the whole reply."""

    def __init__(self, head: Head, options: StreamOptions) -> None:
        self._head = head
        self._options = options

    def events(self, piece: Piece) -> Iterator[Event]:
        """Yield the events for one piece; asked for usage, each carries one, of zeros."""
        yield self._event(piece, self._options)
        if piece.done and self._options.include_usage:
            yield self._head.event("text_completion", choices=[], usage=_usage(piece))

    def broken(self) -> Event:
        """Return what comes in place of an error within a stream."""
        return {**self._event(_NOTHING, self._options), "model": ""}

    def whole(self, piece: Piece) -> Event:
        """Return the reply in one piece."""
        return {**self._event(piece, StreamOptions()), "usage": _usage(piece)}

    def _event(self, piece: Piece, options: StreamOptions) -> Event:
        choice = {"text": piece.text, "index": 0, "finish_reason": piece.done_reason or None}
        usage = {"usage": _usage(_NOTHING)} if options.include_usage else {}
        return self._head.event("text_completion", choices=[choice], **usage)


def _said(piece: Piece) -> Event:
    calls = [_call(call) for call in piece.tool_calls]
    return {"content": piece.text, **without_empty(reasoning=piece.thinking, tool_calls=calls)}


def _reason(piece: Piece, *, called: bool) -> str | None:
    stopped = piece.done_reason == "stop"
    return "tool_calls" if called and stopped else piece.done_reason or None


def _usage(piece: Piece) -> Event:
    prompt, generated = (piece.usage.prompt, piece.usage.generated) if piece.usage else (0, 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    }


def _logprobs(piece: Piece) -> Event:
    return {"logprobs": {"content": piece.logprobs}} if piece.logprobs else {}


def _call(call: Call) -> Event:
    function = call["function"]
    arguments = to_json(function["arguments"]).decode()
    return {
        "id": call["id"],
        "index": function["index"],
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
