"""The turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec.structs import force_setattr

from patinox.provider.checks import check_sequence, check_text, shown
from patinox.provider.errors import InvalidRequest
from patinox.provider.images import Image

ROLES = ("system", "user", "assistant", "tool")


class ToolCall(msgspec.Struct, frozen=True):
    """A tool the model wants called: `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        """Refuse what is no text."""
        for field in self.__struct_fields__:
            check_text(f"The `{field}` of a tool call", getattr(self, field))

    def __repr__(self) -> str:
        """Tell what is called, not with what."""
        return f"<ToolCall {self.name} {self.id}: {len(self.arguments)} characters>"


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn of a conversation.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        content: the text; given as a list of texts and pictures, their texts, a line each.
        parts: the texts and pictures in their order, if there are pictures; made from `content`.
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
    parts: tuple[str | Image, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            role: str,
            content: str | Sequence[str | Image] = "",
            reasoning: str = "",
            tool_calls: tuple[ToolCall, ...] = (),
            tool_call_id: str | None = None,
            name: str | None = None,
            parts: tuple[str | Image, ...] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        """Refuse a role that no server knows, and what is not text, pictures or calls."""
        if self.role not in ROLES:
            msg = f"The message role {shown(self.role)} is not known; allowed: {', '.join(ROLES)}."
            raise InvalidRequest(msg)
        if isinstance(self.content, list | tuple):
            parts = tuple(_parts(cast("Sequence[object]", self.content)))
            force_setattr(self, "content", _text_of(parts))
            force_setattr(self, "parts", parts if any(map(_is_image, parts)) else ())
        check_text("The content of a message", self.content)
        check_text("The `reasoning` of a message", self.reasoning)
        for field in ("tool_call_id", "name"):
            if (text := getattr(self, field)) is not None:
                check_text(f"The `{field}` of a message", text)
        _check_all("tool_calls", self.tool_calls, ToolCall)
        _check_all("parts", self.parts, str | Image)
        if self.parts and self.content != _text_of(self.parts):
            msg = "The content of a message is not what its `parts` say."
            raise InvalidRequest(msg, hint="Give texts and pictures as a list: content=[...].")

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, in their order."""
        return tuple(part for part in self.parts if isinstance(part, Image))

    @classmethod
    def system(cls, content: str) -> CompletionMessage:
        """Make an instruction to the model."""
        return cls(role="system", content=content)

    @classmethod
    def user(cls, content: str | Sequence[str | Image]) -> CompletionMessage:
        """Make a turn of the person: a text, or texts and pictures (`Image.of`) in a list."""
        return cls(role="user", content=content)

    @classmethod
    def assistant(cls, content: str) -> CompletionMessage:
        """Make a turn of the model."""
        return cls(role="assistant", content=content)

    @classmethod
    def tool(cls, content: str, call: ToolCall) -> CompletionMessage:
        """Make the turn that gives the model the result of a call it asked for.

        Raises:
            InvalidRequest: the call is none.
        """
        _check_all("the call of a message", (call,), ToolCall)
        return cls(role="tool", content=content, tool_call_id=call.id, name=call.name)

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
        content = value.get("content", "") if isinstance(value, Mapping) else ""
        several = isinstance(content, list | tuple)
        try:
            message = msgspec.convert({**value, "content": ""} if several else value, cls)
        except (msgspec.ValidationError, UnicodeError) as error:
            msg = f"A message is a string or has `role` and `content`: {error}."
            raise InvalidRequest(msg) from error
        return msgspec.structs.replace(message, content=content) if several else message

    def __repr__(self) -> str:
        """Tell who spoke and how much, not what was said."""
        pictures = f", {len(self.images)} pictures" if self.parts else ""
        return f"<CompletionMessage {self.role}: {len(self.content)} characters{pictures}>"


def _check_all(field: str, values: object, kind: type | UnionType) -> None:
    for value in check_sequence(field, values):
        if not isinstance(value, kind):
            msg = f"`{field}` of a message holds a {type(value).__name__}."
            raise InvalidRequest(msg)


def _text_of(parts: Sequence[object]) -> str:
    return "\n".join(part for part in parts if isinstance(part, str))


def _is_image(part: object) -> bool:
    return isinstance(part, Image)


def _parts(items: Sequence[object]) -> Iterator[str | Image]:
    """Read texts and pictures, also in the form of the OpenAI API."""
    for item in items:
        if isinstance(item, str | Image):
            yield item
            continue
        try:
            part = msgspec.convert(item, _TextPart | _ImagePart)
        except msgspec.ValidationError as error:
            msg = f"A part of a message is a text or an `Image`: {error}."
            raise InvalidRequest(msg, hint="A file: Image.of(path).") from error
        yield part.text if isinstance(part, _TextPart) else _of_url(part.image_url.url)


def _of_url(url: str) -> Image:
    if not url.lower().startswith("data:"):
        msg = "The `image_url` of a message is not a `data:` URL, and nothing is fetched."
        raise InvalidRequest(msg, hint="A file: Image.of(path).")
    return Image.of(url)


class _TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _URL(msgspec.Struct):
    url: str


class _ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: _URL
