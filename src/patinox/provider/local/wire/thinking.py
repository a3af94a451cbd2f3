"""Reasoning that a server left inside the text, taken out wherever the text is cut."""

from __future__ import annotations

import enum

import msgspec

# What opens and what closes reasoning, in the words of the models that write it.
TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


class Piece(msgspec.Struct, frozen=True):
    """A piece of text, and whether it is reasoning."""

    text: str
    reasoning: bool


class _State(enum.Enum):
    BEFORE = enum.auto()
    OPENED = enum.auto()
    INSIDE = enum.auto()
    BEHIND = enum.auto()
    TEXT = enum.auto()


class ThinkingSplitter:
    """Takes the pieces of one answer, hands out reasoning and text apart.

    Only reasoning at the very start counts: a tag further on is what the answer talks about.
    """

    def __init__(self) -> None:
        """Start before the first character."""
        self._state = _State.BEFORE
        self._held = ""
        self._close = ""

    def feed(self, text: str) -> list[Piece]:
        """Take a piece of the answer; what may be a part of a tag is held back."""
        if self._state is _State.TEXT:
            return [Piece(text, reasoning=False)] if text else []
        self._held += text
        return [piece for piece in self._advance() if piece.text]

    def close(self) -> list[Piece]:
        """Hand out what was held back: the tag did not come."""
        held, self._held = self._held, ""
        # Blanks between reasoning and an answer that never came are nobody's text.
        if not held or self._state is _State.BEHIND:
            return []
        return [Piece(held, reasoning=self._state is _State.INSIDE)]

    def _advance(self) -> list[Piece]:
        pieces: list[Piece] = []
        if self._state is _State.BEFORE:
            self._find_opening()
        if self._state is _State.OPENED:
            self._skip("\n", _State.INSIDE)
        if self._state is _State.INSIDE:
            pieces += self._inside()
        if self._state is _State.BEHIND:
            self._skip(None, _State.TEXT)
        if self._state is _State.TEXT:
            pieces.append(Piece(self._held, reasoning=False))
            self._held = ""
        return pieces

    def _find_opening(self) -> None:
        start = self._held.lstrip()
        for opening, closing in TAGS:
            if start.startswith(opening):
                self._held = start[len(opening) :]
                self._close = closing
                self._state = _State.OPENED
                return
        if not any(opening.startswith(start) for opening, _ in TAGS):
            self._state = _State.TEXT

    def _skip(self, blanks: str | None, state: _State) -> None:
        """Drop blanks until something else comes, which begins the next state."""
        self._held = self._held.lstrip(blanks)
        self._state = state if self._held else self._state

    def _inside(self) -> list[Piece]:
        thought, closing, rest = self._held.partition(self._close)
        if closing:
            self._held = rest
            self._state = _State.BEHIND
            return [Piece(thought, reasoning=True)]
        kept = _overlap(self._held, self._close)
        thought, self._held = self._held[: len(self._held) - kept], self._held[-kept:] * bool(kept)
        return [Piece(thought, reasoning=True)]


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of the text may be the beginning of the tag."""
    return next(
        (
            size
            for size in range(min(len(text), len(tag) - 1), 0, -1)
            if tag.startswith(text[-size:])
        ),
        0,
    )
