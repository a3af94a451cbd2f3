"""The values every provider speaks in: frozen, validated when made, free of I/O.

A request that cannot be right does not exist: building one raises `InvalidRequest`.
What a server did not tell is `None`, never a guess; where a fact was learnt stands in `sources`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import msgspec
from msgspec.structs import force_setattr

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import InvalidRequest

R = TypeVar("R")

ROLES = ("system", "user", "assistant", "tool")
MAX_TEMPERATURE = 2.0
_WORD = 2**63


class Source(enum.StrEnum):
    """Where a fact about a model was learnt; the earlier, the surer."""

    SERVER = "server"
    MODEL_FILE = "model_file"
    NAME = "name"
    UNKNOWN = "unknown"


class QualityTier(enum.IntEnum):
    """How good answers may be expected to be, from the number of parameters."""

    BASIC = 1
    STANDARD = 2
    PREMIUM = 3


class SpeedTier(enum.IntEnum):
    """How fast answers may be expected to come, from the number of parameters."""

    THOUGHTFUL = 1
    BALANCED = 2
    FAST = 3


class ModelId(msgspec.Struct, frozen=True, order=True):
    """A model's name, and on which service to look for it.

    Attributes:
        name: the server's own name of the model.
        provider_hint: id or type of a service, or `None` for wherever the model is.
    """

    name: str
    provider_hint: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name or a hint that is empty."""
        if not self.name.strip() or (self.provider_hint is not None and not self.provider_hint):
            msg = f"The model name {str(self)!r} is empty."
            raise InvalidRequest(msg, hint="Write `model` or `service::model`.")

    @classmethod
    def parse(cls, text: str | ModelId) -> ModelId:
        """Read `model` or `service::model`.

        Raises:
            InvalidRequest: the text is no string, or one of the two parts is empty.
        """
        if isinstance(text, ModelId):
            return text
        text = _text("The name of a model", text)
        hint, separator, name = text.partition("::")
        return cls(name.strip(), hint.strip()) if separator else cls(text.strip())

    def __str__(self) -> str:
        """Return the spelling that `parse` reads."""
        return self.name if self.provider_hint is None else f"{self.provider_hint}::{self.name}"


class ModelCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do; `None` where nobody told.

    Attributes:
        max_tokens: length of the context the model was made for, in tokens.
        supports_chat: answers conversations.
        supports_completions: continues plain text.
        supports_embeddings: turns text into vectors.
        supports_vision: reads images.
        supports_tools: calls tools.
        supports_thinking: can reason before it answers.
        supports_streaming: hands out its answer piece by piece.
        quality_tier: expectation from the number of parameters.
        speed_tier: expectation from the number of parameters.
        sources: where each of these facts was learnt, by field name.
    """

    max_tokens: int | None = None
    supports_chat: bool | None = None
    supports_completions: bool | None = None
    supports_embeddings: bool | None = None
    supports_vision: bool | None = None
    supports_tools: bool | None = None
    supports_thinking: bool | None = None
    supports_streaming: bool | None = None
    quality_tier: QualityTier | None = None
    speed_tier: SpeedTier | None = None
    sources: Mapping[str, Source] = {}

    def source(self, field: str) -> Source:
        """Tell where the fact `field` was learnt."""
        return self.sources.get(field, Source.UNKNOWN)


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one service.

    Attributes:
        id: the server's own name of the model.
        service: id of the service that has it.
        aliases: other names the server knows it by.
        created: when it was installed or changed, in Unix seconds.
        context_length: the longest context the model can have, in tokens.
        loaded_context_length: the context it has right now, in tokens; `None` unless loaded.
        loaded: whether it is in memory now.
        size_bytes: size of its weights on disk.
        parameter_count: number of parameters.
        remote: it runs in the cloud, although this server lists it.
        demo: the toy that ships with Patinox: it proves the path and is no assistant.
        sources: where `context_length`, `loaded_context_length` and `loaded` were learnt.
    """

    id: str
    service: str
    object: str = "model"
    display_name: str | None = None
    aliases: tuple[str, ...] = ()
    created: int | None = None
    owned_by: str | None = None
    capabilities: ModelCapabilities = ModelCapabilities()
    context_length: int | None = None
    loaded_context_length: int | None = None
    loaded: bool | None = None
    size_bytes: int | None = None
    parameter_count: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    format: str | None = None
    digest: str | None = None
    remote: bool = False
    demo: bool = False
    sources: Mapping[str, Source] = {}

    @property
    def model_id(self) -> ModelId:
        """The exact spelling, `service::model`."""
        return ModelId(self.id, self.service)


