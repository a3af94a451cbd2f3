"""The blocking face of `LocalProvider`: the same names without `await`, on a loop in a thread.

Nothing is written twice: every method hands its arguments to the asynchronous one. The thread is
started by the first provider in use and stopped by the last; a provider that is never left ends
with the process. After a fork the child has no such thread: it starts one for providers of its own.
"""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.from_thread import BlockingPortal

from patinox.provider.base import CompletionStream
from patinox.provider.config import ModelDefaults, RequestFields
from patinox.provider.lifecycle import LoadedModel, PullProgress, PullStream, RunningModel
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.events import Observer
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.types import Occupancy, ServiceInfo
from patinox.provider.toolloop import ToolLoopOptions, ToolLoopResult, Tools
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    StreamEvent,
    TextCompletionRequest,
)

T = TypeVar("T")
E_co = TypeVar("E_co", covariant=True)
Ts = TypeVarTuple("Ts")


class _LoopThread:
    """An event loop in a thread of this process, there for as long as somebody is in it.

    A portal of `anyio.from_thread.start_blocking_portal` would be stopped by the collector at the
    interpreter's end or in a forked child, and wait for ever for a thread that is not there.
    """

    _thread: threading.Thread
    _portal: BlockingPortal

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._users = 0

    @property
    def is_ours(self) -> bool:
        """Whether it was started by this process, not by the one that this was forked from."""
        return self._pid == os.getpid()

    def __enter__(self) -> Self:
        """Start the thread if nobody is in it."""
        with self._lock:
            if not self._users:
                started = Future[BlockingPortal]()
                self._thread = threading.Thread(
                    target=_run, args=(started,), name="patinox", daemon=True
                )
                self._thread.start()
                self._portal = started.result()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread if nobody else is in it."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._portal.call(self._portal.stop, True)  # noqa: FBT003  streams still open too
                self._thread.join()

    def call(self, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts) -> T:
        """Wait for a call in the thread."""
        return self._here.call(function, *arguments)

    def wrap(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """Enter and leave in one task of the thread."""
        return self._here.wrap_async_context_manager(manager)

    @property
    def _here(self) -> BlockingPortal:
        if not self.is_ours:
            msg = "This provider was opened before a fork; make another in the child process."
            raise RuntimeError(msg)
        return self._portal


# By process: a fork takes over the object, and perhaps a lock that is held, but not the thread.
_LOOP_THREADS: dict[int, _LoopThread] = {}


def _run(started: Future[BlockingPortal]) -> None:
    try:
        anyio.run(_serve, started)
    except Exception as error:
        if started.done():
            raise
        started.set_exception(error)  # there is no loop, perhaps for want of a file descriptor


async def _serve(started: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


class _AsyncStream(Protocol[E_co]):
    """What can be entered, stepped and left, asynchronously."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool | None: ...

    async def __anext__(self) -> E_co: ...


class _SyncStream(Generic[E_co]):
    """Something that comes piece by piece; entered, stepped and left in the loop's thread."""

    def __init__(self, thread: _LoopThread, stream: _AsyncStream[E_co]) -> None:
        self._thread = thread
        self._pieces = stream
        self._entered: AbstractContextManager[object] | None = None

    def __enter__(self) -> Self:
        """Enter, in one task of the loop that also leaves."""
        self._entered = self._thread.wrap(self._pieces)
        self._entered.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, whatever has arrived by then."""
        if self._entered is not None and self._thread.is_ours:
            self._entered.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[E_co]:
        """Go through the pieces as they come."""
        return self

    def __next__(self) -> E_co:
        """Wait for the next piece; raises what the asynchronous stream raises."""
        try:
            return self._thread.call(self._pieces.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class SyncCompletionStream(_SyncStream[StreamEvent]):
    """An answer as it comes; use it as a context manager, so that leaving early hangs up."""

    def __init__(self, thread: _LoopThread, stream: CompletionStream) -> None:
        """Keep the stream; nothing is sent before the first event is asked for."""
        super().__init__(thread, stream)
        self._stream = stream

    def __next__(self) -> StreamEvent:
        """Wait for the next event; raises what `CompletionStream` raises."""
        # What has arrived is taken here: only waiting needs the other thread.
        if not self._stream.ready:
            try:
                self._thread.call(self._stream.fill)
            except StopAsyncIteration:
                raise StopIteration from None
        return self._stream.take()

    def collect(self) -> CompletionResponse:
        """Take in every event that is still to come and return the whole answer."""
        return self._thread.call(self._stream.collect)

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._stream.text

    @property
    def response(self) -> CompletionResponse:
        """The answer so far; whole once the stream has ended."""
        return self._stream.response


class SyncPullStream(_SyncStream[PullProgress]):
    """A download as it goes on; use it as a context manager, so that leaving early ends it."""

    def __init__(self, thread: _LoopThread, stream: PullStream) -> None:
        """Keep the download; nothing is sent before the first progress is asked for."""
        super().__init__(thread, stream)
        self._stream = stream

    def wait(self) -> PullProgress:
        """Wait for the end of the download and return it."""
        return self._thread.call(self._stream.wait)

    @property
    def progress(self) -> PullProgress:
        """The last that was told."""
        return self._stream.progress


class SyncLocalProvider:
    """All models of all services on this machine, for code that blocks.

    with SyncLocalProvider() as local:
        answer = local.complete(CompletionRequest("llama3.2:3b", ["Hello"]))
    """

    name = LocalProvider.name

    def __init__(
        self, config: LocalProviderConfig | None = None, *, observers: Sequence[Observer] = ()
    ) -> None:
        """Make it without any I/O; see `LocalProvider`. Observers are called in its thread."""
        self._provider = LocalProvider(config, observers=observers)
        self._stack = ExitStack()
        self._thread: _LoopThread | None = None

    def __repr__(self) -> str:
        """Tell how many services there are and how they are."""
        return f"<Sync{repr(self._provider).removeprefix('<')}"

    def __enter__(self) -> Self:
        """Find what is running; see `LocalProvider.__aenter__`."""
        _forbid_running_loop()
        if self._thread is not None:
            msg = "This provider is entered already; leave it first, or make another."
            raise RuntimeError(msg)
        with ExitStack() as stack:
            own = _LOOP_THREADS.setdefault(os.getpid(), _LoopThread())
            thread = stack.enter_context(own)
            stack.enter_context(thread.wrap(self._provider))
            self._stack = stack.pop_all()
        self._thread = thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection; the last provider that leaves stops the thread.

        What was opened before a fork is closed by the process that opened it.
        """
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_ours:
            self._stack.__exit__(kind, error, traceback)

    def with_defaults(self, defaults: ModelDefaults) -> Self:
        """Return this provider with defaults; see `LocalProvider.with_defaults`."""
        bound = copy.copy(self)
        bound._provider = self._provider.with_defaults(defaults)  # noqa: SLF001  the copy is our own
        return bound

    def request(self, **fields: Unpack[RequestFields]) -> CompletionRequest:
        """Make a request from fields and defaults; see `LocalProvider.request`."""
        return self._provider.request(**fields)

    @property
    def _running(self) -> _LoopThread:
        _forbid_running_loop()
        if self._thread is None:
            msg = "Write `with SyncLocalProvider() as local:` and use it inside."
            raise RuntimeError(msg)
        return self._thread

    @property
    def config(self) -> LocalProviderConfig:
        """The settings in force."""
        return self._provider.config

    @property
    def services(self) -> tuple[ServiceInfo, ...]:
        """Every service that was found, as it was last seen."""
        return self._provider.services

    @property
    def ollama(self) -> OllamaProvider | None:
        """The Ollama on this machine, or `None`; its methods are asynchronous."""
        return self._provider.ollama

    @property
    def lmstudio(self) -> LMStudioProvider | None:
        """The LM Studio on this machine, or `None`; its methods are asynchronous."""
        return self._provider.lmstudio

    def occupancy(self) -> dict[str, Occupancy]:
        """Return how busy each service is with requests from here, by its id."""
        return self._provider.occupancy()

    def available_services(self) -> list[str]:
        """Return the kinds of service that can be used now."""
        return self._provider.available_services()

    def get_service_info(self, name: str) -> ServiceInfo | None:
        """Return what is known of a service, by its id or as the best of a type."""
        return self._provider.get_service_info(name)

    def refresh_services(self) -> None:
        """Look again for services, now."""
        self._running.call(self._provider.refresh_services)

    def list_models(self) -> list[ModelInfo]:
        """List every model of every service; see `LocalProvider.list_models`."""
        return self._running.call(self._provider.list_models)

    def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Answer in one piece; see `LocalProvider.complete`."""
        return self._running.call(self._provider.complete, request)

    def stream_completion(self, request: CompletionRequest) -> SyncCompletionStream:
        """Answer piece by piece; see `LocalProvider.stream_completion`."""
        return SyncCompletionStream(self._running, self._provider.stream_completion(request))

    def run_tools(
        self,
        request: CompletionRequest,
        tools: Tools | None = None,
        **options: Unpack[ToolLoopOptions],
    ) -> ToolLoopResult:
        """Answer with tools that are run here; see `LocalProvider.run_tools`."""
        work = partial(self._provider.run_tools, **options)
        return self._running.call(work, request, tools)

    def complete_text(self, request: TextCompletionRequest) -> CompletionResponse:
        """Go on with a text, or fill in its middle, in one piece; see `LocalProvider`."""
        return self._running.call(self._provider.complete_text, request)

    def stream_text(self, request: TextCompletionRequest) -> SyncCompletionStream:
        """Go on with a text piece by piece; see `LocalProvider.stream_text`."""
        return SyncCompletionStream(self._running, self._provider.stream_text(request))

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors; see `LocalProvider.embed`."""
        return self._running.call(self._provider.embed, request)

    def pull(self, model: ModelId | str) -> SyncPullStream:
        """Download a model; see `LocalProvider.pull`."""
        return SyncPullStream(self._running, self._provider.pull(model))

    def ensure_loaded(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Have a model in memory; see `LocalProvider.ensure_loaded`."""
        work = partial(self._provider.ensure_loaded, keep_alive=keep_alive)
        return self._running.call(work, model, context_length)

    def load(
        self,
        model: ModelId | str,
        context_length: int | None = None,
        *,
        keep_alive: float | None = None,
    ) -> LoadedModel:
        """Load a model, anew if it is in memory; see `LocalProvider.load`."""
        work = partial(self._provider.load, keep_alive=keep_alive)
        return self._running.call(work, model, context_length)

    def unload(self, model: ModelId | str) -> bool:
        """Take a model out of memory and tell whether it was there."""
        return self._running.call(self._provider.unload, model)

    def delete(self, model: ModelId | str) -> None:
        """Delete a model from the disk; see `LocalProvider.delete`."""
        self._running.call(self._provider.delete, model)

    def copy(
        self, source: ModelId | str, destination: ModelId | str, *, overwrite: bool = False
    ) -> None:
        """Give a model a second name on its service; see `LocalProvider.copy`."""
        work = partial(self._provider.copy, overwrite=overwrite)
        self._running.call(work, source, destination)

    def running(self) -> list[RunningModel]:
        """List what is in memory on every service; see `LocalProvider.running`."""
        return self._running.call(self._provider.running)

    def supports_model(self, model: ModelId | str) -> bool:
        """Tell whether a service has the model."""
        return self._running.call(self._provider.supports_model, model)

    def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        """Tell what the model can do, or `None` if it is not there."""
        return self._running.call(self._provider.model_capabilities, model)

    def find_model(self, model: ModelId | str) -> ModelInfo | None:
        """Describe the model on the service that would be asked for it, or `None`."""
        return self._running.call(self._provider.find_model, model)

    def default_model(self) -> tuple[ModelInfo, str]:
        """Choose the model to use where none is named, and say why."""
        return self._running.call(self._provider.default_model)


def _forbid_running_loop() -> None:
    """A blocking call inside a running loop would stop everything else in it.

    Raises:
        RuntimeError: there is a running loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = "This blocks the running event loop; write `async with LocalProvider() as local:` there."
    raise RuntimeError(msg)
