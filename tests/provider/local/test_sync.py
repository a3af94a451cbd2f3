"""The blocking face: the same names, on one loop in one thread, which ends with the last user."""

import asyncio
import inspect
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any, Self

import pytest

from patinox.provider.base import CompletionStream
from patinox.provider.config import ModelDefaults
from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.lifecycle import PullStream
from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import InvalidConfiguration, ModelNotFound, StreamInterrupted
from patinox.provider.local.events import Event
from patinox.provider.local.sync import SyncCompletionStream, SyncLocalProvider, SyncPullStream
from patinox.provider.types import CompletionRequest, EmbeddingRequest
from patinox.testing import Exchange, OllamaAnswer, OllamaEmulator, OllamaModel, OllamaToolCall

ConfigFor = Callable[..., LocalProviderConfig]
CHAT = CompletionRequest("llama3.2:3b", ["One two three."])
# What only a program with a loop of its own can use.
ASYNC_ONLY = {"discovery"}


@pytest.fixture
def blocking_ollama() -> Iterator[OllamaEmulator]:
    with OllamaEmulator().run_in_thread() as server:
        yield server


@pytest.fixture
def slow() -> Iterator[OllamaEmulator]:
    with OllamaEmulator(chunk_delay=5.0).run_in_thread() as server:
        yield server


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_the_same_names() -> None:
    assert names(SyncLocalProvider) == names(LocalProvider) - ASYNC_ONLY
    assert names(SyncPullStream) == names(PullStream)
    assert names(SyncCompletionStream) == names(CompletionStream) - {"fill", "ready", "take"}


