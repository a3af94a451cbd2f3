"""Tokens, generation and vectors of the emulated LM Studio: deterministic, and one word a token."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from patinox.testing.lmstudio.models import LMStudioAnswer, LMStudioToolCall

Pieces = tuple[str, ...]
_PIECE = re.compile(r"\s*\S+(?:\s+\Z)?|\s+")


class Limits(msgspec.Struct, frozen=True):
    """Where generation stops, beside its own end: `None` or a negative number is no limit."""

    context: int
    tokens: int | None = None
    stop: Pieces = ()


class Generated(msgspec.Struct, frozen=True):
    """One generation, piece by piece; a piece is a token. What fails, fails after the pieces."""

    prompt_tokens: int
    reasoning: Pieces = ()
    text: Pieces = ()
    tool_calls: tuple[LMStudioToolCall, ...] = ()
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    stop_reason: str = "eosFound"
    error: str | None = None
    finished: bool = True

    @property
    def completion_tokens(self) -> int:
        """Tokens of reasoning, text and calls."""
        calls = sum(1 + len(split(call.arguments)) for call in self.tool_calls)
        return len(self.reasoning) + len(self.text) + calls


def split(text: str | Pieces) -> Pieces:
    """Return the tokens of a text: its words, each with the blanks before it, the last with all."""
    return text if isinstance(text, tuple) else tuple(_PIECE.findall(text))


def generate(answer: LMStudioAnswer, prompt_tokens: int, limits: Limits) -> Generated:
    """Cut an answer at the first stop string and at the limits, and say why it ended."""
    reasoning, text = split(answer.reasoning), split(answer.text)
    stopped = _stopped(text, limits.stop)
    if stopped is not None:
        text = stopped
    generated = Generated(
        prompt_tokens=prompt_tokens,
        reasoning=reasoning,
        text=text,
        tool_calls=() if stopped is not None else answer.tool_calls,
        finish_reason="tool_calls" if answer.tool_calls and stopped is None else "stop",
        stop_reason=_own_end(answer, stopped),
        error=answer.error,
        finished=answer.finished,
    )
    return _limited(generated, limits)


def _own_end(answer: LMStudioAnswer, stopped: Pieces | None) -> str:
    if stopped is not None:
        return "stopStringFound"
    return "toolCalls" if answer.tool_calls else "eosFound"


def _stopped(text: Pieces, stops: Pieces) -> Pieces | None:
    whole = "".join(text)
    found = [at for stop in stops if stop and (at := whole.find(stop)) >= 0]
    return _head(text, min(found)) if found else None


def _head(pieces: Pieces, length: int) -> Pieces:
    kept: list[str] = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:length])
        length -= len(piece)
    return tuple(kept)


def _limited(generated: Generated, limits: Limits) -> Generated:
    room = limits.context - generated.prompt_tokens
    asked = limits.tokens if limits.tokens is not None and limits.tokens >= 0 else room + 1
    limit = min(asked, room)
    if generated.completion_tokens <= limit:
        return generated
    reasoning = generated.reasoning[:limit]
    return msgspec.structs.replace(
        generated,
        reasoning=reasoning,
        text=generated.text[: limit - len(reasoning)],
        tool_calls=(),
        finish_reason="length",
        stop_reason="maxPredictedTokensReached" if asked <= room else "contextLengthReached",
        error=None,
        finished=True,
    )


def embed(text: str, dimensions: int, context: int) -> Sequence[float]:
    """Return the unit vector of a text, cut to `context` tokens as the real one cuts in silence."""
    seen = "".join(split(text)[:context])
    noise = hashlib.shake_256(seen.encode()).digest(4 * dimensions)
    numbers = struct.unpack(f"<{dimensions}i", noise)
    length = math.hypot(*numbers)
    return [number / length for number in numbers]
