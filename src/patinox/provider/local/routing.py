"""Who is asked, in which order, and why: one pure function of what is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from patinox.provider.local.types import LocalService, ServiceInfo, ServiceStatus
from patinox.provider.types import ModelId, ModelInfo


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A service that has the model; `rank` is its kind's place where nothing else decides."""

    service: ServiceInfo
    model: ModelInfo
    rank: int


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and why before the others."""

    service: str
    model: ModelId
    reason: str


_HEALTH = {ServiceStatus.AVAILABLE: 0, ServiceStatus.DEGRADED: 1, ServiceStatus.WARMING: 2}
# If every service is down, the least bad one is still asked: a restart is seen at once.
_LAST = 3


def plan(
    wanted: ModelId, candidates: Sequence[Candidate], *, preference: str = LocalService.AUTO
) -> tuple[Choice, ...]:
    """Order the services that have a model.

    What is asked for by name comes first and alone; then what is preferred, in health, and has the
    model in memory; then the usual order of the kinds.
    """
    if wanted.provider_hint is not None:
        candidates = [item for item in candidates if _is(item.service, wanted.provider_hint)]
    ordered = sorted(candidates, key=lambda item: _key(item, preference))
    return tuple(
        Choice(
            service=item.service.id,
            model=item.model.model_id,
            reason=_reason(item, wanted, preference, alone=len(ordered) == 1),
        )
        for item in ordered
    )


def pick_default(
    models: Sequence[ModelInfo],
    health: Mapping[str, ServiceStatus],
    *,
    preferred: Collection[str] = (),
) -> tuple[ModelInfo, str] | None:
    """Choose a chat model where none was named: in memory, else the smallest; the toy last.

    The services with the `preferred` ids go before the others. A model that runs in the cloud, or
    is known not to chat, is never chosen.
    """
    chatting = [
        info
        for info in models
        if not info.remote
        and info.capabilities.supports_chat is not False
        and health.get(info.service, ServiceStatus.UNKNOWN).routable
    ]
    if not chatting:
        return None
    chosen = min(chatting, key=lambda info: (info.demo, info.service not in preferred, _size(info)))
    if chosen.demo:
        return chosen, "only the demo model is here"
    return chosen, "in memory" if chosen.loaded else "the smallest chat model"


def _size(info: ModelInfo) -> tuple[bool, bool, float, str]:
    """Order by what is in memory, what surely chats, and what is small."""
    size = info.size_bytes if info.size_bytes is not None else info.parameter_count
    return (
        not info.loaded,
        info.capabilities.supports_chat is None,
        float("inf") if size is None else float(size),
        info.id,
    )


def _is(service: ServiceInfo, name: str) -> bool:
    return name in {service.id, service.service_type}


def _key(item: Candidate, preference: str) -> tuple[bool, int, bool, bool, int, str]:
    return (
        item.model.remote,
        _HEALTH.get(item.service.status, _LAST),
        not _is(item.service, preference),
        not item.model.loaded,
        item.rank,
        item.service.id,
    )


def _reason(item: Candidate, wanted: ModelId, preference: str, *, alone: bool) -> str:
    if wanted.provider_hint is not None:
        return "asked for by name"
    if alone:
        return "the only service that has the model"
    if _is(item.service, preference):
        return "preferred"
    if item.model.loaded:
        return "has the model in memory"
    return f"is {item.service.status}"
