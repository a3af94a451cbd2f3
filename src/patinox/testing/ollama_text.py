"""Tokens, generation and vectors of the emulated Ollama: deterministic, and one word a token."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict

import msgspec

from patinox.testing.ollama_json import OllamaError, is_list, without_empty
from patinox.testing.ollama_models import OllamaAnswer, OllamaModel, OllamaPrompt, OllamaToolCall

_TOKEN = re.compile(r"\s*\S+|\s+$")
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
    """Tokens read and written, and whether the model had to be loaded for it."""

    prompt: int
    generated: int
    cold: bool

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
            eval_duration=self.generated * _WRITE_NS,
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
    """One answer, token by token."""

    thinking: Tokens
    text: Tokens
    tool_calls: tuple[OllamaToolCall, ...]
    done_reason: Literal["stop", "length"]
    error: str | None
    finished: bool

    @property
    def count(self) -> int:
        """Tokens of thinking, text and calls."""
        calls = sum(1 + count(json.dumps(dict(call.arguments))) for call in self.tool_calls)
        return len(self.thinking) + len(self.text) + calls


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
            text = json.dumps(_sample(prompt.format, text), ensure_ascii=False)
        return OllamaAnswer(text=text, thinking="The user said something.")
    if not isinstance(reply, str | OllamaAnswer):
        reply = reply(prompt)
    return OllamaAnswer(text=reply) if isinstance(reply, str) else reply


def generate(given: OllamaAnswer, limits: Limits, *, think: bool) -> Generation:
    """Cut an answer at the first stop string and at the limit, and say why it ended."""
    thinking = split(given.thinking) if think else ()
    text = _stopped(split(given.text), limits.stop)
    whole = Generation(
        thinking=thinking,
        text=text,
        tool_calls=given.tool_calls,
        done_reason="stop",
        error=given.error,
        finished=given.finished,
    )
    if whole.count <= limits.tokens:
        return whole
    thinking = thinking[: limits.tokens]
    return Generation(
        thinking=thinking,
        text=text[: limits.tokens - len(thinking)],
        tool_calls=(),
        done_reason="length",
        error=None,
        finished=True,
    )


def pieces(
    generation: Generation, last: Piece, calls: tuple[Call, ...], *, native: bool
) -> Iterator[Piece]:
    """Yield an answer as a stream does, ending with `last`.

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
        for call in calls:
            yield Piece(tool_calls=(call,))
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


def embed(text: str, dimensions: int) -> list[float]:
    """Return the unit vector of a text: texts that share words are close to each other."""
    total = [0] * dimensions
    for word in text.lower().split() or [text]:
        noise = hashlib.shake_256(word.encode()).digest(2 * dimensions)
        total = [a + b for a, b in zip(total, _numbers(noise), strict=True)]
    return unit(total)


def unit(vector: Sequence[float]) -> list[float]:
    """Return the vector at length one, as near as 32 bits can say."""
    length = math.hypot(*vector) or 1.0
    return [_float32(value / length) for value in vector]


def _numbers(noise: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(noise) // 2}h", noise)


def _float32(value: float) -> float:
    number: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return float(f"{number:.9g}")


def _stopped(tokens: Tokens, stops: Tokens) -> Tokens:
    whole = "".join(tokens)
    found = [at for stop in stops if stop and (at := whole.find(stop)) >= 0]
    length = min(found, default=len(whole))
    kept: list[str] = []
    for token in tokens:
        kept.append(token[:length])
        length -= len(kept[-1])
    return tuple(token for token in kept if token)


def _sample(schema: str | Mapping[str, Any], text: str) -> object:
    """Return a value that a JSON Schema allows, with `text` for each string."""
    if isinstance(schema, str):
        return {"answer": text}
    return _of_schema(schema, schema, text)


def _of_schema(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> object:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _of_schema(
            {**root.get("$defs", {}), **root.get("definitions", {})}[name], root, text
        )
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _of_schema(schema[key][0], root, text)
    return _of_type(schema, root, text)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], text: str) -> object:
    kind: object = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if is_list(kind) else kind:
        case "object":
            properties: Mapping[str, Any] = schema.get("properties", {})
            return {name: _of_schema(part, root, text) for name, part in properties.items()}
        case "array":
            item = _of_schema(schema.get("items", {}), root, text)
            return [item] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text