class ToolCall(msgspec.Struct, frozen=True):
    """A tool the model wants called: `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        content: the text.
        reasoning: what the model thought before it answered.
        tool_calls: tools an assistant turn asked for.
        tool_call_id: the call that a `tool` turn answers.
        name: name of the tool that a `tool` turn answers for.
    """

    role: str
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse a role that no server knows and content that is not text."""
        if self.role not in ROLES:
            msg = f"The message role {self.role!r} is not known; allowed: {', '.join(ROLES)}."
            raise InvalidRequest(msg)
        _text("The content of a message", self.content)

    @classmethod
    def system(cls, content: str) -> CompletionMessage:
        """Make an instruction to the model."""
        return cls(role="system", content=content)

    @classmethod
    def user(cls, content: str) -> CompletionMessage:
        """Make a turn of the person."""
        return cls(role="user", content=content)

    @classmethod
    def assistant(cls, content: str) -> CompletionMessage:
        """Make a turn of the model."""
        return cls(role="assistant", content=content)

    @classmethod
    def of(cls, value: CompletionMessage | str | Mapping[str, Any]) -> CompletionMessage:
        """Read a message, a mapping with its fields, or a bare string as a user's turn.

        Raises:
            InvalidRequest: the value is none of these, or a field is unknown or of a wrong type.
        """
        if isinstance(value, CompletionMessage):
            return value
        if isinstance(value, str):
            return cls.user(value)
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            msg = f"A message is a string or has `role` and `content`: {error}."
            raise InvalidRequest(msg) from error

    def __repr__(self) -> str:
        """Tell who spoke and how much, not what was said."""
        return f"<CompletionMessage {self.role}: {len(self.content)} characters>"


class CompletionRequest(msgspec.Struct, frozen=True):
    """What to ask a model.

    Attributes:
        model: `ModelId`, `"model"` or `"service::model"`.
        messages: the conversation; a bare string is a user's turn.
        temperature: 0 (sober) to 2 (wild).
        max_tokens: longest answer, in tokens; `None` lets the model end by itself.
        top_p: share of the probability mass to choose from, 0 to 1.
        stop: texts at which the answer ends.
        seed: makes a server that honours it repeat itself.
        timeout: seconds the whole call may take, waiting and other servers included.
        options: further options in the server's own words; typed fields win over them.

    Raises:
        InvalidRequest: a value is missing or out of its range.
    """

    model: ModelId
    messages: tuple[CompletionMessage, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout: float | None = None
    options: Mapping[str, Any] = {}

    if TYPE_CHECKING:

        def __init__(  # noqa: PLR0913  each is one field of the request
            self,
            model: ModelId | str,
            messages: str | Sequence[CompletionMessage | str | Mapping[str, Any]],
            *,
            temperature: float | None = None,
            max_tokens: int | None = None,
            top_p: float | None = None,
            stop: str | Sequence[str] = (),
            seed: int | None = None,
            timeout: float | None = None,
            options: Mapping[str, Any] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "model", ModelId.parse(self.model))
        force_setattr(self, "messages", _messages(self.messages))
        force_setattr(self, "stop", _texts("stop", self.stop))
        _check_number("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        _check_integer("max_tokens", self.max_tokens, at_least=1)
        _check_integer("seed", self.seed)
        _check_timeout(self.timeout)
        _check_options(self.options)

    def __repr__(self) -> str:
        """Tell what is asked of whom, not what was said."""
        return f"<CompletionRequest to {self.model}: {len(self.messages)} messages>"


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """Texts to turn into vectors.

    Attributes:
        model: `ModelId`, `"model"` or `"service::model"`.
        input: the texts, in the order in which the vectors come back.
        dimensions: shorter vectors, where the server can cut them.
        timeout: seconds the whole call may take.

    Raises:
        InvalidRequest: there is no text, an empty one, or a value out of its range.
    """

    model: ModelId
    input: tuple[str, ...]
    dimensions: int | None = None
    timeout: float | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            model: ModelId | str,
            input: str | Sequence[str],  # noqa: A002  the field's name everywhere in this trade
            *,
            dimensions: int | None = None,
            timeout: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "model", ModelId.parse(self.model))
        force_setattr(self, "input", _texts("input", self.input))
        if not self.input or not all(self.input):
            msg = "There is no text to embed." if not self.input else "A text to embed is empty."
            raise InvalidRequest(msg)
        _check_integer("dimensions", self.dimensions, at_least=1)
        _check_timeout(self.timeout)

    def __repr__(self) -> str:
        """Tell what is asked of whom, not the texts."""
        return f"<EmbeddingRequest to {self.model}: {len(self.input)} texts>"


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


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; `finish_reason` is the server's: `stop`, `length`, `tool_calls` or another."""

    index: int = 0
    message: CompletionMessage
    finish_reason: str | None = None


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
    def finish_reason(self) -> str | None:
        """Why the answer ended, as the server says."""
        return self.choices[0].finish_reason


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors, in the order of the texts.

    Attributes:
        embeddings: one row for each text.
        normalized: whether the rows have length 1; `None` for an empty reply.
    """

    model: str
    service: str | None = None
    embeddings: EmbeddingMatrix
    usage: Usage = Usage()
    normalized: bool | None = None


class StreamEvent(msgspec.Struct, frozen=True):
    """Something that happened while an answer was made."""

    @property
    def text(self) -> str:
        """The text it adds to the answer; empty for every event but `TextDelta`."""
        return ""


class ResponseStarted(StreamEvent, frozen=True, kw_only=True):
    """The server began to answer.

    Attributes:
        model: the model that answers, in the server's words.
        service: id of the service that answers.
        reason: why this service was asked, where there was a choice to make.
        attempts: who was asked before, each with what it said.
    """

    model: str
    id: str | None = None
    created: int | None = None
    service: str | None = None
    reason: str | None = None
    attempts: tuple[str, ...] = ()


class TextDelta(StreamEvent, frozen=True):
    """A piece of the answer."""

    content: str

    @property
    def text(self) -> str:
        """The piece."""
        return self.content


class ReasoningDelta(StreamEvent, frozen=True):
    """A piece of what the model thinks before it answers."""

    reasoning: str


class ToolCallDelta(StreamEvent, frozen=True, kw_only=True):
    """A piece of a tool call; pieces of one call share `index`, and `arguments` are joined."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class ResponseFinished(StreamEvent, frozen=True, kw_only=True):
    """The answer is whole: why it ended, what it cost and how long it took."""

    finish_reason: str | None = None
    usage: Usage = Usage()
    timings: Timings = Timings()


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{what} must be text, not {type(value).__name__}."
        raise InvalidRequest(msg)
    return value


