"""What is told of downloads and loads: sums over parts, speed, what is left, what was asked."""

import math
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from patinox.provider.errors import InvalidRequest, ProviderError
from patinox.provider.lifecycle import (
    LoadedModel,
    PullMeter,
    PullProgress,
    PullStream,
    check_context,
    check_keep_alive,
)
from patinox.provider.local.errors import StreamInterrupted

DONE = PullProgress(status="success", done=True)


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> PullMeter:
    return PullMeter(clock)


# Speed and sums.


def test_what_has_no_size_tells_its_status_alone(meter: PullMeter) -> None:
    progress = meter.see("pulling manifest")
    assert progress == PullProgress(status="pulling manifest")
    assert progress.fraction is None


def test_sizes_of_all_parts_are_added_up(meter: PullMeter) -> None:
    meter.see("a", digest="a", total=100, completed=100)
    progress = meter.see("b", digest="b", total=300)  # nothing of it came so far

    assert (progress.completed_bytes, progress.total_bytes) == (100, 400)
    assert progress.fraction == 0.25
    assert meter.see("verifying").fraction == 0.25


@pytest.mark.parametrize("rate", [-5.0, 0.0, 1e-300, math.nan, math.inf])
def test_a_speed_that_cannot_be_tells_no_time(meter: PullMeter, rate: float) -> None:
    progress = meter.see("a", completed=1, total=2**60, rate=rate)
    assert progress.bytes_per_second in {None, 0.0, 1e-300}
    assert progress.eta_seconds is None


def test_no_part_is_more_than_whole(meter: PullMeter) -> None:
    progress = meter.see("a", digest="1", completed=99, total=10)
    assert (progress.completed_bytes, progress.total_bytes) == (10, 10)
    assert meter.see("a", digest="1", completed=99).completed_bytes == 99


def test_parts_that_no_model_has_are_not_counted(meter: PullMeter) -> None:
    started = time.process_time()  # of this process only: the machine may be under load
    for number in range(20_000):
        meter.see("a", digest=str(number), completed=1, total=2)
    progress = meter.see("a")
    assert (progress.completed_bytes, progress.total_bytes) == (10_000, 20_000)
    assert meter.see("a", digest="x" * 513, completed=1).completed_bytes == 10_000
    assert time.process_time() - started < 2


def test_speed_and_rest_follow_from_what_came(meter: PullMeter, clock: Clock) -> None:
    assert meter.see("a", digest="a", total=1000).bytes_per_second is None
    clock.now += 0.4
    assert meter.see("a", digest="a", total=1000, completed=40).bytes_per_second is None
    clock.now += 0.1
    progress = meter.see("a", digest="a", total=1000, completed=50)

    assert progress.bytes_per_second == pytest.approx(100)
    assert progress.eta_seconds == pytest.approx(9.5)


def test_what_an_earlier_try_left_is_no_speed(meter: PullMeter, clock: Clock) -> None:
    meter.see("a", digest="a", total=1000, completed=900)
    clock.now += 1
    progress = meter.see("a", digest="a", total=1000, completed=910)

    assert progress.bytes_per_second == pytest.approx(10)
    assert progress.eta_seconds == pytest.approx(9)


def test_speed_is_that_of_the_last_seconds(meter: PullMeter, clock: Clock) -> None:
    completed, rates = 0, list[float | None]()
    for second in range(60):
        completed += 1000 if second < 30 else 10
        clock.now += 1
        seen = meter.see("a", digest="a", total=10**6, completed=completed)
        rates.append(seen.bytes_per_second)

    assert rates[20] == pytest.approx(1000)
    assert rates[59] == pytest.approx(10)


def test_a_part_that_begins_anew_is_neither_speed_nor_a_negative_one(
    meter: PullMeter, clock: Clock
) -> None:
    meter.see("a", digest="a", total=1000, completed=0)
    clock.now += 1
    meter.see("a", digest="a", total=1000, completed=500)
    clock.now += 1
    progress = meter.see("a", digest="a", total=1000, completed=100)

    assert progress.bytes_per_second == pytest.approx(50)
    assert progress.completed_bytes == 100
    clock.now += 1
    assert meter.see("a", digest="a", total=1000).bytes_per_second == 0
    assert meter.see("a", digest="a", total=1000).eta_seconds is None


def test_many_reports_in_a_moment_are_remembered_as_one(meter: PullMeter, clock: Clock) -> None:
    for number in range(10_000):
        clock.now += 0.001
        meter.see("a", digest="a", total=10_000, completed=number)
    assert len(meter._samples) <= 100  # noqa: SLF001 - memory is all that it can be seen by


def test_a_speed_that_the_server_tells_is_taken(meter: PullMeter) -> None:
    progress = meter.see("downloading", total=100, completed=50, rate=25.0)
    assert (progress.bytes_per_second, progress.eta_seconds) == (25.0, 2.0)


def test_a_size_that_is_not_told_leaves_the_rest_open(meter: PullMeter) -> None:
    progress = meter.see("downloading", completed=50, rate=25.0)
    assert (progress.completed_bytes, progress.total_bytes) == (50, None)
    assert progress.eta_seconds is None
    assert progress.fraction is None


def test_what_is_done_is_whole() -> None:
    assert DONE.fraction == 1.0
    assert PullProgress(status="a", total_bytes=10, completed_bytes=20).fraction == 1.0


# What was asked.


def test_a_context_fits_if_it_is_as_long_as_asked() -> None:
    def fits(asked: int | None, got: int | None) -> bool | None:
        return LoadedModel(
            model="m", service="s", context_length=got, asked_context_length=asked
        ).fits

    assert fits(None, None) is fits(None, 4096) is fits(4096, 4096) is True
    assert fits(4096, 2048) is False
    assert fits(4096, None) is None


@pytest.mark.parametrize("length", [0, -1, 1.5, True, "4096", 2**31])
def test_a_context_that_cannot_be_is_refused(length: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="`context_length` is"):
        check_context(length)


@pytest.mark.parametrize("seconds", [0, float("nan"), float("inf"), True, "5m"])
def test_a_time_to_stay_that_cannot_be_is_refused(seconds: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="`keep_alive` is"):
        check_keep_alive(seconds)


def test_what_can_be_is_accepted() -> None:
    for length in (None, 1, 2**31 - 1):
        check_context(length)
    for seconds in (None, 0.5, 300, -1):
        check_keep_alive(seconds)


# A download as it goes on.


async def told(*progress: PullProgress | ProviderError) -> AsyncGenerator[PullProgress]:
    for each in progress:
        if isinstance(each, ProviderError):
            raise each
        yield each


async def test_a_download_is_gone_through_to_its_end() -> None:
    first = PullProgress(status="pulling manifest")
    async with PullStream(told(first, DONE)) as download:
        assert [progress async for progress in download] == [first, DONE]
        assert await download.wait() == download.progress == DONE


async def test_a_download_that_was_not_entered_says_how() -> None:
    download = PullStream(told(DONE))
    with pytest.raises(RuntimeError, match="async with"):
        await anext(download)


async def test_a_download_that_was_left_is_not_whole() -> None:
    download = PullStream(told(PullProgress(status="pulling"), DONE))
    async with download:
        await anext(download)
    with pytest.raises(StreamInterrupted, match="was left before its end"):
        await download.wait()


async def test_a_download_that_failed_fails_again() -> None:
    failed = ProviderError("no room")
    async with PullStream(told(failed)) as download:
        for _ in range(2):
            with pytest.raises(ProviderError, match="no room"):
                await download.wait()
