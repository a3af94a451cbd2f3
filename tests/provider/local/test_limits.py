"""How many run at once, who waits, and that no place is ever lost."""

import asyncio
import gc
import weakref
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from patinox.provider.errors import ProviderClosed, ProviderError, RateLimited
from patinox.provider.local.limits import ColdStarts, Gate, Line, RetryBudget
from patinox.provider.local.types import Occupancy

SIZE, LONGEST = 2, 3


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Visitor:
    """A task that goes through a gate and stays inside until it is told to leave."""

    def __init__(self, gate: Gate, order: list["Visitor"] | None = None) -> None:
        self.gate = gate
        self.inside = False
        self.leave = asyncio.Event()
        self.order = order
        self.task = asyncio.create_task(self.visit())

    async def visit(self) -> None:
        with self.gate.place() as turn:
            if turn is not None:
                await turn
            self.inside = True
            if self.order is not None:
                self.order.append(self)
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def end(*visitors: Visitor) -> None:
    for visitor in visitors:
        visitor.leave.set()
    await asyncio.gather(*(visitor.task for visitor in visitors), return_exceptions=True)


async def test_without_a_limit_everybody_is_let_in_and_counted() -> None:
    gate = Gate(None)
    visitors = [Visitor(gate) for _ in range(300)]
    await turn()
    assert all(visitor.inside for visitor in visitors)
    assert gate.occupancy == Occupancy(in_flight=300)
    await end(*visitors)
    assert gate.occupancy == Occupancy()


async def test_who_comes_first_is_let_in_first() -> None:
    gate, order = Gate(1), list[Visitor]()
    visitors = [Visitor(gate, order) for _ in range(5)]
    await turn()
    assert gate.occupancy == Occupancy(in_flight=1, waiting=4, limit=1)
    for number, visitor in enumerate(visitors):
        assert order == visitors[: number + 1]
        visitor.leave.set()
        await turn()
    await end(*visitors)
    assert gate.occupancy == Occupancy(limit=1)


async def test_beyond_the_longest_line_it_is_busy() -> None:
    gate = Gate(SIZE, longest=LONGEST)
    visitors = [Visitor(gate) for _ in range(SIZE + LONGEST)]
    await turn()
    with pytest.raises(RateLimited, match="2 requests are running, the limit, and 3 wait already"):
        gate.place().__enter__()
    assert gate.occupancy == Occupancy(in_flight=2, waiting=3, limit=2)
    await end(*visitors)


async def test_who_stops_waiting_leaves_the_line() -> None:
    gate = Gate(1)
    first, second, third = visitors = [Visitor(gate) for _ in range(3)]
    await turn()
    second.task.cancel()
    await turn()
    assert gate.occupancy == Occupancy(in_flight=1, waiting=1, limit=1)
    first.leave.set()
    await turn()
    assert third.inside
    await end(*visitors)


async def test_who_is_cancelled_in_the_moment_of_getting_a_place_passes_it_on() -> None:
    gate = Gate(1)
    first, second, third = visitors = [Visitor(gate) for _ in range(3)]
    await turn()
    first.leave.set()
    await asyncio.sleep(0)  # the first has left and called the second, who had no turn yet
    assert not second.inside
    assert gate.occupancy == Occupancy(in_flight=1, waiting=1, limit=1)
    second.task.cancel()
    await turn()
    assert second.task.cancelled()
    assert third.inside
    await end(*visitors)
    assert gate.occupancy == Occupancy(limit=1)


async def test_two_who_wait_may_be_cancelled_at_once() -> None:
    gate = Gate(1)
    first, second, third, fourth = visitors = [Visitor(gate) for _ in range(4)]
    await turn()
    second.task.cancel()
    third.task.cancel()
    first.leave.set()
    await turn()
    assert fourth.inside
    await end(*visitors)
    assert gate.occupancy == Occupancy(limit=1)


async def test_an_error_inside_gives_the_place_back() -> None:
    gate = Gate(1)
    with pytest.raises(LookupError), gate.place():
        raise LookupError
    assert gate.occupancy == Occupancy(limit=1)


