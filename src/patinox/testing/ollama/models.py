"""What the emulated Ollama serves: models, what they answer, and the models it starts with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from patinox.testing.ollama.names import Name, parse_name
from patinox.testing.ollama.requests import Message, Tool

Capability = Literal[
    "completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"
]


class OllamaToolCall(msgspec.Struct, frozen=True):
    """A call the model makes."""

    name: str
    arguments: Mapping[str, object] = {}


class OllamaAnswer(msgspec.Struct, frozen=True):
    """What a model generates for one prompt.

    A string counts one token per word and is streamed word by word; a tuple is streamed as exactly
    its pieces, one token each.

    Attributes:
        thinking: dropped where the request or the model does without.
        error: fails the call after all that: a stream ends with an error line, a whole reply is the
            error alone.
        finished: false for a stream that just ends, without a last chunk and without an error.
    """

    text: str | tuple[str, ...] = ""
    thinking: str | tuple[str, ...] = ""
    tool_calls: tuple[OllamaToolCall, ...] = ()
    error: str | None = None
    finished: bool = True


class OllamaPrompt(msgspec.Struct, frozen=True):
    """What a model is asked, on whichever route, as far as it fits into the context.

    Attributes:
        model: the name in the request.
        suffix: what follows the text to fill in, on `/api/generate`.
        tools: as the model sees them, without the JSON Schema keywords that Ollama drops.
        think: what the model is to do; true, false or a level.
        format: `"json"`, a JSON Schema, or `None`.
        options: the options of the request over those of the model.
    """

    model: str
    messages: tuple[Message, ...]
    suffix: str = ""
    tools: tuple[Tool, ...] = ()
    think: bool | str = False
    format: str | Mapping[str, object] | None = None
    options: Mapping[str, object] = {}

    @property
    def last_user_text(self) -> str:
        """The text of the last user message, or nothing."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


Reply = str | OllamaAnswer | Callable[[OllamaPrompt], str | OllamaAnswer]


class OllamaModel(msgspec.Struct, frozen=True, kw_only=True):
    """An installed model, or the stub of a cloud model.

    Attributes:
        name: `[host/][namespace/]model[:tag]`; the tag is `latest` unless given.
        family: the architecture; prefix of the keys in `model_info`.
        parameter_size: a number and `K`, `M` or `B`.
        context_length: tokens it was trained for.
        embedding_length: size of its vectors; 0: not told.
        size: bytes on disk.
        parent_model: what it was made from, by name or path; nothing for one that was pulled.
        loaded: whether it is in memory at the start.
        path: who renders the prompt and reads the tool calls: Ollama itself (`rendered`), or the
            inference engine from the chat template of the file (`native`, from 0.30 on).
        remote_model: name in the cloud, which makes this a stub.
        parameters: of its Modelfile; `num_ctx`, `num_predict` and `stop` take effect.
        system: the system prompt of its Modelfile.
        digest: of its manifest, hexadecimal; derived from the name unless given.
        reply: what it answers: a text, an answer, or a function of the prompt, which may raise
            `OllamaError`; `None` repeats the last user message.
        layers: bytes of what it has beside its weights (template, licence), of which `size` is the
            sum; a download fetches one after the other.
    """

    name: str
    capabilities: tuple[Capability, ...] = ("completion",)
    family: str = "llama"
    parameter_size: str = "3.2B"
    quantization: str = "Q4_K_M"
    context_length: int = 131072
    embedding_length: int = 3072
    size: int = 2_019_393_189
    parent_model: str = ""
    loaded: bool = False
    path: Literal["rendered", "native"] = "rendered"
    remote_model: str | None = None
    remote_host: str = "https://ollama.com:443"
    parameters: Mapping[str, object] = {}
    system: str = ""
    digest: str = ""
    reply: Reply | None = None
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if parse_name(self.name) is None:
            raise ValueError(f"not a name of a model: {self.name!r}")
        if not self.digest:
            digest = hashlib.sha256(self.parsed.key.encode()).hexdigest()
            msgspec.structs.force_setattr(self, "digest", digest)

    @property
    def parsed(self) -> Name:
        """The name in its parts."""
        name = parse_name(self.name)
        assert name is not None, "checked when it was made"  # noqa: S101
        return name

    @property
    def weights_digest(self) -> str:
        """The digest of the layer that holds the weights."""
        return hashlib.sha256(self.digest.encode()).hexdigest()


DEFAULT_MODELS = (
    OllamaModel(name="llama3.2:3b", capabilities=("completion", "tools"), parameter_size="3.2B"),
    OllamaModel(
        name="qwen3:4b",
        capabilities=("completion", "tools", "thinking"),
        family="qwen3",
        parameter_size="4.0B",
        context_length=262144,
        embedding_length=2560,
        size=2_620_788_019,
        parameters={"temperature": 0.6, "stop": ["<|im_start|>", "<|im_end|>"]},
    ),
    OllamaModel(
        name="llava:7b",
        capabilities=("completion", "vision"),
        parameter_size="7B",
        quantization="Q4_0",
        context_length=32768,
        embedding_length=4096,
        size=4_733_363_377,
    ),
    OllamaModel(
        name="nomic-embed-text:latest",
        capabilities=("embedding",),
        family="nomic-bert",
        parameter_size="137M",
        quantization="F16",
        context_length=2048,
        embedding_length=768,
        size=274_302_450,
    ),
    OllamaModel(
        name="gpt-oss:120b-cloud",
        capabilities=("completion", "tools", "thinking"),
        family="gptoss",
        parameter_size="116.8B",
        quantization="MXFP4",
        embedding_length=0,
        size=384,
        remote_model="gpt-oss:120b",
    ),
)
