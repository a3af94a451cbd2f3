"""What one generation looks like on the OpenAI routes and REST v0, whole and in chunks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from patinox.testing.lmstudio.models import LMStudioModel, LMStudioToolCall
    from patinox.testing.lmstudio.state import Instance, Studio
    from patinox.testing.lmstudio.text import Generated, Pieces

Json = dict[str, object]
TOKENS_PER_SECOND = 50.0
FIRST_TOKEN_SECONDS = 0.1
_AFTER_COLON = re.compile(r"(?<=:)")


class Shape(Protocol):
    """How a kind of completion is written; a choice is an item of `choices`."""

    id_prefix: str
    whole: str
    chunk: str

    def choice(self, generated: Generated) -> Json:
        """Return the choice of a whole reply."""
        ...

    def choices(self, generated: Generated) -> Iterator[Json]:
        """Return the choices of the chunks, without the one that says why it ended."""
        ...

    def last(self, generated: Generated) -> Json:
        """Return the choice that says why it ended."""
        ...


class TextShape:
    """`/completions`: text only."""

    id_prefix = "cmpl-"
    whole = chunk = "text_completion"

    def choice(self, generated: Generated) -> Json:
        """Return the choice of a whole reply."""
        return self._choice("".join(generated.text), generated.finish_reason)

    def choices(self, generated: Generated) -> Iterator[Json]:
        """Return a choice per piece of text."""
        return (self._choice(piece, None) for piece in generated.text)

    def last(self, generated: Generated) -> Json:
        """Return the choice that says why it ended."""
        return self._choice("", generated.finish_reason)

    def _choice(self, text: str, finish_reason: str | None) -> Json:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


class ChatShape:
    """`/chat/completions`: reasoning, text and tool calls.

    `older` writes what 0.3 and REST v0 write: the message last, and on 0.3 without empty fields.
    """

    id_prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def __init__(self, studio: Studio, *, older: bool) -> None:
        self._studio = studio
        self._older = older

    def choice(self, generated: Generated) -> Json:
        """Return the choice of a whole reply."""
        message = self._message(generated)
        ended: Json = {"logprobs": None, "finish_reason": generated.finish_reason}
        if self._older:
            return {"index": 0, **ended, "message": message}
        return {"index": 0, "message": message, **ended}

    def _message(self, generated: Generated) -> Json:
        key, reasoning, text = self._reasoning_and_text(generated)
        calls = [{"type": "function", **self._call(call)} for call in generated.tool_calls]
        message: Json = {"role": "assistant", "content": "".join(text)}
        extras: Json = {key: "".join(reasoning), "tool_calls": calls}
        if self._studio.switches.generation == "0.3":
            extras = {name: extra for name, extra in extras.items() if extra}
        return message | extras

    def _reasoning_and_text(self, generated: Generated) -> tuple[str, Pieces, Pieces]:
        key = self._studio.switches.reasoning_key
        if key != "inline":
            return key, generated.reasoning, generated.text
        thought = ("<think>", *generated.reasoning, "</think>") if generated.reasoning else ()
        return "reasoning_content", (), thought + generated.text

    def choices(self, generated: Generated) -> Iterator[Json]:
        """Return a choice per piece; the first has the role beside its piece."""
        role: Json = {"role": "assistant"}
        for delta in self._deltas(generated):
            yield self._chunk_choice({**role, **delta}, None)
            role = {}

    def last(self, generated: Generated) -> Json:
        """Return the choice that says why it ended."""
        return self._chunk_choice({}, generated.finish_reason)

    def _chunk_choice(self, delta: Json, finish_reason: str | None) -> Json:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def _deltas(self, generated: Generated) -> Iterator[Mapping[str, object]]:
        key, reasoning, text = self._reasoning_and_text(generated)
        yield from ({key: piece} for piece in reasoning)
        yield from ({"content": piece} for piece in text)
        for index, call in enumerate(generated.tool_calls):
            yield from ({"tool_calls": [part]} for part in self._call_parts(index, call))

    def _call_parts(self, index: int, call: LMStudioToolCall) -> Iterator[Json]:
        function = {"name": call.name, "arguments": ""}
        first: Json = {"index": index, "id": self._studio.new_call_id()}
        yield first | {"type": "function", "function": function}
        for part in filter(None, _AFTER_COLON.split(call.arguments)):
            yield {"index": index, "function": {"arguments": part}}

    def _call(self, call: LMStudioToolCall) -> Json:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": self._studio.new_call_id(), "function": function}


def usage(generated: Generated, *, reasoning_tokens: int | None) -> Json:
    """Return the usage of a completion; `None` leaves out the details."""
    prompt, completion = generated.prompt_tokens, generated.completion_tokens
    counts: Json = {"prompt_tokens": prompt, "completion_tokens": completion}
    counts["total_tokens"] = prompt + completion
    if reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return counts


def statistics(generated: Generated, instance: Instance) -> Json:
    """Return what REST v0 says beyond the OpenAI reply; times in seconds."""
    model = instance.model
    return {
        "stats": {
            "tokens_per_second": TOKENS_PER_SECOND,
            "time_to_first_token": FIRST_TOKEN_SECONDS,
            "generation_time": generated.completion_tokens / TOKENS_PER_SECOND,
            "stop_reason": generated.stop_reason,
        },
        "model_info": {
            "arch": model.architecture,
            "quant": model.quantization,
            "format": model.format,
            "context_length": instance.context_length,
        },
        "runtime": _runtime(model),
    }


def _runtime(model: LMStudioModel) -> Json:
    if model.format == "mlx":
        return {"name": "mlx-llm-mac-arm64", "version": "0.31.0", "supported_formats": ["mlx"]}
    name = "llama.cpp-linux-x86_64-nvidia-cuda12-avx2"
    return {"name": name, "version": "1.51.0", "supported_formats": ["gguf"]}


def row_v0(name: str, model: LMStudioModel, instance: Instance | None) -> Json:
    """Return an item of `GET /api/v0/models`."""
    row: Json = {
        "id": name,
        "object": "model",
        "type": "embeddings" if model.kind == "embedding" else model.kind,
        "publisher": model.publisher,
        "arch": model.architecture,
        "compatibility_type": model.format or "splash",
        "quantization": model.quantization,
        "state": "not-loaded" if instance is None else "loaded",
        "max_context_length": model.max_context_length,
    }
    if instance is not None:
        row["loaded_context_length"] = instance.context_length
    if model.tools:
        row["capabilities"] = ["tool_use"]
    return row