async def test_nothing_is_kept_of_those_who_have_left() -> None:
    gate = Gate(1)
    with gate.place(), gate.place() as waiting:
        assert waiting is not None
        turn_of_second = weakref.ref(waiting)
    del waiting
    gc.collect()
    assert turn_of_second() is None


def test_a_gate_belongs_to_one_loop() -> None:
    gate = Gate(1)

    async def visit() -> None:
        with gate.place():
            pass

    asyncio.run(visit())
    with pytest.raises(ProviderError, match="belongs to the event loop"):
        asyncio.run(visit())


async def test_who_waits_at_a_gate_that_is_closed_is_told_and_nobody_comes_in_any_more() -> None:
    gate = Gate(1)
    leaving = gate.place()
    leaving.__enter__()
    with gate.place() as given, gate.place() as waiting:
        leaving.__exit__()  # in this very moment
        gate.close()
        assert given is not None
        assert waiting is not None
        await given
        with pytest.raises(ProviderClosed, match="while a request waited"):
            await waiting
        with pytest.raises(ProviderClosed, match="is closed"), gate.place():
            pass
    assert gate.occupancy == Occupancy(limit=1)


# What always holds.


class LineMachine(RuleBasedStateMachine):
    """Anybody may come, leave and stop waiting, in any order."""

    numbers: Bundle[int] = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(SIZE, longest=LONGEST)
        self.came: list[int] = []
        self.gone = set[int]()

    @precondition(lambda self: len(self.line.waiting) < LONGEST)
    @rule(target=numbers)
    def comes(self) -> int:
        number = self.line.enter()
        assert number is not None
        assert number not in self.came
        self.came.append(number)
        return number

    @precondition(lambda self: len(self.line.waiting) == LONGEST)
    @rule()
    def is_sent_away(self) -> None:
        assert self.line.enter() is None

    @rule(number=consumes(numbers))
    def leaves(self, number: int) -> None:
        free = SIZE - len(self.line.inside)
        was_inside = number in self.line.inside
        waiting = list(self.line.waiting)
        following = self.line.leave(number)
        self.gone.add(number)
        assert following == (waiting[0] if was_inside and waiting else None)
        assert SIZE - len(self.line.inside) == free + (was_inside and following is None)

    @invariant()
    def nobody_waits_while_a_place_is_free(self) -> None:
        assert len(self.line.inside) <= SIZE
        assert not self.line.waiting or len(self.line.inside) == SIZE

    @invariant()
    def those_inside_came_before_those_who_wait(self) -> None:
        here = [number for number in self.came if number not in self.gone]
        assert here == sorted(self.line.inside) + list(self.line.waiting)


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=100)


class GateMachine(RuleBasedStateMachine):
    """Tasks wait at a gate and are cancelled at any moment, one step of the loop at a time."""

    visitors: Bundle[Visitor] = Bundle("visitors")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gate = Gate(SIZE, longest=LONGEST)
        self.everybody: list[Visitor] = []

    @rule(target=visitors)
    def comes(self) -> Visitor:
        async def make() -> Visitor:
            return Visitor(self.gate)

        visitor = self.loop.run_until_complete(make())
        self.everybody.append(visitor)
        return visitor

    @rule(visitor=consumes(visitors))
    def leaves(self, visitor: Visitor) -> None:
        visitor.leave.set()

    @rule(visitor=consumes(visitors))
    def is_cancelled(self, visitor: Visitor) -> None:
        visitor.task.cancel()

    @rule(steps=st.integers(0, 3))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.loop.run_until_complete(asyncio.sleep(0))

    @invariant()
    def as_many_are_inside_as_may(self) -> None:
        occupancy = self.gate.occupancy
        assert occupancy.in_flight <= SIZE
        assert occupancy.in_flight == SIZE or not occupancy.waiting
        assert sum(visitor.inside for visitor in self.everybody) <= occupancy.in_flight

    def teardown(self) -> None:
        self.loop.run_until_complete(end(*self.everybody))
        self.loop.close()
        assert self.gate.occupancy == Occupancy(limit=SIZE)


