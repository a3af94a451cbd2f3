"""A list of models that is fetched once for all who ask at the same time, and kept for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

from patinox.provider.local.flight import SingleFlight
from patinox.provider.local.waiting import of_each
from patinox.provider.types import ModelInfo

T = TypeVar("T")
Fetch = Callable[[], Awaitable[list[ModelInfo]]]
Clock = Callable[[], float]


class Catalog:
    """The models of one service, `ttl` seconds fresh, with one fetch at a time."""

    def __init__(self, fetch: Fetch, *, ttl: float, clock: Clock) -> None:
        """Start empty; `clock` gives monotonic seconds."""
        self._fetch = fetch
        self._ttl = ttl
        self._clock = clock
        self._models: tuple[ModelInfo, ...] = ()
        self._fetched_at: float | None = None
        self._changes = 0
        self._flight = SingleFlight(self._refresh)

    @property
    def at_hand(self) -> tuple[ModelInfo, ...] | None:
        """The models, if they are young enough that nobody need be asked; else `None`."""
        young = self._fetched_at is not None and self._clock() - self._fetched_at < self._ttl
        return self._models if young else None

    async def get(self, *, fresh: bool = False) -> tuple[ModelInfo, ...]:
        """Return the models; `fresh` asks the server even if the list is young.

        Raises:
            ProviderError: the server could not be asked; all who waited get the same error.
        """
        if fresh or self.at_hand is None:
            await self._flight.run()
            if self._fetched_at is None:  # what was fetched is from before a change
                await self._flight.run()
        return self._models

    def forget(self) -> None:
        """Ask the server the next time, whatever is kept: something was changed there."""
        self._changes += 1
        self._fetched_at = None

    async def aclose(self) -> None:
        """Stop a fetch that is under way."""
        await self._flight.aclose()

    async def _refresh(self) -> None:
        changes = self._changes
        self._models = tuple(await self._fetch())
        self._fetched_at = self._clock() if changes == self._changes else None


async def distinct(items: Sequence[T], key: Callable[[T], Hashable]) -> list[T]:
    """Leave out what was there before, by its `key`."""
    seen: dict[Hashable, T] = {}
    for item, known in zip(items, await of_each(items, key), strict=True):
        seen.setdefault(known, item)
    return list(seen.values())


class Names:
    """The models of one list by their names: a list that is kept is looked into for every request.

    An exact name goes before one that means the same, and of two models the first.
    """

    def __init__(self, models: Sequence[ModelInfo], normalize: Callable[[str], str]) -> None:
        """Take in `models`; two names mean the same if `normalize` makes them one."""
        self.models = models
        self._normalize = normalize
        backwards = models[::-1]
        self._exact = {info.id: info for info in backwards}
        self._others = {
            normalize(name): info for info in backwards for name in (info.id, *info.aliases)
        }

    def find(self, name: str) -> ModelInfo | None:
        """Return the model of that name, or `None`."""
        return self._exact.get(name) or self._others.get(self._normalize(name))
