"""The turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from patinox.provider.checks import check_text
from patinox.provider.errors import InvalidRequest

ROLES = ("system", "user", "assistant", "tool")


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
        check_text("The content of a message", self.content)

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
