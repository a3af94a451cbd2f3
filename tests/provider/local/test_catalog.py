import asyncio

import pytest

from patinox.provider.errors import ProviderError
from patinox.provider.local.catalog import Catalog, Names, distinct
from patinox.provider.local.errors import ServiceError
from patinox.provider.types import ModelInfo


class Server:
    """A server with a list that changes each time it is asked, and the time of day."""

    def __init__(self, *, takes: float = 0.0) -> None:
        self.asked = 0
        self.now = 100.0
        self.takes = takes
        self.error: ServiceError | None = None
        self.release = asyncio.Event()
        self.release.set()

    def clock(self) -> float:
        return self.now

    async def fetch(self) -> list[ModelInfo]:
        self.asked += 1
        number = self.asked
        await self.release.wait()
        self.now += self.takes
        if self.error:
            raise self.error
        return [ModelInfo(id=f"m{number}", service="s")]


def catalog(server: Server, ttl: float = 5) -> Catalog:
    return Catalog(server.fetch, ttl=ttl, clock=server.clock)


async def names(kept: Catalog, *, fresh: bool = False) -> list[str]:
    models = await kept.get(fresh=True) if fresh else await kept.get()
    return [info.id for info in models]


async def test_a_young_list_is_kept_and_an_old_one_fetched_again() -> None:
    server = Server()
    kept = catalog(server)
    assert await names(kept) == ["m1"]
    server.now += 4.9
    assert await names(kept) == ["m1"]
    server.now += 0.1
    assert await names(kept) == ["m2"]
    assert server.asked == 2


async def test_the_age_of_a_list_is_counted_from_its_arrival() -> None:
    server = Server(takes=60)
    kept = catalog(server)
    assert await names(kept) == ["m1"]
    assert await names(kept) == ["m1"]


async def test_a_list_at_time_zero_is_a_list() -> None:
    server = Server()
    server.now = 0.0
    kept = catalog(server)
    assert await names(kept) == await names(kept) == ["m1"]


async def test_no_time_to_live_is_no_keeping() -> None:
    kept = catalog(Server(), ttl=0)
    assert [await names(kept), await names(kept)] == [["m1"], ["m2"]]


async def test_a_fresh_list_is_fetched_although_the_old_one_is_young_and_kept_then() -> None:
    kept = catalog(Server())
    assert await names(kept) == ["m1"]
    assert await names(kept, fresh=True) == ["m2"]
    assert await names(kept) == ["m2"]


async def test_all_who_ask_at_once_get_one_fetch() -> None:
    server = Server()
    server.release.clear()
    kept = catalog(server)
    waiting = [asyncio.ensure_future(names(kept, fresh=index % 2 == 0)) for index in range(6)]
    await asyncio.sleep(0)
    server.release.set()
    assert await asyncio.gather(*waiting) == [["m1"]] * 6
    assert server.asked == 1


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    server = Server()
    server.error = ServiceError("It broke.")
    kept = catalog(server)
    waiting = [asyncio.ensure_future(kept.get()) for _ in range(3)]
    assert await asyncio.gather(*waiting, return_exceptions=True) == [server.error] * 3
    server.error = None
    assert await names(kept) == ["m2"]


async def test_a_failure_does_not_make_a_young_list_old() -> None:
    server = Server()
    kept = catalog(server)
    assert await names(kept) == ["m1"]
    server.error = ServiceError("It broke.")
    with pytest.raises(ServiceError):
        await kept.get(fresh=True)
    assert await names(kept) == ["m1"]


async def test_what_is_handed_out_cannot_change_what_is_kept() -> None:
    models = [ModelInfo(id="m", service="s")]

    async def fetch() -> list[ModelInfo]:
        return models

    kept = Catalog(fetch, ttl=5, clock=lambda: 0.0)
    assert await names(kept) == ["m"]
    models.clear()
    assert await names(kept) == ["m"]


async def test_closing_stops_a_fetch() -> None:
    server = Server()
    server.release.clear()
    kept = catalog(server)
    waiting = asyncio.ensure_future(kept.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await kept.aclose()
    with pytest.raises(ProviderError, match="closed while it was being asked"):
        await waiting
    assert server.asked == 1


async def test_after_a_change_the_list_is_fetched_again_however_young_it_is() -> None:
    server = Server()
    kept = catalog(server)
    assert await names(kept) == ["m1"]
    kept.forget()
    assert await names(kept) == ["m2"]


async def test_a_list_that_was_on_its_way_while_something_changed_does_not_count() -> None:
    server = Server()
    kept = catalog(server)
    server.release.clear()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(names(kept))
        for _ in range(5):  # turns of the loop until the server is asked
            await asyncio.sleep(0)
        assert server.asked == 1
        kept.forget()
        server.release.set()
    assert asked.result() == ["m2"]
    assert await names(kept) == ["m2"]


async def test_what_is_listed_twice_is_there_once_and_the_first_is_kept() -> None:
    listed = ["B", "a", "b", "A", "c"]
    assert await distinct(listed, str.casefold) == ["B", "a", "c"]


def test_an_exact_name_goes_before_one_that_means_the_same() -> None:
    models = [
        ModelInfo(id="B", service="s", aliases=("A",)),
        ModelInfo(id="a", service="s"),
        ModelInfo(id="b", service="s", aliases=("C",)),
    ]
    known = Names(models, str.casefold)
    assert known.find("a") is models[1]
    assert known.find("b") is models[2]
    assert known.find("c") is models[2]
    assert known.find("d") is None


def test_of_two_models_that_go_by_a_name_the_first_is_meant() -> None:
    models = [ModelInfo(id=name, service="s", aliases=("X",)) for name in ("one", "two")]
    assert Names(models, str.casefold).find("x") is models[0]
