"""What has no end, or swells, costs its budget and 32 MiB at most, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from faces import ollama

from patinox.testing import EmulatedServer, Exchange
from patinox.testing.faults import FAULTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc"),
]
MIB = 2**20
MORE = 32 * MIB
HERE = Path(__file__).parent


class Cost(NamedTuple):
    """What a call of a child process came to: bytes, and seconds of work, not of waiting."""

    error: str
    memory: int
    seconds: float
    still: float


def cost(server: EmulatedServer, call: str, spoil: Callable[[], object]) -> Cost:
    """Have a child process make a call, first well and then spoilt."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "bombed.py"), server.url, call],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
        # What is measured is not to be followed line by line, where the tests themselves are.
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        spoil()
        told, _ = child.communicate("now\n", timeout=60)
    error, memory, seconds, still = told.split()
    return Cost(error, int(memory), float(seconds), float(still))


@pytest.mark.parametrize(
    ("fault", "call", "kind", "budget"),
    [
        ("gzip_bomb", "list", "ParseError", 0),
        ("gzip_bomb", "stream", "ParseError", 0),
        ("huge_header", "stream", "ParseError", 0),
        ("huge_body", "list", "ResponseTooLarge", 8 * MIB),
        ("huge_body", "chat", "ResponseTooLarge", 16 * MIB),
        ("huge_body", "stream", "ResponseTooLarge", 16 * MIB),
        ("huge_body", "embed", "ResponseTooLarge", 8 * MIB),
        ("endless_line", "stream", "StreamInterrupted", 8 * MIB),
        ("chunked_endless_extension", "stream", "StreamInterrupted", 0),
        ("many_models", "list", "-", 8 * MIB),
    ],
)
def test_a_bomb_costs_its_budget_and_little_more(
    fault: str, call: str, kind: str, budget: int
) -> None:
    with ollama("0.33").serve().run_in_thread() as server:
        told = cost(server, call, lambda: FAULTS[fault].install(server, calls=[call]))  # type: ignore[list-item]
    assert told.error == kind
    assert told.memory <= budget + MORE


def test_twenty_thousand_models_take_less_than_a_second_and_the_loop_goes_on() -> None:
    with ollama("0.33").serve().run_in_thread() as server:
        installed = FAULTS["many_models"].install(server, calls=["list"])
        with urlopen(f"{server.url}/api/tags") as reply:  # noqa: S310 - our own server
            tags = reply.read()
        installed.remove()

        async def lists(exchange: Exchange) -> bool:
            if exchange.path == "/api/tags":
                await exchange.reply(200, tags)
            return exchange.path == "/api/tags"

        told = cost(server, "list", lambda: server.faults.append(lists))
    assert told.error == "-"
    assert told.seconds < 1
    assert told.still < 0.05
