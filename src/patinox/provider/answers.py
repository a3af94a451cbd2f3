"""What comes back."""

from __future__ import annotations

from typing import Any

import msgspec

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.messages import CompletionMessage, ToolCall


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the server counted them; `None` where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """How long things took, in seconds, and how fast, in tokens per second.

    Attributes:
        time_to_first_token: from sending the request to the first output, measured here.
        total_seconds: from sending the request to the end, measured here.
        load_seconds: loading the model, as the server says.
        prompt_seconds: reading the prompt, as the server says.
        tokens_per_second: speed of the answer.
        measured_by: who measured `tokens_per_second`: `server` or `client`.
    """

    time_to_first_token: float | None = None
    total_seconds: float | None = None
    load_seconds: float | None = None
    prompt_seconds: float | None = None
    tokens_per_second: float | None = None
    measured_by: str | None = None


class TokenLogprob(msgspec.Struct, frozen=True):
    """How probable a token was.

    Attributes:
        token: the token as text.
        logprob: natural logarithm of its probability.
        data: its bytes, which may be a part of a character; `None` where not told.
        top: the likeliest tokens in its place, the likeliest first.
    """

    token: str
    logprob: float
    data: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        finish_reason: the server's: `stop`, `length`, `tool_calls` or another.
        logprobs: how probable its tokens were, if that was asked for.
    """

    index: int = 0
    message: CompletionMessage
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class CompletionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        model: the model that answered, in the server's words.
        service: id of the service that answered.
        created: when, in Unix seconds, as the server says.
        choices: the answers; local servers give one.
        usage: tokens, as the server counted them.
        timings: durations and speed.
        reason: why this service was asked, where there was a choice to make.
        attempts: who was asked before this service, each with what it said.
        warnings: what is not as the request wants it, each in a line.
        parsed: the object that the answer stands for, if the request has a `schema`.
    """

    id: str | None = None
    object: str = "chat.completion"
    created: int | None = None
    model: str
    service: str | None = None
    choices: tuple[CompletionChoice, ...]
    usage: Usage = Usage()
    timings: Timings = Timings()
    reason: str | None = None
    attempts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    parsed: Any = None

    def __repr__(self) -> str:
        """Tell who answered and how much, not what."""
        size = f"{len(self.text)} characters, {self.finish_reason}"
        return f"<CompletionResponse of {self.model} on {self.service}: {size}>"

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.choices[0].message.content

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered."""
        return self.choices[0].message.reasoning

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Tools the model wants called."""
        return self.choices[0].message.tool_calls

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """How probable the tokens were, if that was asked for."""
        return self.choices[0].logprobs

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, as the server says."""
        return self.choices[0].finish_reason


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors, in the order of the texts.

    Attributes:
        embeddings: one row for each text.
        warnings: what is not as the request wants it, each in a line.
    """

    model: str
    service: str | None = None
    embeddings: EmbeddingMatrix
    usage: Usage = Usage()
    warnings: tuple[str, ...] = ()

    @property
    def normalized(self) -> bool:
        """Whether each row has length 1."""
        return self.embeddings.is_normalized
