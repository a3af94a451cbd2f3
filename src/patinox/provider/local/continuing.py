"""Going on with an answer that broke off, exactly where it ended: only if that is wanted.

The same server is asked first, then others of its kind that have the very same weights. It must be
able to go on with an answer that it is given the beginning of; whoever cannot refuses.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import ProviderError
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.local.features import Prompt
from patinox.provider.local.health import counts_against
from patinox.provider.local.routing import Choice
from patinox.provider.local.service import ServiceProvider
from patinox.provider.stream import (
    AnswerContinued,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
)
from patinox.provider.types import ModelId, TextCompletionRequest


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """Who may go on, and who talks to it."""

    choice: Choice
    provider: ServiceProvider


def obstacle(request: Prompt, broken: StreamInterrupted) -> str | None:
    """Say why nobody can go on with this answer; `None` if somebody may."""
    if not counts_against(broken):
        return "it was no failure of the server that ended it"
    if not broken.text:
        return "no text had come"
    if broken.tool_calls:
        return "the model had begun to call a tool"
    if broken.reasoning:
        return "the model had reasoned, which no server takes up again"
    if isinstance(request, TextCompletionRequest) and request.suffix is not None:
        return "it fills in the middle of a text"
    return None


def shortened(request: Prompt, pieces: int) -> Prompt:
    """Take what has come off the longest answer: a piece is a token, or more."""
    if request.max_tokens is None:
        return request
    return replace(request, max_tokens=max(1, request.max_tokens - pieces))


async def ways(discovery: ServiceDiscovery, choice: Choice) -> list[Way]:
    """Find those who may go on with an answer of the chosen one: itself, then its twins."""
    first = discovery.provider(choice.service)
    found = [Way(choice=replace(choice, reason="the same server"), provider=first)]
    for known in discovery.all_known():
        other = known.provider
        if choice.digest is None or other is first or other.service_type != first.service_type:
            continue
        try:
            info = await other.find(ModelId(choice.model.name))
        except ProviderError:
            continue  # it has nothing to go on with
        if info is not None and info.digest == choice.digest:
            twin = Choice(service=other.id, model=info.model_id, reason="has the same weights")
            found.append(Way(choice=twin, provider=other))
    return found


def continued(batch: list[StreamEvent], choice: Choice, *, after: int) -> list[StreamEvent]:
    """Have the rest of an answer say where it begins and who goes on, instead of beginning anew."""
    return [_joint(event, choice, after) for event in batch]


def _joint(event: StreamEvent, choice: Choice, after: int) -> StreamEvent:
    if isinstance(event, ResponseStarted):
        return AnswerContinued(service=choice.service, reason=choice.reason, after_characters=after)
    if isinstance(event, ResponseFinished):
        said = f"It broke off after {after:,} characters; {choice.service} went on with it."
        return replace(event, warnings=(*event.warnings, said))
    return event
