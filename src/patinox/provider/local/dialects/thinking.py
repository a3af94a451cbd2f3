"""Reasoning that a server left in the text, between `<think>` and `</think>`.

A server whose template does not know that the model reasons hands its reasoning out as text.
Some templates open it themselves, so that only the end is seen.
"""

from __future__ import annotations

from patinox.provider.stream import ReasoningDelta, ReasoningImplied, StreamEvent, TextDelta

_OPEN = "<think>"
_CLOSE = "</think>"
# Blanks that may come before reasoning: more are text, and are not held back.
_MOST_BLANKS = 1024


class ThinkSplitter:
    """Sorts the text of one answer into reasoning and text, however it is cut."""

    def __init__(self, *, thinks: bool | None) -> None:
        """Start before the first character.

        Args:
            thinks: whether the model is known to reason: only then an end without a beginning
                means that all before it was reasoning.

        """
        self._implied = bool(thinks)
        self._held = ""
        self._plain = False  # in the answer itself, with nothing held back
        # Not bound to this object: a reference to itself would be left to the garbage collector.
        self._read = ThinkSplitter._at_start

    @property
    def is_done(self) -> bool:
        """Whether all text from now on is the answer's, whatever stands in it."""
        return self._plain and not self._implied

    def separated(self) -> None:
        """Note that the server hands reasoning out by itself: tags in the text are text."""
        self._implied = False
        if self._read is ThinkSplitter._at_start:
            self._plain, self._read = not self._held, ThinkSplitter._as_text

    def feed(self, text: str, events: list[StreamEvent]) -> None:
        """Take text, add what it is to `events`."""
        if self._plain and not (self._implied and "<" in text):
            events.append(TextDelta(text))
            return
        held, self._held = self._held + text, ""
        self._read(self, held, events)

    def close(self, events: list[StreamEvent]) -> None:
        """Take the end: what was held back was no tag."""
        held, self._held = self._held, ""
        if held:
            thinking = self._read is ThinkSplitter._as_reasoning
            events.append(ReasoningDelta(held) if thinking else TextDelta(held))

    def _at_start(self, text: str, events: list[StreamEvent]) -> None:
        begun = text.lstrip()
        if len(text) - len(begun) > _MOST_BLANKS:
            self._read = ThinkSplitter._as_text
            self._go_on(text, events)
        elif begun.startswith(_OPEN):
            self._read = ThinkSplitter._as_reasoning
            self._go_on(begun.removeprefix(_OPEN), events)
        elif _OPEN.startswith(begun):
            self._held = text
        else:
            self._read = ThinkSplitter._as_text
            self._go_on(text, events)

    def _as_reasoning(self, text: str, events: list[StreamEvent]) -> None:
        before, tag, after = text.partition(_CLOSE)
        before, self._held = (before, "") if tag else _without_beginning(before, _CLOSE)
        if before:
            events.append(ReasoningDelta(before))
        if tag:
            self._read = ThinkSplitter._after_reasoning
            self._go_on(after, events)

    def _after_reasoning(self, text: str, events: list[StreamEvent]) -> None:
        """Leave out the blank lines between reasoning and answer."""
        text = text.lstrip()
        if text:
            self._implied = False
            self._read = ThinkSplitter._as_text
            self._go_on(text, events)

    def _as_text(self, text: str, events: list[StreamEvent]) -> None:
        before, tag, after = text.partition(_CLOSE) if self._implied else (text, "", "")
        if self._implied and not tag:
            before, self._held = _without_beginning(before, _CLOSE)
        self._plain = not self._held
        if before:
            events.append(TextDelta(before))
        if tag:
            events.append(ReasoningImplied())
            self._plain, self._read = False, ThinkSplitter._after_reasoning
            self._go_on(after, events)

    def _go_on(self, text: str, events: list[StreamEvent]) -> None:
        if text:
            self._read(self, text, events)


def _without_beginning(text: str, tag: str) -> tuple[str, str]:
    """Cut off an end of `text` with which `tag` may begin."""
    at = text.rfind("<")  # a tag has one, at its beginning
    if at >= 0 and tag.startswith(text[at:]):
        return text[:at], text[at:]
    return text, ""
