"""What every provider offers, and the stream that all of them hand out."""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from msgspec.structs import replace

from patinox.provider.assemble import Assembler
from patinox.provider.errors import ProviderError
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.schema import OutputSchema
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    ResponseFinished,
    StreamEvent,
)


class CompletionStream:
    """An answer as it comes.

    Use it as a context manager, so that leaving early hangs up and the server stops working:

        async with provider.stream_completion(request) as stream:
            async for event in stream:
                print(event.text, end="")
        print(stream.response.usage)

    Attributes of interest: `text` so far, and `response`, the fold of the events so far.
    """

    def __init__(
        self,
        batches: AsyncGenerator[list[StreamEvent]],
        *,
        schema: OutputSchema[Any] | None = None,
    ) -> None:
        """Wrap the events of one answer, in the batches in which they arrive.

        Nothing is sent before the first is asked for. With a `schema` the whole answer is read.
        """
        self._batches = batches
        self._schema = schema
        self._arrived: deque[StreamEvent] = deque()
        self._taken: list[StreamEvent] = []
        self._assembler = Assembler()
        self._entered = self._open = False
        self._whole = False
        self._broken: ProviderError | None = None

    async def __aenter__(self) -> Self:
        """Enter; the request is sent when the first event is asked for."""
        self._entered = self._open = True
        return self

    def __del__(self) -> None:
        """Warn of an answer that nobody left: the connection is closed now, and could have been."""
        if self._open and getattr(self._batches, "ag_frame", None) is not None:
            msg = "A stream was dropped without being left: write `async with` around it."
            warnings.warn(msg, ResourceWarning, source=self, stacklevel=2)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, whatever has arrived by then."""
        self._open = False
        if self._arrived:
            self._arrived.clear()
            self._whole = False
        await self._batches.aclose()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """Go through the events as they come."""
        return self

    async def __anext__(self) -> StreamEvent:
        """Wait for the next event.

        Raises:
            RuntimeError: the stream was not entered with `async with`.
            StreamInterrupted: the stream was left, or waiting for it was given up.
            ProviderError: the answer failed; what had arrived stays in `text` and `response`.
        """
        if not self._arrived:
            await self.fill()
        event = self._arrived.popleft()  # as `take`, which a call for every token would cost
        self._taken.append(event)
        return event

    async def fill(self) -> None:
        """Wait until at least one event has arrived that was not taken; raises as `__anext__`."""
        while not self._arrived:
            self._arrived.extend(await self._next_batch())

    @property
    def ready(self) -> bool:
        """Whether an event has arrived that was not taken."""
        return bool(self._arrived)

    def take(self) -> StreamEvent:
        """Take the next event that has arrived; there must be one."""
        event = self._arrived.popleft()
        self._taken.append(event)
        return event

    async def _next_batch(self) -> list[StreamEvent]:
        if not self._entered:
            msg = "Write `async with provider.stream_completion(request) as stream:` first."
            raise RuntimeError(msg)
        self._fold()
        try:
            batch = await anext(self._batches)
        except ProviderError as error:
            self._broken = error
            raise
        except StopAsyncIteration:
            if self._whole:
                raise
            raise self._broken or self._left() from None
        self._whole = bool(batch) and isinstance(batch[-1], ResponseFinished)
        return batch

    def _fold(self) -> Assembler:
        """Join what was taken, in one go for many events."""
        self._assembler.extend(self._taken)
        self._taken.clear()
        return self._assembler

    def _left(self) -> StreamInterrupted:
        """Make the error for going on where waiting was given up, or the stream was left."""
        pieces = self._fold()
        return StreamInterrupted(
            "The stream was left before its end.",
            text=pieces.text,
            reasoning=pieces.reasoning,
            tool_calls=pieces.tool_calls,
            retryable=False,
        )

    async def collect(self) -> CompletionResponse:
        """Take in every event that is still to come and return the whole answer.

        Raises:
            StructuredOutputError: the answer does not keep to the request's schema.
            ProviderError: as the iteration.
        """
        with contextlib.suppress(StopAsyncIteration):
            while True:
                self._taken += self._arrived
                self._arrived.clear()
                self._taken += await self._next_batch()
        return self.response

    @property
    def text(self) -> str:
        """The text that has arrived so far."""
        return self._fold().text

    @property
    def response(self) -> CompletionResponse:
        """The answer so far; whole once the stream has ended.

        Raises:
            StructuredOutputError: it is whole and does not keep to the request's schema.
        """
        response = self._fold().response()
        if self._schema is None or not self._whole or self._arrived:
            return response
        reason = response.finish_reason
        return replace(response, parsed=self._schema.parse(response.text, finish_reason=reason))


@runtime_checkable
class ModelProvider(Protocol):
    """Something that answers with language models."""

    @property
    def name(self) -> str:
        """The provider's name."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """List the models it has."""
        ...

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Answer in one piece."""
        ...

    def stream_completion(self, request: CompletionRequest) -> CompletionStream:
        """Answer piece by piece."""
        ...

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors."""
        ...

    async def supports_model(self, model: ModelId | str) -> bool:
        """Tell whether it has the model."""
        ...

    async def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        """Tell what the model can do, or `None` if it is not there."""
        ...
