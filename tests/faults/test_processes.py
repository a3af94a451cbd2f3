"""Servers in processes of their own: one that stands still, and many that are asked at once."""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from served import ANSWER, MODEL

from patinox.provider.local.config import (
    Deadlines,
    DiscoveryConfig,
    EndpointConfig,
    HealthCheckConfig,
    LocalProviderConfig,
    OllamaConfig,
)
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import ServiceTimeout, StreamInterrupted
from patinox.provider.local.types import ServiceStatus
from patinox.provider.types import CompletionRequest, ModelId

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into Linux's /proc")
CHAT = CompletionRequest(MODEL, ["Count."])
HERE = Path(__file__).parent
STREAMS, POOL, PAUSE = 1000, 100, 0.3
# Seconds that 99 of 100 streams may take longer than one alone, and all to close.
ADDED, TO_CLOSE = 3.0, 5.0
TICK = 0.01


@contextlib.contextmanager
def served(*, pause: float, servers: int = 1) -> Generator[tuple[int, list[int]]]:
    """Serve in another process: its id, and the ports."""
    command = [sys.executable, str(HERE / "served.py"), str(pause), str(servers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.pid, [int(port) for port in child.stdout.readline().split()]
        finally:
            child.kill()


def config(ports: list[int], deadlines: Deadlines) -> LocalProviderConfig:
    return LocalProviderConfig(
        discovery_config=DiscoveryConfig(
            enabled_services=("ollama",),
            discovery_timeout=20.0,
            health_check=HealthCheckConfig(timeout=4.9),
        ),
        endpoints=tuple(
            EndpointConfig.parse(f"127.0.0.1:{port}", service="ollama", name=f"s{number}")
            for number, port in enumerate(ports)
        ),
        auto_discover=False,
        monitor=False,
        connection_pool_size=POOL,
        ollama=OllamaConfig(deadlines=deadlines),
    )


@pytest.mark.slow
async def test_a_server_that_stands_still_fails_by_the_limit_and_is_back_when_it_goes_on() -> None:
    with served(pause=0.02) as (process, ports):
        limits = Deadlines(first_token=0.5, idle=0.5)
        async with LocalProvider(config(ports, limits)) as local:
            assert (await local.complete(CHAT)).text == ANSWER
            async with local.stream_completion(CHAT) as stream:
                while not (await anext(stream)).text:
                    pass
                os.kill(process, signal.SIGSTOP)
                with pytest.raises(StreamInterrupted) as caught:
                    await stream.collect()
            assert isinstance(caught.value.__cause__, ServiceTimeout)
            assert caught.value.__cause__.phase == "idle"
            with pytest.raises(ServiceTimeout) as late:
                await local.complete(CHAT)
            assert late.value.phase == "first_token"
            assert local.services[0].consecutive_failures == 2

            os.kill(process, signal.SIGCONT)
            await local.discovery.watch.check("s0")
            assert local.services[0].status is not ServiceStatus.UNAVAILABLE
            assert (await local.complete(CHAT)).text == ANSWER
            assert local.services[0].consecutive_failures == 0


class Starvation:
    """For how many seconds others had the processor, while the loop wanted it."""

    seconds = 0.0

    async def watch(self) -> None:
        while True:
            before, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(TICK)
            late = time.monotonic() - before - TICK
            self.seconds += max(0.0, late - (time.process_time() - worked))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (kept[1], kept[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, kept)


@pytest.mark.slow
@pytest.mark.usefixtures("many_descriptors")
async def test_a_thousand_streams_at_once_are_all_answered_in_time_and_leave_nothing_open() -> None:
    asyncio.get_running_loop().set_debug(False)
    took = list[float]()
    before, tasks = descriptors(), len(asyncio.all_tasks())
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(served(pause=PAUSE, servers=8)) for _ in range(2)]
        ports = [port for _, ports in halves for port in ports]
        async with LocalProvider(config(ports, Deadlines(connect=10.0, listing=20.0))) as local:

            async def ask(number: int) -> None:
                started = time.monotonic()
                request = CompletionRequest(ModelId(MODEL, f"s{number % len(ports)}"), ["Count."])
                async with local.stream_completion(request) as stream:
                    text = "".join([event.text async for event in stream])
                assert text == ANSWER
                took.append(time.monotonic() - started)

            await ask(0)
            alone = took.pop()
            starvation = Starvation()
            watch = asyncio.create_task(starvation.watch())
            async with asyncio.TaskGroup() as group:
                for number in range(STREAMS):
                    group.create_task(ask(number))
            watch.cancel()
            assert len(took) == STREAMS
            # The servers starve as much as the client does.
            most = alone + ADDED + 2 * starvation.seconds
            assert sorted(took)[STREAMS * 99 // 100] < most
        end = time.monotonic() + TO_CLOSE
        # The pipe to each half is open yet.
        while descriptors() > before + len(halves) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert descriptors() <= before + len(halves)
    assert len(asyncio.all_tasks()) == tasks
