"""The real engine of llama.cpp, one for all tests of a process."""

import asyncio
from collections.abc import Iterator
from threading import Thread

import expected
import pytest
from faces import Subject, llamacpp

from patinox.embedded import Engine, demo_model
from patinox.testing.faults import FAULTS


def pytest_report_header() -> str:
    """Say how large the table is, where its folder is run."""
    return f"table of faults: {len(FAULTS)} faults, {expected.count()} cells"


@pytest.fixture(scope="session")
def engine() -> Iterator[Subject]:
    """llama.cpp as a service behind a relay; its loop is not that of a single test."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="engine", daemon=True)
    thread.start()
    starting = Engine.start(demo_model(), context_length=512)
    engine = asyncio.run_coroutine_threadsafe(starting, loop).result()
    yield llamacpp(engine.url, engine.api_key)
    asyncio.run_coroutine_threadsafe(engine.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
