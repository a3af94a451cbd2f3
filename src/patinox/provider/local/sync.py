"""The blocking face of `LocalProvider`: the same names without `await`, on a loop in a thread.

Nothing is written twice: every method hands its arguments to the asynchronous one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, Unpack

from patinox.provider.base import CompletionStream
from patinox.provider.config import ModelDefaults, RequestFields
from patinox.provider.errors import ProviderClosed
from patinox.provider.lifecycle import LoadedModel, PullProgress, PullStream, RunningModel
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.events import Observer
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.loopthread import LoopThread, closed, forbid_running_loop, loop_thread
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

    def __init__(self, thread: LoopThread, stream: _AsyncStream[E_co]) -> None:
        self._thread = thread
        self._pieces = stream
        self._entered = False

    def __enter__(self) -> Self:
        """Enter; the request is sent when the first piece is asked for."""
        self._thread.call(self._pieces.__aenter__)
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, whatever has arrived by then; it ends with its provider anyway."""
        if self._entered and self._thread.is_ours:
            with contextlib.suppress(ProviderClosed):
                self._thread.call(self._pieces.__aexit__, kind, error, traceback)

    def __iter__(self) -> Iterator[E_co]:
        """Go through the pieces as they come."""
        return self

    def __next__(self) -> E_co:
        """Wait for the next piece; raises what the asynchronous stream raises."""
        try:
            return self._wait_for(self._pieces.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def _wait_for(self, step: Callable[[], Awaitable[T]]) -> T:
        if not self._entered:
            msg = "Write `with ... as stream:` first."
            raise RuntimeError(msg)
        return self._thread.call(step)


class SyncCompletionStream(_SyncStream[StreamEvent]):
    """An answer as it comes; use it as a context manager, so that leaving early hangs up."""

    def __init__(self, thread: LoopThread, stream: CompletionStream) -> None:
        """Keep the stream; nothing is sent before the first event is asked for."""
        super().__init__(thread, stream)
        self._stream = stream

    def __next__(self) -> StreamEvent:
        """Wait for the next event; raises what `CompletionStream` raises."""
        # What has arrived is taken here: only waiting needs the other thread.
        if not self._stream.ready:
            try:
                self._wait_for(self._stream.fill)
            except StopAsyncIteration:
                raise StopIteration from None
        return self._stream.take()

    def collect(self) -> CompletionResponse:
        """Take in every event that is still to come and return the whole answer."""
        return self._wait_for(self._stream.collect)

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

    def __init__(self, thread: LoopThread, stream: PullStream) -> None:
        """Keep the download; nothing is sent before the first progress is asked for."""
        super().__init__(thread, stream)
        self._stream = stream

    def wait(self) -> PullProgress:
        """Wait for the end of the download and return it."""
        return self._wait_for(self._stream.wait)

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
        self._thread: LoopThread | None = None
        self._left = False

    def __repr__(self) -> str:
        """Tell how many services there are and how they are."""
        return f"<Sync{repr(self._provider).removeprefix('<')}"

    def __enter__(self) -> Self:
        """Find what is running; see `LocalProvider.__aenter__`."""
        forbid_running_loop()
        if self._thread is not None:
            msg = "This provider is entered already; leave it first, or make another."
            raise RuntimeError(msg)
        self._thread = thread = loop_thread()
        try:
            thread.enter(self)
            thread.call(self._provider.__aenter__)
        except BaseException:
            self.__exit__(None, None, None)
            raise
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
        thread = self._thread
        if thread is not None:
            try:
                self._leave(thread)
            except BaseException:
                self._leave(thread)  # an interrupt in the middle of it is for afterwards
                raise
            finally:
                self._thread = None
                self._left = True

    def _leave(self, thread: LoopThread) -> None:
        """Close what was entered, wholly or in part; to do it twice does no harm."""
        if thread.is_ours:
            with contextlib.suppress(ProviderClosed):  # there may be no thread, if none could be
                thread.call(self._provider.__aexit__, None, None, None)
            thread.leave(self)

    def with_defaults(self, defaults: ModelDefaults) -> Self:
        """Return this provider with defaults; see `LocalProvider.with_defaults`."""
        bound = copy.copy(self)
        bound._provider = self._provider.with_defaults(defaults)  # noqa: SLF001  the copy is our own
        return bound

    def request(self, **fields: Unpack[RequestFields]) -> CompletionRequest:
        """Make a request from fields and defaults; see `LocalProvider.request`."""
        return self._provider.request(**fields)

    @property
    def _running(self) -> LoopThread:
        forbid_running_loop()
        if self._thread is not None:
            return self._thread
        if self._left:
            raise closed()
        msg = "Write `with SyncLocalProvider() as local:` and use it inside."
        raise RuntimeError(msg)

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

    def default_model(self, *, vision: bool = False) -> tuple[ModelInfo, str]:
        """Choose the model to use where none is named, and say why."""
        return self._running.call(partial(self._provider.default_model, vision=vision))