@pytest.mark.parametrize("name", sorted(names(LocalProvider) - ASYNC_ONLY))
def test_it_has_the_same_signatures(name: str) -> None:
    ours = inspect.getattr_static(SyncLocalProvider, name)
    theirs = inspect.getattr_static(LocalProvider, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        assert inspect.signature(ours.fget) == inspect.signature(theirs.fget)  # type: ignore[arg-type]
    elif callable(theirs):
        returns = {"CompletionStream": "SyncCompletionStream", "PullStream": "SyncPullStream"}
        expected = inspect.signature(theirs)
        said = str(expected.return_annotation)
        assert str(inspect.signature(ours)) == str(
            expected.replace(return_annotation=returns.get(said, said))
        )
        assert not inspect.iscoroutinefunction(ours)
    else:
        assert ours == theirs


def test_everything_works_where_nothing_is_async(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    local = SyncLocalProvider(config_for(blocking_ollama))
    assert repr(local) == "<SyncLocalProvider: not entered>"
    with local:
        assert local.available_services() == ["ollama"]
        assert repr(local) == "<SyncLocalProvider 1 services: 1 available | 5 models>"
        response = local.complete(CHAT)
        assert response.finish_reason == "stop"
        with local.stream_completion(CHAT) as stream:
            text = "".join(event.text for event in stream)
            assert stream.response.text == stream.text == text == response.text
        with local.stream_completion(CHAT) as stream:
            assert stream.collect().choices == response.choices
        assert len(local.list_models()) == 5
        vectors = local.embed(EmbeddingRequest("nomic-embed-text", ["a", "b"]))
        assert len(vectors.embeddings) == 2
        assert local.supports_model("qwen3:4b")
        info = local.find_model("qwen3")
        assert info is None
        told = local.model_capabilities("qwen3:4b")
        assert told is not None
        assert told.supports_thinking
        found, why = local.default_model()
        assert (found.id, why) == ("llama3.2:3b", "in memory")
        local.refresh_services()
        service = local.get_service_info("ollama")
        assert (service,) == local.services
        assert local.ollama is not None
        assert local.lmstudio is None
        assert not local.config.monitor
        with pytest.raises(ModelNotFound):
            local.complete(CompletionRequest("nothing", ["Hello"]))


def test_models_are_managed_where_nothing_is_async(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        loaded = local.ensure_loaded("llama3.2:3b", 8192, keep_alive=-1)
        assert (loaded.context_length, loaded.already) == (8192, False)
        assert local.load("llama3.2:3b", 4096).context_length == 4096
        assert [item.model for item in local.running()] == ["llama3.2:3b"]
        assert local.unload("llama3.2:3b")
        local.copy("llama3.2:3b", "mine")
        local.copy("llama3.2:3b", "mine", overwrite=True)
        local.delete("llama3.2:3b")
        with local.pull("llama3.2:3b") as download:
            statuses = [progress.status for progress in download]
            assert download.wait().done
        assert statuses[0] == "pulling manifest"
        assert download.progress.status == statuses[-1] == "success"
        assert local.supports_model("llama3.2:3b")


def test_defaults_fill_what_a_request_leaves_open(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        agent = local.with_defaults(ModelDefaults(model="llama3.2:3b", max_tokens=2))
        assert agent.complete(agent.request(messages=["Hello"])).text == "You said:"
        assert local.complete(CHAT).text == "You said: One two three."


def test_many_threads_may_use_one(blocking_ollama: OllamaEmulator, config_for: ConfigFor) -> None:
    with (
        SyncLocalProvider(config_for(blocking_ollama)) as local,
        ThreadPoolExecutor(8) as pool,
    ):
        requests = [CompletionRequest("llama3.2:3b", [f"number {n}"]) for n in range(16)]
        texts = [response.text for response in pool.map(local.complete, requests)]
        assert texts == [f"You said: number {n}" for n in range(16)]


def test_leaving_a_stream_early_hangs_up(slow: OllamaEmulator, config_for: ConfigFor) -> None:
    with SyncLocalProvider(config_for(slow)) as local:
        with local.stream_completion(CHAT) as stream:
            for event in stream:
                if event.text:
                    break
        assert stream.text == "You"
        until(lambda: slow.client_gone == 1)


def complete(local: SyncLocalProvider) -> None:
    local.complete(CHAT)


def collect(local: SyncLocalProvider) -> None:
    with local.stream_completion(CHAT) as stream:
        stream.collect()


def iterate(local: SyncLocalProvider) -> None:
    with local.stream_completion(CHAT) as stream:
        list(stream)


def pull(local: SyncLocalProvider) -> None:
    with local.pull("all-minilm") as download:
        list(download)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Take interrupts, though a shell may have this process ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to a thread there")
@pytest.mark.parametrize("wait", [complete, collect, iterate, pull])
def test_who_is_interrupted_while_it_waits_has_hung_up(
    wait: Callable[[SyncLocalProvider], None],
    blocking_ollama: OllamaEmulator,
    config_for: ConfigFor,
) -> None:
    main = threading.main_thread().ident
    assert main is not None

    async def interrupt(exchange: Exchange) -> bool:
        if exchange.path in {"/api/chat", "/api/pull"}:
            signal.pthread_kill(main, signal.SIGINT)
            await exchange.hold()
        return False

    blocking_ollama.faults.append(interrupt)
    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        with pytest.raises(KeyboardInterrupt):
            wait(local)
        assert local.occupancy()["ollama"].in_flight == 0
        until(lambda: blocking_ollama.client_gone == 1)
        blocking_ollama.faults.clear()
        assert local.complete(CHAT).text == "You said: One two three."


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to a thread there")
def test_who_is_interrupted_as_it_enters_leaves_nothing_behind_beside_others(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    main = threading.main_thread().ident
    assert main is not None

    once = threading.Lock()

    async def interrupt(exchange: Exchange) -> bool:
        if once.acquire(blocking=False):
            signal.pthread_kill(main, signal.SIGINT)
        await exchange.hold()
        return False

    async def at_work() -> int:
        return len(asyncio.all_tasks())

    with SyncLocalProvider(config_for(blocking_ollama)) as first:
        before = first._running.call(at_work)  # noqa: SLF001
        with OllamaEmulator().run_in_thread() as held:
            held.faults.append(interrupt)
            second = SyncLocalProvider(config_for(held))
            with pytest.raises(KeyboardInterrupt):
                second.__enter__()
            assert first._running.call(at_work) == before  # noqa: SLF001
            held.faults.clear()
            with second:
                assert len(second.list_models()) == 5


class Interrupt:
    """Interrupts this thread at one of the moments at which Python looks for signals."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.came = False

    def __enter__(self) -> Self:
        sys.setprofile(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        sys.setprofile(None)
        return self.came and kind is KeyboardInterrupt

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event in {"c_call", "c_exception"} or frame.f_code in OWN:
            return
        self.left -= 1
        # Of what goes wrong where something is thrown away nobody hears.
        if self.left < 0 and frame.f_code.co_name not in {"__del__", "_remove"}:
            sys.setprofile(None)
            self.came = True
            raise KeyboardInterrupt


# Before it has begun to enter or leave, and once it has, it is for the `with` to know.
OWN = {
    kind.__dict__[name].__code__
    for kind in (Interrupt, SyncLocalProvider)
    for name in ("__enter__", "__exit__")
}


def interrupted_at_every_moment(step: Callable[[], object]) -> Iterator[None]:
    """Take a step again and again, each time interrupted a moment later, until it is through."""
    for at in itertools.count():
        with Interrupt(at) as interrupt:
            step()
        if not interrupt.came:
            assert at > 10
            return
        yield


def test_an_interrupt_at_any_moment_of_a_call_holds_nobody_else_up(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    local = SyncLocalProvider(config_for(blocking_ollama)).__enter__()
    answers = SimpleQueue[str]()
    for _ in interrupted_at_every_moment(lambda: local.complete(CHAT)):
        assert local.occupancy()["ollama"].in_flight == 0
        other = threading.Thread(target=lambda: answers.put(local.complete(CHAT).text), daemon=True)
        other.start()
        assert answers.get(timeout=10) == "You said: One two three."
    local.__exit__(None, None, None)


def test_an_interrupt_at_any_moment_of_entering_leaves_no_thread(config_for: ConfigFor) -> None:
    before = threading.active_count()
    local = SyncLocalProvider(config_for())
    for _ in interrupted_at_every_moment(local.__enter__):
        until(lambda: threading.active_count() == before)
    local.__exit__(None, None, None)


def test_an_interrupt_at_any_moment_of_leaving_leaves_no_thread(config_for: ConfigFor) -> None:
    before = threading.active_count()
    local = SyncLocalProvider(config_for())
    local.__enter__()
    for _ in interrupted_at_every_moment(partial(local.__exit__, None, None, None)):
        until(lambda: threading.active_count() == before)
        local.__enter__()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_two_providers_share_a_thread_and_the_last_stops_it(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    before = threading.active_count()
    with SyncLocalProvider(config_for(blocking_ollama)) as first:
        first.list_models()
        with SyncLocalProvider(config_for(blocking_ollama)) as second:
            assert second.complete(CHAT).text == first.complete(CHAT).text
            assert first._running is second._running  # noqa: SLF001 - the thread's portal
        assert first.complete(CHAT).text
    end = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.001)
    assert threading.active_count() == before


async def test_in_a_running_loop_it_says_how_to_write_it_there(config_for: ConfigFor) -> None:
    local = SyncLocalProvider(config_for())
    with pytest.raises(RuntimeError, match="async with LocalProvider"):
        local.__enter__()
    with pytest.raises(RuntimeError, match="async with LocalProvider"):
        local.complete(CHAT)
    with pytest.raises(RuntimeError, match="async with LocalProvider"):
        local.stream_completion(CHAT)


def test_a_provider_that_is_not_entered_or_left_says_how(config_for: ConfigFor) -> None:
    local = SyncLocalProvider(config_for())
    with pytest.raises(RuntimeError, match="with SyncLocalProvider"):
        local.complete(CHAT)
    with local:
        pass
    with pytest.raises(ProviderClosed, match=r"is closed\. Make another and enter it\."):
        local.list_models()


def test_a_stream_that_is_not_entered_sends_nothing(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        stream = local.stream_completion(CHAT)
        with pytest.raises(RuntimeError, match=r"^Write `with"):
            next(iter(stream))
        with pytest.raises(RuntimeError, match=r"^Write `with"):
            next(iter(local.pull("llama3.2:3b")))
        stream.__exit__(None, None, None)
        assert "/api/chat" not in {seen.path for seen in blocking_ollama.requests}


def test_a_wrong_setting_leaves_no_thread(config_for: ConfigFor) -> None:
    before = threading.active_count()
    wrong = EndpointConfig.parse("127.0.0.1:9", service="vllm")
    with (
        pytest.raises(InvalidConfiguration),
        SyncLocalProvider(config_for(wrong)),
    ):
        pytest.fail("it must not be entered")
    end = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.001)
    assert threading.active_count() == before


@pytest.mark.slow
def test_a_program_of_its_own_may_use_both(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    async def ask() -> Any:  # noqa: ANN401
        async with LocalProvider(config_for(blocking_ollama)) as local:
            return (await local.complete(CHAT)).text

    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        assert asyncio.run(ask()) == local.complete(CHAT).text


PROGRAM = """
import os, sys
from patinox import *
from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local.config import EndpointConfig
config = LocalProviderConfig(
    endpoints=(EndpointConfig.parse(sys.argv[1]),), auto_discover=False, monitor=False
)
"""


def run(program: str, server: OllamaEmulator) -> str:
    """Run a program to its end, of which it must not fall short, and return what it said."""
    command = [sys.executable, "-c", PROGRAM + program, server.url]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30
    )
    return done.stdout.decode()


@pytest.mark.slow
def test_a_program_that_never_leaves_ends_all_the_same(blocking_ollama: OllamaEmulator) -> None:
    program = """
local = SyncLocalProvider(config).__enter__()
stream = local.stream_completion(CompletionRequest("llama3.2:3b", ["Hello"])).__enter__()
print(next(stream).text, len(local.list_models()))
"""
    assert run(program, blocking_ollama).split() == ["5"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.slow
def test_after_a_fork_the_child_has_providers_of_its_own(blocking_ollama: OllamaEmulator) -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of `os.fork` beside a thread
with SyncLocalProvider(config) as local:
    stream = local.stream_completion(CompletionRequest("llama3.2:3b", ["Hello"])).__enter__()
    next(stream)
    if not (child := os.fork()):
        for use in (local.list_models, stream.collect, stream.__enter__):
            try:
                use()
            except RuntimeError as error:
                print(error)
        stream.__exit__(None, None, None)
        with SyncLocalProvider(config) as own:
            print(len(own.list_models()))
        with own:
            print(own.complete(CompletionRequest("llama3.2:3b", ["Hi"])).text)
        sys.stdout.flush()
        sys.exit()
    print(os.waitpid(child, 0)[1], stream.collect().text)
"""
    told = "This provider was opened before a fork; make another in the child process."
    assert run(program, blocking_ollama).splitlines() == [
        *[told] * 3,
        "5",
        "You said: Hi",
        "0 You said: Hello",
    ]


def test_a_provider_is_entered_once_at_a_time(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    local = SyncLocalProvider(config_for(blocking_ollama))
    for _ in range(2):
        with local:
            with pytest.raises(RuntimeError, match="entered already"):
                local.__enter__()
            assert len(local.list_models()) == 5


def test_a_stream_that_is_still_open_does_not_hold_the_provider(
    slow: OllamaEmulator, config_for: ConfigFor
) -> None:
    with SyncLocalProvider(config_for(slow)) as local:
        stream = local.stream_completion(CHAT).__enter__()
        next(stream)
        started = time.monotonic()
    assert time.monotonic() - started < 3


def test_a_loop_that_cannot_be_made_is_an_error_not_a_wait(
    config_for: ConfigFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    local = SyncLocalProvider(config_for())
    with monkeypatch.context() as patch:
        patch.setattr("asyncio.Runner.get_loop", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            local.__enter__()
    with local:
        assert local.services == ()


def test_a_stream_ends_with_its_provider(slow: OllamaEmulator, config_for: ConfigFor) -> None:
    with SyncLocalProvider(config_for(slow)) as local:
        stream = local.stream_completion(CHAT).__enter__()
        next(stream)
    with pytest.raises(ProviderClosed):
        stream.collect()
    stream.__exit__(None, None, None)


def test_a_provider_may_be_closed_while_twenty_threads_are_answered(
    slow: OllamaEmulator, config_for: ConfigFor
) -> None:
    begun = threading.Barrier(21)

    def answered(local: SyncLocalProvider) -> ProviderError:
        with local.stream_completion(CHAT) as stream:
            while not next(stream).text:
                pass
            begun.wait(30)
            with pytest.raises((StreamInterrupted, ProviderClosed)) as caught:
                stream.collect()
        assert stream.text == "You"
        return caught.value

    with ThreadPoolExecutor(20) as pool:
        with SyncLocalProvider(config_for(slow)) as local:
            threads = [pool.submit(answered, local) for _ in range(20)]
            begun.wait(30)
        told = {str(thread.result(30)) for thread in threads}
    assert told <= {
        "This provider was closed in the middle of the answer, after 3 characters.",
        "This provider is closed. Make another and enter it.",  # before it went on
    }


class Ends:
    """Ends the program when it hears of an event."""

    def __init__(self, error: type[BaseException], at: str) -> None:
        self.error = error
        self.at = at
        self.armed = True

    def observe(self, event: Event) -> None:
        if self.armed and type(event).__name__ == self.at:
            self.armed = False
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", ["CallStarted", "AttemptFinished", "CallFinished"])
def test_who_is_to_end_in_an_observer_ends_and_the_other_threads_go_on(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor, error: type[BaseException], at: str
) -> None:
    ends = Ends(error, at)
    ended = list[type[BaseException]]()

    def ask(local: SyncLocalProvider) -> None:
        try:
            local.complete(CHAT)
        except (KeyboardInterrupt, SystemExit) as raised:
            ended.append(type(raised))

    with (
        SyncLocalProvider(config_for(blocking_ollama), observers=[ends]) as local,
        ThreadPoolExecutor(8) as pool,
    ):
        for thread in [pool.submit(ask, local) for _ in range(8)]:
            thread.result(30)
        assert ended == [error]
        assert local.complete(CHAT).text
        assert [place.in_flight for place in local.occupancy().values()] == [0]


def test_who_is_to_end_as_it_enters_ends_and_another_goes_on(
    blocking_ollama: OllamaEmulator, config_for: ConfigFor
) -> None:
    with SyncLocalProvider(config_for(blocking_ollama)) as local:
        with (
            pytest.raises(SystemExit),
            SyncLocalProvider(
                config_for(blocking_ollama), observers=[Ends(SystemExit, "ServiceChanged")]
            ),
        ):
            pytest.fail("it must not be entered")
        assert local.complete(CHAT).text


def test_a_tool_that_ends_the_program_ends_who_asked_for_it(config_for: ConfigFor) -> None:
    def leave() -> None:
        """Leave."""
        sys.exit(3)

    async def leave_at_once() -> None:
        """Leave."""
        sys.exit(3)

    calls = (OllamaToolCall("leave", {}), OllamaToolCall("leave_at_once", {}))
    model = OllamaModel(
        name="m", capabilities=("completion", "tools"), reply=OllamaAnswer(tool_calls=calls)
    )
    with (
        OllamaEmulator(models=[model]).run_in_thread() as server,
        SyncLocalProvider(config_for(server)) as local,
    ):
        with pytest.raises(SystemExit, match="3"):
            local.run_tools(CompletionRequest("m", "Go"), tools=[leave, leave_at_once])
        assert local.list_models()


def test_who_is_to_end_as_a_stream_is_left_ends(
    slow: OllamaEmulator, config_for: ConfigFor
) -> None:
    ends = Ends(SystemExit, "CallFinished")
    with SyncLocalProvider(config_for(slow), observers=[ends]) as local:
        stream = local.stream_completion(CHAT).__enter__()
        next(stream)
        with pytest.raises(SystemExit):
            stream.__exit__(None, None, None)
        assert local.list_models()