def checked(request: object, kind: type[R]) -> R:
    """Return the request if it is one.

    Raises:
        InvalidRequest: it is something else.
    """
    if not isinstance(request, kind):
        msg = f"A request is a {kind.__name__}, not {type(request).__name__}."
        raise InvalidRequest(msg, hint=f'Write {kind.__name__}("model", ...).')
    return request


def _messages(value: object) -> tuple[CompletionMessage, ...]:
    if isinstance(value, str):
        return (CompletionMessage.user(value),)
    messages = tuple(CompletionMessage.of(item) for item in _sequence("messages", value))
    if not messages:
        msg = "There are no messages: a request needs at least one."
        raise InvalidRequest(msg)
    return messages


def _texts(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(_text(f"Each item of `{field}`", item) for item in _sequence(field, value))


def _sequence(field: str, value: object) -> Sequence[Any]:
    if not _is_sequence(value):
        msg = f"`{field}` must be text or a list, not {type(value).__name__}."
        raise InvalidRequest(msg)
    return value


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence)


def _check_number(field: str, value: object, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        msg = f"`{field}` is {value!r}; allowed: a number from {low:g} to {high:g}."
        raise InvalidRequest(msg)


def _check_integer(field: str, value: object, *, at_least: int | None = None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"`{field}` is {value!r}; allowed: a whole number."
        raise InvalidRequest(msg)
    if not -_WORD <= value < _WORD:
        msg = f"`{field}` has more than 64 bits; allowed: a whole number of up to 64."
        raise InvalidRequest(msg)
    if at_least is not None and value < at_least:
        msg = f"`{field}` is {value}; allowed: a whole number from {at_least}."
        raise InvalidRequest(msg)


def _check_timeout(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        msg = f"`timeout` is {value!r}; allowed: a number of seconds above 0."
        raise InvalidRequest(msg)


def _check_options(value: object) -> None:
    if not isinstance(value, Mapping):
        msg = f"`options` must be a mapping, not {type(value).__name__}."
        raise InvalidRequest(msg)
