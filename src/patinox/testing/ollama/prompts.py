"""What a model gets to see of a request: the prompt, cut to the context of the model."""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from patinox.testing.ollama.go_json import OllamaError, is_list
from patinox.testing.ollama.models import OllamaModel, OllamaPrompt
from patinox.testing.ollama.requests import InferenceRequest, Message, Tool, read_format
from patinox.testing.ollama.text import Limits, prompt_tokens
from patinox.testing.schemas import is_grammar

TOO_LONG = "the input length exceeds the context length"
_TOO_LONG_TO_SHIFT = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)
_NUM_KEEP = 4


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and generate make of a request; an empty one only loads or unloads the model."""

    request: InferenceRequest
    verb: Literal["chat", "generate"]
    missing: OllamaError
    messages: tuple[Message, ...]
    empty: bool
    tools: tuple[Tool, ...] = ()
    suffix: str = ""
    raw: bool = False
    template: str = ""
    context: tuple[int, ...] | None = None


class Fitted(msgspec.Struct, frozen=True):
    """A prompt that fits: its tokens, and how many the model may write after them."""

    prompt: OllamaPrompt
    tokens: int
    room: int

    @property
    def limits(self) -> Limits:
        """Where the answer ends before its own end."""
        asked = whole(self.prompt.options.get("num_predict")) or 0
        stop = self.prompt.options.get("stop")
        stops = tuple(map(str, stop)) if is_list(stop) else ()
        return Limits(min(asked, self.room) if asked > 0 else self.room, stops)


def whole(number: object) -> int | None:
    """Return an option as the integer that Ollama makes of it."""
    return int(number) if isinstance(number, int | float) else None


def fitted(question: Question, model: OllamaModel, num_ctx: int, *, think: bool | str) -> Fitted:
    """Return the prompt as Ollama 0.30 and later renders it.

    Raises:
        OllamaError: it does not fit, or shows images to a model that sees none.
    """
    prompt = _without_oldest(_prompt(question, model, think=think), question, num_ctx)
    tokens = _tokens(prompt, question)
    if tokens >= num_ctx:
        if model.path == "native" or not question.request.truncate:
            raise _overflow(tokens, num_ctx)
        if not question.request.shift:
            raise OllamaError(400, _TOO_LONG_TO_SHIFT)
        tokens = num_ctx - max((num_ctx - _NUM_KEEP) // 2, 1)  # its middle is left out
    if "vision" not in model.capabilities and any(m.images for m in prompt.messages):
        hint = "hint: if this is unexpected, you may need to provide the mmproj"
        raise _engine_error(500, f"image input is not supported - {hint}", "server_error")
    return Fitted(prompt, tokens, num_ctx - tokens)


def fitted_before_0_30(
    question: Question, model: OllamaModel, num_ctx: int, *, think: bool | str
) -> Fitted:
    """Return the prompt as Ollama's own runner had it: it ignores images that no model sees.

    Raises:
        OllamaError: it does not fit and may not be cut, or no answer can have its format.
    """
    prompt = _prompt(question, model, think=think)
    if "vision" not in model.capabilities:
        prompt = msgspec.structs.replace(prompt, messages=_blind(prompt.messages))
    prompt = _without_oldest(prompt, question, num_ctx)
    if prompt.format is not None and not is_grammar(prompt.format):
        raise OllamaError(500, "invalid JSON schema in format")
    tokens = _tokens(prompt, question)
    if tokens > num_ctx and not question.request.truncate:
        raise OllamaError(400, TOO_LONG)
    tokens = min(tokens, num_ctx)
    room = 10 * num_ctx if question.request.shift else num_ctx - tokens + 1
    return Fitted(prompt, tokens, room)


def _prompt(question: Question, model: OllamaModel, *, think: bool | str) -> OllamaPrompt:
    messages = tuple(
        msgspec.structs.replace(message, role=message.role.lower()) for message in question.messages
    )
    if model.system and not question.raw and messages[0].role != "system":
        messages = (Message("system", model.system), *messages)
    request = question.request
    return OllamaPrompt(
        model=request.model,
        messages=messages,
        suffix=question.suffix,
        tools=question.tools,
        think=think,
        format=read_format(request.format),
        options={**model.parameters, **request.options},
    )


def _without_oldest(prompt: OllamaPrompt, question: Question, num_ctx: int) -> OllamaPrompt:
    """Leave the oldest messages out until the rest fits, unless that is forbidden."""
    while question.request.truncate and _tokens(prompt, question) > num_ctx:
        oldest = next((m for m in prompt.messages[:-1] if m.role != "system"), None)
        if oldest is None:
            break
        rest = tuple(message for message in prompt.messages if message is not oldest)
        prompt = msgspec.structs.replace(prompt, messages=rest)
    return prompt


def _tokens(prompt: OllamaPrompt, question: Question) -> int:
    return prompt_tokens(prompt) + len(question.context or ())


def _blind(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put the number of each image in its place."""
    seen, blind = 0, list[Message]()
    for message in messages:
        tags = "".join(f"[img-{seen + index}]" for index in range(len(message.images)))
        seen += len(message.images)
        blind.append(
            msgspec.structs.replace(message, content=f"{tags}{message.content}", images=())
        )
    return tuple(blind)


def _overflow(tokens: int, num_ctx: int) -> OllamaError:
    said = f"request ({tokens} tokens) exceeds the available context size ({num_ctx} tokens)"
    return _engine_error(
        400,
        f"{said}, try increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=tokens,
        n_ctx=num_ctx,
    )


def _engine_error(status: int, message: str, kind: str, **more: int) -> OllamaError:
    """Return an error of the inference engine: Ollama hands its JSON on as a string."""
    error = {"code": status, "message": message, "type": kind, **more}
    return OllamaError(status, json.dumps({"error": error}, separators=(",", ":")))
