"""Tokens and generation of the emulated Ollama: deterministic, and one word a token."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Literal, TypedDict

import msgspec

from patinox.testing.ollama.go_json import OllamaError, without_empty
from patinox.testing.ollama.models import OllamaAnswer, OllamaModel, OllamaPrompt, OllamaToolCall
from patinox.testing.schemas import sample

_TOKEN = re.compile(r"\s*\S+|\s+$")
_CALL_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s]+)")
_REPEATS = 31  # so many equal tokens in a row are let through
_IMAGE_TOKENS = 768
_READ_NS = 1_093_111  # for one token
_WRITE_NS = 20_313_777
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Tokens = tuple[str, ...]


class CalledFunction(TypedDict):
    """The function of a call as it is sent."""

    index: int
    name: str
    arguments: dict[str, object]


class Call(TypedDict):
    """A tool call as it is sent."""

    id: str
    function: CalledFunction


class Usage(msgspec.Struct, frozen=True):
    """Tokens read and written, and whether the model had to be loaded for it.

    `untimed` tokens are written before the clock of `eval_duration` starts.
    """

    prompt: int
    generated: int
    cold: bool
    untimed: int = 0

    @property
    def load_ns(self) -> int:
        """Time to load the model, in nanoseconds."""
        return 412_334_875 if self.cold else 1_334_875

    @property
    def total_ns(self) -> int:
        """Time of the whole request, in nanoseconds."""
        return self.load_ns + self.prompt * _READ_NS + self.generated * _WRITE_NS + 913_577

    @property
    def metrics(self) -> dict[str, object]:
        """The statistics of Ollama, without what is zero."""
        return without_empty(
            total_duration=self.total_ns,
            load_duration=self.load_ns,
            prompt_eval_count=self.prompt,
            prompt_eval_duration=self.prompt * _READ_NS,
            eval_count=self.generated,
            eval_duration=(self.generated - self.untimed) * _WRITE_NS,
        )


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a stream, or a whole answer; `usage` comes with the last."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[Call, ...] = ()
    logprobs: tuple[Mapping[str, object], ...] = ()
    done: bool = False
    done_reason: str = ""
    usage: Usage | None = None
    context: tuple[int, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """Where generation ends before its own end."""

    tokens: int
    stop: Tokens = ()


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, token by token; `count` has those that are not shown, too."""

    thinking: Tokens
    text: Tokens
    count: int
    tool_calls: tuple[OllamaToolCall, ...] = ()
    done_reason: Literal["stop", "length"] = "stop"
    error: str | None = None
    finished: bool = True


def split(text: str | Tokens) -> Tokens:
    """Return the tokens of a text: its words, each with the blanks before it."""
    return text if isinstance(text, tuple) else tuple(_TOKEN.findall(text))


def count(text: str) -> int:
    """Return how many tokens a text has."""
    return len(split(text))


def prompt_tokens(prompt: OllamaPrompt) -> int:
    """Return the tokens of a prompt: its words, one for each message, 768 for each image."""
    return sum(
        1 + count(message.content) + _IMAGE_TOKENS * len(message.images)
        for message in prompt.messages
    )


def answer(model: OllamaModel, prompt: OllamaPrompt) -> OllamaAnswer:
    """Return what the model answers: its `reply`, else the last user message again."""
    reply = model.reply
    if reply is None:
        text = f"You said: {prompt.last_user_text}"
        if prompt.format is not None:
            text = json.dumps(sample(prompt.format, text), ensure_ascii=False)
        return OllamaAnswer(text=text, thinking="The user said something.")
    if not isinstance(reply, str | OllamaAnswer):
        reply = reply(prompt)
    return OllamaAnswer(text=reply) if isinstance(reply, str) else reply


def generate(given: OllamaAnswer, limits: Limits, *, think: bool, native: bool) -> Generation:
    """Cut an answer at the first stop string, at the limit or in a loop; say why it ended."""
    thinking = split(given.thinking) if think else ()
    text, hidden = _stopped(split(given.text), limits.stop)
    calls = given.tool_calls if hidden is None else ()
    if hidden is None:
        hidden = sum(len(_call_text(call)) for call in calls) + 1  # the end is a token, too
    whole = Generation(
        thinking=thinking,
        text=text,
        count=len(thinking) + len(text) + hidden,
        tool_calls=calls,
        error=given.error,
        finished=given.finished,
    )
    loop = None if native else _loop(thinking + text)
    if loop is not None and loop < limits.tokens:
        return _cut(whole, loop, finished=False)
    return whole if whole.count <= limits.tokens else _cut(whole, limits.tokens)


