"""What the emulated LM Studio serves: models, what they answer, and the models it starts with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from patinox.testing.schemas import asked, sample


class LMStudioToolCall(msgspec.Struct, frozen=True):
    """A call the model makes; `arguments` is JSON text, which a model may well get wrong."""

    name: str
    arguments: str = "{}"


class LMStudioAnswer(msgspec.Struct, frozen=True):
    """What a model generates for one prompt.

    A string counts one token per word and is streamed word by word; a tuple is streamed as exactly
    its pieces, one token each.

    Attributes:
        tool_calls: left out by the native chat, which takes no tools.
        error: fails the call after all that: a stream breaks off with an error event, a whole reply
            is the error alone.
        finished: false for a stream that just ends, without a last chunk and without an error.

    """

    text: str | tuple[str, ...] = ""
    reasoning: str | tuple[str, ...] = ""
    tool_calls: tuple[LMStudioToolCall, ...] = ()
    error: str | None = None
    finished: bool = True


class LMStudioTurn(msgspec.Struct, frozen=True):
    """One message of a prompt: its role, and its texts joined."""

    role: str
    text: str


class LMStudioPrompt(msgspec.Struct, frozen=True):
    """What a model is asked, on whichever route.

    Attributes:
        model: key of the model that answers.
        turns: the conversation, with the system prompt first.
        reasoning: the reasoning setting asked for, or `None`.
        body: the decoded body of the request.
    """

    model: str
    turns: tuple[LMStudioTurn, ...]
    reasoning: str | None
    body: Mapping[str, object]

    @property
    def last_user_text(self) -> str:
        """The text of the last user message, or nothing."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")


Reply = str | LMStudioAnswer | Callable[[LMStudioPrompt], str | LMStudioAnswer]


class LMStudioModel(msgspec.Struct, frozen=True, kw_only=True):
    """A downloaded model.

    Attributes:
        key: the name it is called by; `publisher/name`, or a bare name.
        identifier: the name of its loaded instance (`lms load --identifier`); `None` for the key.
        format: `gguf`, `mlx`, or `None` as on builds with another engine.
        loaded_context_length: tokens it is loaded with at the start; `None`: it is not loaded.
        tools: whether it was trained to call tools.
        reasoning: the reasoning settings it knows; none: it does not reason.
        reasoning_default: the setting it has when none is asked for; `None`: the last one.
        load_error: why loading it fails, or `None`.
        dimensions: length of its vectors, for an embedding model.
        reply: what it answers: a text, an answer, or a function of the prompt; `None` repeats the
            last user message, within the JSON schema if there is one.
    """

    key: str
    kind: Literal["llm", "vlm", "embedding"] = "llm"
    identifier: str | None = None
    publisher: str = "lmstudio-community"
    display_name: str | None = None
    architecture: str = "llama"
    quantization: str = "Q4_K_M"
    bits_per_weight: float = 4
    format: Literal["gguf", "mlx"] | None = "gguf"
    max_context_length: int = 32768
    loaded_context_length: int | None = None
    tools: bool = False
    reasoning: tuple[str, ...] = ()
    reasoning_default: str | None = None
    size_bytes: int = 2_497_280_736
    params_string: str | None = None
    load_error: str | None = None
    dimensions: int = 768
    reply: Reply | None = None

    @property
    def variant(self) -> str:
        """The key with the quantization behind it."""
        return f"{self.key}@{self.quantization.lower()}"

    def answer(self, prompt: LMStudioPrompt) -> LMStudioAnswer:
        """Return what this model generates for `prompt`."""
        reply = self.reply
        if reply is None:
            return self._echo(prompt)
        if not isinstance(reply, str | LMStudioAnswer):
            reply = reply(prompt)
        return LMStudioAnswer(reply) if isinstance(reply, str) else reply

    def _echo(self, prompt: LMStudioPrompt) -> LMStudioAnswer:
        reasons = bool(self.reasoning) and prompt.reasoning not in {"off", "none"}
        text = f"You said: {prompt.last_user_text}"
        schema = asked(prompt.body)
        if schema is not None:
            text = json.dumps(sample(schema, text), ensure_ascii=False)
        return LMStudioAnswer(
            text=text,
            reasoning="The user said something." if reasons else "",
        )


DEFAULT_MODELS = (
    LMStudioModel(
        key="qwen/qwen3-4b-2507",
        publisher="qwen",
        display_name="Qwen3 4B 2507",
        architecture="qwen3",
        max_context_length=262144,
        loaded_context_length=8192,
        tools=True,
        params_string="4B",
    ),
    LMStudioModel(
        key="openai/gpt-oss-20b",
        publisher="openai",
        display_name="GPT-OSS 20B",
        architecture="gpt-oss",
        quantization="MXFP4",
        max_context_length=131072,
        tools=True,
        reasoning=("low", "medium", "high"),
        reasoning_default="medium",
        size_bytes=12_109_568_288,
        params_string="20B",
    ),
    LMStudioModel(
        key="gemma-3-4b-it",
        kind="vlm",
        publisher="mlx-community",
        display_name="Gemma 3 4B",
        architecture="gemma3",
        quantization="4bit",
        format="mlx",
        max_context_length=131072,
        size_bytes=3_388_412_930,
        params_string="4B",
    ),
    LMStudioModel(
        key="text-embedding-nomic-embed-text-v1.5",
        kind="embedding",
        publisher="nomic-ai",
        display_name="Nomic Embed Text v1.5",
        architecture="nomic-bert",
        max_context_length=2048,
        loaded_context_length=2048,
        size_bytes=84_106_624,
    ),
)
