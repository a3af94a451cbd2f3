"""What is asked: making a request that cannot be right raises `InvalidRequest`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import msgspec
from msgspec.structs import force_setattr

from patinox.provider.checks import (
    check_deadlines,
    check_flag,
    check_integer,
    check_mapping,
    check_number,
    check_sequence,
    check_text,
    check_texts,
    check_timeout,
    check_word,
)
from patinox.provider.errors import InvalidRequest
from patinox.provider.messages import CompletionMessage
from patinox.provider.models import ModelId
from patinox.provider.schema import OutputSchema
from patinox.provider.service_options import ServiceOptions
from patinox.provider.tools import Tool, tool_choice_of, tools_of

MAX_TEMPERATURE = 2.0
MAX_PENALTY = 2.0
MAX_TOP_LOGPROBS = 20
ON_OVERFLOW = ("warn", "refuse", "ignore")
ON_MISMATCH = ("refuse", "label")


class GenerationFields(TypedDict, total=False):
    """The fields that every request for an answer may have, see `GenerationRequest`."""

    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repeat_penalty: float | None
    stop: str | Sequence[str]
    seed: int | None
    logprobs: bool
    top_logprobs: int | None
    timeout: float | None
    deadlines: Mapping[str, float]
    continuation: bool | None
    on_overflow: str
    on_mismatch: str
    service_options: ServiceOptions | Sequence[ServiceOptions]
    options: Mapping[str, Any]


class ChatFields(GenerationFields, total=False):
    """The fields of a `CompletionRequest` beside its model and messages."""

    think: bool | str | None
    tools: Sequence[Tool | Callable[..., Any] | Mapping[str, Any]]
    tool_choice: str | None
    schema: object


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is to be made, whatever is asked.

    What is not said is left to the server and the model.

    Attributes:
        temperature: 0 (sober) to 2 (wild).
        max_tokens: longest answer, in tokens; `None` lets the model end by itself.
        top_p: share of the probability mass to choose from, 0 to 1.
        top_k: number of the likeliest tokens to choose from; 0 is all.
        min_p: least probability, as a share of the likeliest token's, 0 to 1.
        presence_penalty: against tokens that were there, -2 to 2.
        frequency_penalty: against tokens by how often they were there, -2 to 2.
        repeat_penalty: divides what repeats; 1 is off.
        stop: texts at which the answer ends.
        seed: makes a server that honours it repeat itself.
        logprobs: whether to tell how probable each token was.
        top_logprobs: how many likely tokens to tell beside each, 0 to 20; implies `logprobs`.
        timeout: seconds the whole call may take, waiting and other servers included.
        deadlines: limits of the phases, in seconds, that are other than the service's, by the
            names that `Deadlines` has for them, such as `{"first_token": 900}`.
        continuation: whether an answer that broke off is gone on with, where that can be done
            exactly; `None` leaves it to the configuration.
        on_overflow: what to do where a prompt seems too long for the context and the server would
            cut it in silence: `warn`, `refuse` or `ignore`.
        on_mismatch: what to do where another model answers: `refuse`, or `label` the answer.
        service_options: what one kind of service alone can be told, one of each kind.
        options: further options in the server's own words; typed fields win over them.

    Raises:
        InvalidRequest: a value is missing or out of its range.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    timeout: float | None = None
    deadlines: Mapping[str, float] = {}
    continuation: bool | None = None
    on_overflow: str = "warn"
    on_mismatch: str = "refuse"
    service_options: tuple[ServiceOptions, ...] = ()
    options: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "stop", check_texts("stop", self.stop))
        if not all(self.stop):
            raise InvalidRequest("A `stop` text is empty: it would end every answer at once.")
        force_setattr(self, "service_options", _service_options(self.service_options))
        check_number("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        check_integer("max_tokens", self.max_tokens, at_least=1)
        check_number("top_p", self.top_p, 0.0, 1.0)
        check_integer("top_k", self.top_k, at_least=0)
        check_number("min_p", self.min_p, 0.0, 1.0)
        check_number("presence_penalty", self.presence_penalty, -MAX_PENALTY, MAX_PENALTY)
        check_number("frequency_penalty", self.frequency_penalty, -MAX_PENALTY, MAX_PENALTY)
        check_number("repeat_penalty", self.repeat_penalty, 0.0, 10.0)
        check_integer("seed", self.seed)
        check_flag("logprobs", self.logprobs)
        check_integer("top_logprobs", self.top_logprobs, at_least=0)
        check_number("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.top_logprobs is not None:
            force_setattr(self, "logprobs", True)  # noqa: FBT003  a value, not a switch
        check_timeout(self.timeout)
        check_deadlines(self.deadlines)
        if self.continuation is not None:
            check_flag("continuation", self.continuation)
        check_word("on_overflow", self.on_overflow, ON_OVERFLOW)
        check_word("on_mismatch", self.on_mismatch, ON_MISMATCH)
        check_mapping("options", self.options)

    def words_for(self, service_type: str) -> dict[str, Any]:
        """Return the options for one kind of service, in its words; the typed ones win."""
        words = dict(self.options)
        for given in self.service_options:
            if given.service_type == service_type:
                words |= given.words()
        return words


class _ChatRequest(GenerationRequest, frozen=True, kw_only=True):
    """What is said of a conversation by keyword only."""

    think: bool | str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    schema: OutputSchema[Any] | None = None


class CompletionRequest(_ChatRequest, frozen=True):
    """What to ask a model in a conversation.

    Attributes:
        model: `ModelId`, `"model"` or `"service::model"`.
        messages: the conversation; a bare string is a user's turn.
        think: whether a model that can reason before it answers does so; or how much, in its own
            words, such as `low`, `medium`, `high`.
        tools: what the model may ask to be called: functions, `Tool`s or OpenAI's mappings.
        tool_choice: `auto`, `none`, `required` or the name of a tool that must be called; refused
            where the server cannot be made to.
        schema: what the answer must look like: a type or a JSON schema, see `OutputSchema.of`;
            `parsed` of the response is the object.

    The other fields are those of `GenerationRequest`.

    Raises:
        InvalidRequest: a value is missing or out of its range.
    """

    model: ModelId
    messages: tuple[CompletionMessage, ...]

    if TYPE_CHECKING:

        def __init__(
            self,
            model: ModelId | str,
            messages: str | Sequence[CompletionMessage | str | Mapping[str, Any]],
            **fields: Unpack[ChatFields],
        ) -> None: ...

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "model", ModelId.parse(self.model))
        force_setattr(self, "messages", _messages(self.messages))
        if self.think is not None and not isinstance(self.think, bool):
            check_text("`think`", self.think)
            if not self.think:
                raise InvalidRequest("`think` is empty; allowed: true, false or a level.")
        force_setattr(self, "tools", tools_of(self.tools))
        force_setattr(self, "tool_choice", tool_choice_of(self.tool_choice, self.tools))
        if self.schema is not None:
            force_setattr(self, "schema", OutputSchema.of(self.schema))
            if self.tools:
                msg = "`tools` and `schema` exclude each other: an answer that keeps to a schema"
                raise InvalidRequest(f"{msg} calls no tool.", hint="Ask in two requests.")
        GenerationRequest.__post_init__(self)

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is told of: to some, one that is told of is one to call."""
        return () if self.tool_choice == "none" else self.tools

    def __repr__(self) -> str:
        """Tell what is asked of whom, not what was said."""
        return f"<CompletionRequest to {self.model}: {len(self.messages)} messages>"