def pieces(
    generation: Generation, last: Piece, calls: tuple[Call, ...], *, native: bool
) -> Iterator[Piece]:
    """Yield an answer as a stream does, ending with `last`; a piece may have nothing but logprobs.

    The tool calls come one by one before the last piece, on the native path all with it.

    Raises:
        OllamaError: 500, where the answer has an error.
    """
    for token in generation.thinking:
        yield Piece(thinking=token, logprobs=(logprob(token),))
    for token in generation.text:
        yield Piece(text=token, logprobs=(logprob(token),))
    if generation.error is not None:
        raise OllamaError(500, generation.error)
    if not native:
        for call, given in zip(calls, generation.tool_calls, strict=True):
            yield from _call_pieces(call, _call_text(given))
    if generation.finished:
        yield msgspec.structs.replace(last, tool_calls=calls if native else ())


def joined(parts: Iterator[Piece]) -> Piece:
    """Return the pieces of a stream as one."""
    got = tuple(parts)
    last = got[-1] if got else Piece()
    return msgspec.structs.replace(
        last,
        text="".join(part.text for part in got),
        thinking="".join(part.thinking for part in got),
        tool_calls=tuple(call for part in got for call in part.tool_calls),
        logprobs=tuple(item for part in got for item in part.logprobs),
    )


def logprob(token: str) -> dict[str, object]:
    """Return the entry of one token."""
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode())}


def with_alternatives(entry: Mapping[str, object], number: int) -> dict[str, object]:
    """Return the entry of a token with the `number` likeliest tokens in its place."""
    others = [logprob(f" other{i}") | {"logprob": -1.0 - i} for i in range(1, number)]
    return {**entry, "top_logprobs": [dict(entry), *others]} if number else dict(entry)


def tool_call(call: OllamaToolCall, index: int, serial: int, *, native: bool) -> Call:
    """Return a call as it is sent, with an id that is another for each `serial`."""
    digest = hashlib.sha256(f"{serial}/{index}/{call.name}".encode()).digest()
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest)
    return {
        "id": letters if native else f"call_{letters[:8]}",
        "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)},
    }


def token_ids(tokens: Tokens) -> tuple[int, ...]:
    """Return numbers that stand for tokens."""
    return tuple(int.from_bytes(hashlib.sha256(t.encode()).digest()[:2], "big") for t in tokens)


def _stopped(tokens: Tokens, stops: Tokens) -> tuple[Tokens, int | None]:
    """Return the tokens before a stop string, and how many more were written to complete it."""
    whole = "".join(tokens)
    found = [(at, at + len(stop)) for stop in stops if stop and (at := whole.find(stop)) >= 0]
    if not found:
        return tokens, None
    length, end = min(found)
    kept: list[str] = []
    written = 0
    for token in tokens:
        kept.append(token[:length])
        length -= len(kept[-1])
        written += end > 0
        end -= len(token)
    shown = tuple(token for token in kept if token)
    return shown, written - len(shown)


def _loop(tokens: Tokens) -> int | None:
    """Return how many tokens are sent before Ollama notices a loop and just ends the stream."""
    before = 0
    for _, run in groupby(tokens, key=str.strip):
        length = len(tuple(run))
        if length > _REPEATS:
            return before + _REPEATS
        before += length
    return None


def _cut(whole: Generation, length: int, *, finished: bool = True) -> Generation:
    """Return the first tokens; a call that is not complete is lost, and so are all."""
    thinking = whole.thinking[:length]
    return Generation(
        thinking=thinking,
        text=whole.text[: length - len(thinking)],
        count=length,
        done_reason="length",
        finished=finished,
    )


def _call_text(call: OllamaToolCall) -> Tokens:
    body = json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
    return tuple(_CALL_TOKEN.findall(f"<tool_call>\n{body}\n</tool_call>"))


def _call_pieces(call: Call, tokens: Tokens) -> Iterator[Piece]:
    """Yield a call where its arguments are complete; what Ollama holds back has only logprobs."""
    closing = 3  # `</`, `tool_call` and `>`
    for position, token in enumerate(tokens, start=1 - len(tokens) + closing):
        yield Piece(tool_calls=() if position else (call,), logprobs=(logprob(token),))
