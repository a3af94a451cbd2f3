"""What has no end, or swells, costs its budget and 32 MiB at most, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from faces import ollama

from patinox.testing.faults import FAULTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc"),
]
MIB = 2**20
MORE = 32 * MIB
HERE = Path(__file__).parent


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
        ("many_models", "list", "ResponseTooLarge", 8 * MIB),
    ],
)
def test_a_bomb_costs_its_budget_and_little_more(
    fault: str, call: str, kind: str, budget: int
) -> None:
    with (
        ollama("0.33").serve().run_in_thread() as server,
        subprocess.Popen(
            [sys.executable, str(HERE / "bombed.py"), server.url, call],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        ) as child,
    ):
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        FAULTS[fault].install(server, calls=[call])  # type: ignore[list-item]
        told, _ = child.communicate("now\n", timeout=60)
    raised, grown = told.split()
    assert raised == kind
    assert int(grown) <= budget + MORE