TestGate = GateMachine.TestCase
TestGate.settings = settings(max_examples=60)


# Models that are not in memory.


async def test_one_loads_a_model_and_the_others_wait_for_that() -> None:
    starts = ColdStarts()
    with starts.start() as first, starts.start() as second, starts.start() as other:
        assert await first.turn("m") is False
        assert await other.turn("n") is False
        waiting = asyncio.create_task(second.turn("m"))
        await turn()
        assert not waiting.done()
        first.ends(loaded=True)
        first.ends(loaded=False)  # said twice
        assert await waiting is True
        assert list(starts.loading) == ["n"]
    assert starts.loading == {}


async def test_who_waits_for_a_load_is_told_that_the_provider_is_closed() -> None:
    starts = ColdStarts()
    with starts.start() as first, starts.start() as second:
        await first.turn("m")
        waiting = asyncio.create_task(second.turn("m"))
        await turn()
        starts.close()
        with pytest.raises(ProviderClosed, match="while a request waited"):
            await waiting
        first.ends(loaded=True)
    assert starts.loading == {}


async def test_where_nobody_waits_for_a_load_nothing_is_said_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    starts = ColdStarts()
    with starts.start() as alone:
        await alone.turn("m")
        starts.close()
    gc.collect()
    await turn()
    assert not [said for said in caplog.messages if "never retrieved" in said]


async def test_if_the_one_who_loads_fails_the_next_one_does() -> None:
    starts = ColdStarts()
    with starts.start() as second, starts.start() as third:
        with starts.start() as first:
            await first.turn("m")
            waiting = [asyncio.create_task(each.turn("m")) for each in (second, third)]
            await turn()
        await turn()
        assert [task.done() for task in waiting] == [True, False]
        assert await waiting[0] is False
        second.ends(loaded=True)
        assert await waiting[1] is True


async def test_who_stops_waiting_for_a_model_takes_it_from_nobody() -> None:
    starts = ColdStarts()
    with starts.start() as first, starts.start() as second, starts.start() as third:
        await first.turn("m")
        waiting = [asyncio.create_task(each.turn("m")) for each in (second, third)]
        await turn()
        waiting[0].cancel()
        await turn()
        assert not waiting[1].done()
        first.ends(loaded=True)
        assert await waiting[1] is True


# Repeated attempts.


def test_a_few_repeated_attempts_are_always_allowed() -> None:
    budget = RetryBudget()
    with budget.request() as may_repeat:
        with budget.request() as may_another:
            assert [may_another(), may_another()] == [True, True]
            assert [may_repeat() for _ in range(3)] == [True, False, False]
        assert [may_repeat() for _ in range(3)] == [True, True, False]
    with budget.request() as may_repeat:
        assert [may_repeat() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("requests", "allowed"), [(1, 3), (15, 3), (19, 3), (20, 4), (104, 20)])
def test_a_share_of_the_requests_may_be_repeated(requests: int, allowed: int) -> None:
    budget = RetryBudget()
    with ExitStack() as stack:
        asks = [stack.enter_context(budget.request()) for _ in range(requests)]
        assert sum(asks[number % requests]() for number in range(200)) == allowed


def test_requests_that_have_ended_allow_no_more_and_no_less() -> None:
    budget = RetryBudget()
    for _ in range(100):
        with budget.request():
            pass
    with budget.request() as may_repeat:
        assert [may_repeat() for _ in range(4)] == [True, True, True, False]
    with ExitStack() as stack:
        asks = [stack.enter_context(budget.request()) for _ in range(20)]
        assert sum(may_repeat() for may_repeat in asks) == 4


def test_a_request_that_fails_gives_back_what_it_took() -> None:
    budget = RetryBudget()

    def fail() -> None:
        with budget.request() as may_repeat:
            assert [may_repeat() for _ in range(4)] == [True, True, True, False]
            raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
