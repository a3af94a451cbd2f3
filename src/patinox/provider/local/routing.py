"""Who is asked, in which order, and why: one pure function of what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from patinox.provider.local.naming import NEITHER, nearness
from patinox.provider.local.types import LocalService, Occupancy, ServiceInfo, ServiceStatus
from patinox.provider.types import ModelId, ModelInfo, Timings

# What a new measurement weighs beside all earlier ones.
_WEIGHT = 0.3
# Tokens of an answer of usual length, for which two services are compared.
_USUAL_ANSWER = 256
# Speeds count as one as long as they are not a quarter apart: chance is no reason.
_APART = math.log(1.25)


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a model was lately on a service.

    Attributes:
        first_token: seconds until the first output, without the loading of the model.
        tokens_per_second: speed of the answer.
    """

    first_token: float
    tokens_per_second: float

    @property
    def usual_answer(self) -> float:
        """Seconds that an answer of usual length takes."""
        return self.first_token + _USUAL_ANSWER / self.tokens_per_second


class Speeds:
    """Moving averages of what finished answers took, by service and model."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._speeds: dict[tuple[str, str], Speed] = {}

    def note(self, service: str, model: str, timings: Timings) -> None:
        """Take in a finished answer; one whose times nobody knows changes nothing."""
        first, rate = timings.time_to_first_token, timings.tokens_per_second
        if first is None or not rate:
            return
        first = max(0.0, first - (timings.load_seconds or 0.0))
        before = self.of(service, model) or Speed(first_token=first, tokens_per_second=rate)
        self._speeds[service, model] = Speed(
            first_token=_average(before.first_token, first),
            tokens_per_second=_average(before.tokens_per_second, rate),
        )

    def of(self, service: str, model: str) -> Speed | None:
        """Return how fast the model was there, or `None` before the first finished answer."""
        return self._speeds.get((service, model))


def _average(before: float, new: float) -> float:
    return before + _WEIGHT * (new - before)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A service that has the model.

    Attributes:
        service: the service, as it is now.
        model: the model there.
        rank: place of its kind where nothing else decides.
        admitted: requests may be sent there; else only if nobody else can answer.
        occupancy: how busy it is.
        speed: how fast the model was there lately, if that is known.
    """

    service: ServiceInfo
    model: ModelInfo
    rank: int
    admitted: bool = True
    occupancy: Occupancy = Occupancy()
    speed: Speed | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and why before the others.

    Attributes:
        service: id of the service.
        model: the model there.
        reason: why it comes before the next.
        digest: what tells the model's weights from others, where the server says it.
    """

    service: str
    model: ModelId
    reason: str
    digest: str | None = None


# The best first.
_HEALTHS = (
    ServiceStatus.AVAILABLE,
    ServiceStatus.DEGRADED,
    ServiceStatus.RATE_LIMITED,
    ServiceStatus.WARMING,
)
_PLACES = {status: place for place, status in enumerate(_HEALTHS)}
# If every service is down, the least bad one is still asked: a restart is seen at once.
_LAST = len(_HEALTHS)

Order = tuple[int, ...]


def plan(
    wanted: ModelId, candidates: Sequence[Candidate], *, preference: str = LocalService.AUTO
) -> tuple[Choice, ...]:
    """Order the services that have a model, each with what put it before the next.

    The candidates are those that `wanted` may mean. What decides is, one after the other: this
    machine before the cloud, health, preference (of an id, then of a kind), having the model in
    memory, having a free place, having been fast lately where that is known of all that are alike
    so far, the usual order of the kinds.
    """
    if len(candidates) == 1:
        return (_choice(wanted, candidates[0], _alone(candidates[0], preference, 1)),)
    orders = _paced({item.service.id: _order(item, preference) for item in candidates}, candidates)
    ordered = sorted(
        candidates, key=lambda item: (orders[item.service.id], item.rank, item.service.id)
    )
    reasons = [
        _reason(item, preference, orders[item.service.id], orders[after.service.id])
        for item, after in pairwise(ordered)
    ]
    reasons += [_alone(item, preference, len(ordered)) for item in ordered[-1:]]
    return tuple(
        _choice(wanted, item, reason) for item, reason in zip(ordered, reasons, strict=True)
    )


def _choice(wanted: ModelId, item: Candidate, reason: str) -> Choice:
    return Choice(
        service=item.service.id,
        model=item.model.model_id,
        reason=reason if wanted.provider_hint is None else "asked for by name",
        digest=item.model.digest,
    )


def pick_default(
    models: Sequence[ModelInfo],
    health: Mapping[str, ServiceStatus],
    *,
    preferred: Mapping[str, int] | None = None,
    vision: bool = False,
) -> tuple[ModelInfo, str] | None:
    """Choose a chat model where none was named: in memory, else the smallest; the toy last.

    The smaller the number that `preferred` has for the id of a service, the earlier it comes. A
    model that runs in the cloud, or is known not to chat, is never chosen, nor with `vision` one
    that is not known to see pictures.
    """
    places = preferred or {}
    chatting = [
        info
        for info in models
        if not info.remote
        and info.capabilities.supports_chat is not False
        and (info.capabilities.supports_vision or not vision)
        and health.get(info.service, ServiceStatus.UNKNOWN).routable
    ]
    if not chatting:
        return None
    chosen = min(
        chatting, key=lambda info: (info.demo, places.get(info.service, NEITHER), _size(info))
    )
    if chosen.demo:
        return chosen, "only the demo model is here"
    smallest = "the smallest that sees pictures" if vision else "the smallest chat model"
    return chosen, "in memory" if chosen.loaded else smallest


def _size(info: ModelInfo) -> tuple[bool, bool, float, str]:
    """Order by what is in memory, what surely chats, and what is small."""
    size = info.size_bytes if info.size_bytes is not None else info.parameter_count
    return (
        not info.loaded,
        info.capabilities.supports_chat is None,
        float("inf") if size is None else float(size),
        info.id,
    )


def _order(item: Candidate, preference: str) -> Order:
    """Place a candidate; its pace comes after that, where all that are alike have one."""
    health = _PLACES.get(item.service.status, _LAST)
    return (
        item.model.remote,
        health if item.admitted else _LAST,
        nearness(item.service, preference),
        not item.model.loaded,
        item.occupancy.ahead,
    )


def _paced(orders: Mapping[str, Order], candidates: Sequence[Candidate]) -> dict[str, Order]:
    """Add the pace of those whose speed is known, as is that of all who are alike so far."""
    unknown = {orders[item.service.id] for item in candidates if item.speed is None}
    paced = dict(orders)
    for item in candidates:
        order = orders[item.service.id]
        if item.speed is not None and order not in unknown:
            pace = math.floor(math.log(item.speed.usual_answer) / _APART)
            paced[item.service.id] = (*order, pace)
    return paced


def _reason(item: Candidate, preference: str, order: Order, after: Order) -> str:
    """Say what put a candidate before the next one."""
    words = (
        "runs on this machine",
        _state(item),
        "preferred",
        "has the model in memory",
        "is less busy" if item.occupancy.ahead else "has a free place",
        "was faster lately",
    )
    decided = (word for word, own, other in zip(words, order, after, strict=False) if own != other)
    return next(decided, None) or _merit(item, preference)


def _alone(item: Candidate, preference: str, count: int) -> str:
    return "the only service that has the model" if count == 1 else _merit(item, preference)


def _merit(item: Candidate, preference: str) -> str:
    """Say what speaks for a candidate where it was put before nobody else."""
    if nearness(item.service, preference) < NEITHER:
        return "preferred"
    return "has the model in memory" if item.model.loaded else _state(item)


def _state(item: Candidate) -> str:
    return f"is {item.service.status}".replace("_", " ")