class TextCompletionRequest(GenerationRequest, frozen=True):
    """A text to go on with, without any conversation around it.

    Attributes:
        model: `ModelId`, `"model"` or `"service::model"`.
        prompt: the text that the answer continues.
        suffix: the text that comes after the answer: with it the model fills in the middle.

    The other fields are those of `GenerationRequest`.

    Raises:
        InvalidRequest: there is no text, or a value is out of its range.
    """

    model: ModelId
    prompt: str
    suffix: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            model: ModelId | str,
            prompt: str,
            suffix: str | None = None,
            **fields: Unpack[GenerationFields],
        ) -> None: ...

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "model", ModelId.parse(self.model))
        if not check_text("The prompt", self.prompt) and not self.suffix:
            raise InvalidRequest("There is no text to go on with.")
        if self.suffix is not None:
            check_text("The suffix", self.suffix)
        GenerationRequest.__post_init__(self)

    def __repr__(self) -> str:
        """Tell what is asked of whom, not the text."""
        return f"<TextCompletionRequest to {self.model}: {len(self.prompt)} characters>"


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """Texts to turn into vectors.

    Attributes:
        model: `ModelId`, `"model"` or `"service::model"`.
        input: the texts, in the order in which the vectors come back.
        dimensions: shorter vectors, where the server can cut them.
        timeout: seconds the whole call may take.
        batch_size: texts that are sent at once; more are sent in several requests, to one server.
        deadlines: as in a `GenerationRequest`.

    Raises:
        InvalidRequest: there is no text, an empty one, or a value out of its range.
    """

    model: ModelId
    input: tuple[str, ...]
    dimensions: int | None = None
    timeout: float | None = None
    batch_size: int = 64
    deadlines: Mapping[str, float] = {}

    if TYPE_CHECKING:

        def __init__(
            self,
            model: ModelId | str,
            input: str | Sequence[str],  # noqa: A002  the field's name everywhere in this trade
            *,
            dimensions: int | None = None,
            timeout: float | None = None,
            batch_size: int = 64,
            deadlines: Mapping[str, float] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Bring every field into its one form and refuse what cannot be right."""
        force_setattr(self, "model", ModelId.parse(self.model))
        force_setattr(self, "input", check_texts("input", self.input))
        if not self.input or not all(self.input):
            msg = "There is no text to embed." if not self.input else "A text to embed is empty."
            raise InvalidRequest(msg)
        check_integer("dimensions", self.dimensions, at_least=1)
        check_integer("batch_size", self.batch_size, at_least=1)
        check_timeout(self.timeout)
        check_deadlines(self.deadlines)

    def __repr__(self) -> str:
        """Tell what is asked of whom, not the texts."""
        return f"<EmbeddingRequest to {self.model}: {len(self.input)} texts>"


R = TypeVar("R", bound="CompletionRequest | TextCompletionRequest | EmbeddingRequest")


def attempt_at(request: R, model: ModelId, timeout: float | None) -> R:
    """Copy a request for one attempt at it, unlike `replace` without checking all of it anew."""
    attempt = copy.copy(request)
    force_setattr(attempt, "model", model)
    force_setattr(attempt, "timeout", timeout)
    return attempt


def _messages(value: object) -> tuple[CompletionMessage, ...]:
    if isinstance(value, str):
        return (CompletionMessage.user(value),)
    messages = tuple(CompletionMessage.of(item) for item in check_sequence("messages", value))
    if not messages:
        msg = "There are no messages: a request needs at least one."
        raise InvalidRequest(msg)
    return messages


def _service_options(value: object) -> tuple[ServiceOptions, ...]:
    given = (value,) if isinstance(value, ServiceOptions) else value
    items = tuple(check_sequence("service_options", given))
    for item in items:
        if not isinstance(item, ServiceOptions):
            msg = f"`service_options` holds a {type(item).__name__}; allowed: OllamaOptions ..."
            raise InvalidRequest(msg)
    kinds = [item.service_type for item in items]
    if len(set(kinds)) < len(kinds):
        msg = f"`service_options` has two for one kind of service: {', '.join(kinds)}."
        raise InvalidRequest(msg)
    return items
