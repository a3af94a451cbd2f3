"""What holds for every test: nothing of this machine gets in, nothing of the test stays behind."""

import asyncio
import gc
import inspect
import os
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PACKAGE = str(Path(__file__).parent.parent / "src" / "patinox")
SECONDS_TO_CLOSE = 10.0  # of a busy machine

OURS = ("OLLAMA_", "LMSTUDIO_", "LM_", "LOCAL_", "LLAMACPP_", "PATINOX_")
OURS_BY_ENDING = ("_API_KEY", "_PROXY")

# Audit events of calls that wait for a disk, a name server, a process or the clock (since 3.13).
BLOCKING = {
    *("open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"),
    *("os.system", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "time.sleep"),
}
MAY_BLOCK = {
    "_find_and_load": "a first import reads the disk once; laziness keeps our own import fast",
    "subprocess_exec": "asyncio itself starts processes inside the loop",
    "updatecache": "a traceback reads the lines that it shows",
}
_blocked: list[str] = []


def _audit(event: str, _args: tuple[object, ...]) -> None:
    """Note a blocking call made by code of `patinox` while an event loop waits for it."""
    if event not in BLOCKING:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    stack = [(frame.f_code, line) for frame, line in traceback.walk_stack(inspect.currentframe())]
    if any(code.co_name in MAY_BLOCK for code, _ in stack):
        return
    if any(code.co_filename.startswith(PACKAGE) for code, _ in stack):
        places = [f"  {code.co_filename}:{line} in {code.co_name}" for code, line in stack]
        _blocked.append("\n".join([f"{event} blocks the event loop, from", *places]))


sys.addaudithook(_audit)

# How long an example takes says more of the machine's load than of the code.
settings.register_profile(
    "any load", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any load")


def pytest_collection_finish() -> None:
    """Spare the garbage collector the tests themselves: a second of it would stop a loop."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _isolated_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(OURS) or name.upper().endswith(OURS_BY_ENDING):
            monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    _blocked.clear()
    yield
    if _blocked:
        pytest.fail("\n".join(_blocked), pytrace=False)


@pytest.fixture(autouse=True)
def no_descriptor_stays_open() -> Iterator[None]:
    before = _open_descriptors()
    yield
    deadline = time.monotonic() + SECONDS_TO_CLOSE
    while (left := _open_descriptors() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"left open: {sorted(left)}"


@pytest.fixture(autouse=True)
def _no_task_keeps_running(
    request: pytest.FixtureRequest,
    no_descriptor_stays_open: None,  # noqa: ARG001 - the loop holds descriptors of its own
) -> None:
    if request.node.get_closest_marker("asyncio"):  # a plain test needs no loop made for it
        request.getfixturevalue("no_task_keeps_running")


@pytest.fixture
async def no_task_keeps_running() -> AsyncIterator[None]:
    yield
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        _, left = await asyncio.wait(tasks, timeout=SECONDS_TO_CLOSE)
        assert not left, f"still running: {left}"


def _open_descriptors() -> set[tuple[str, str]]:
    """Each open descriptor and what it leads to, on Linux; elsewhere nothing is known."""
    found = set[tuple[str, str]]()
    for link in Path("/proc/self/fd").glob("*"):
        try:
            found.add((link.name, str(link.readlink())))
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found
