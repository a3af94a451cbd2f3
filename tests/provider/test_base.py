from collections.abc import AsyncGenerator

import pytest

from patinox.provider.base import CompletionStream, ModelProvider
from patinox.provider.errors import ProviderError
from patinox.provider.local.errors import StreamInterrupted
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
)


class Source:
    """Events of one answer; it notes how far it was asked and whether it was closed."""

    def __init__(self, *events: StreamEvent, error: ProviderError | None = None) -> None:
        self.asked = 0
        self.closed = False
        self._events = events
        self._error = error

    async def events(self) -> AsyncGenerator[list[StreamEvent]]:
        try:
            for event in self._events:
                self.asked += 1
                yield [event]
            if self._error:
                raise self._error
        finally:
            self.closed = True


ANSWER = (
    ResponseStarted(model="m"),
    TextDelta("a"),
    TextDelta("b"),
    ResponseFinished(finish_reason="stop"),
)


async def test_events_come_as_they_are_and_the_answer_grows() -> None:
    seen = list[tuple[StreamEvent, str]]()
    async with CompletionStream(Source(*ANSWER).events()) as stream:
        async for event in stream:
            seen.append((event, stream.text))
    assert seen == list(zip(ANSWER, ["", "a", "ab", "ab"], strict=True))
    assert stream.response.text == "ab"
    assert stream.response.finish_reason == "stop"


async def test_nothing_is_asked_for_before_the_first_event() -> None:
    source = Source(*ANSWER)
    async with CompletionStream(source.events()) as stream:
        assert source.asked == 0
        assert await anext(stream) == ANSWER[0]
        assert source.asked == 1


async def test_leaving_early_hangs_up_and_keeps_what_had_come() -> None:
    source = Source(*ANSWER)
    async with CompletionStream(source.events()) as stream:
        async for event in stream:
            if event.text:
                break
        closed_inside = source.closed
    assert (closed_inside, source.closed) == (False, True)
    assert source.asked == 2
    assert stream.text == "a"
    with pytest.raises(StreamInterrupted, match="left before its end") as caught:
        await anext(stream)
    assert caught.value.text == "a"


async def test_what_failed_is_not_whole_the_second_time_either() -> None:
    error = ProviderError("It broke.")
    async with CompletionStream(Source(*ANSWER[:2], error=error).events()) as stream:
        for _ in range(2):
            with pytest.raises(ProviderError) as caught:
                await stream.collect()
            assert caught.value is error


async def test_an_exception_of_the_caller_hangs_up_too() -> None:
    async def fail() -> None:
        async with CompletionStream(source.events()) as stream:
            await anext(stream)
            raise KeyError

    source = Source(*ANSWER)
    with pytest.raises(KeyError):
        await fail()
    assert source.closed


async def test_a_stream_that_was_not_entered_says_how() -> None:
    source = Source(*ANSWER)
    stream = CompletionStream(source.events())
    with pytest.raises(RuntimeError, match=r"async with provider\.stream_completion"):
        await anext(stream)
    assert source.asked == 0


async def test_collecting_takes_what_is_still_to_come() -> None:
    async with CompletionStream(Source(*ANSWER).events()) as stream:
        await anext(stream)
        await anext(stream)
        response = await stream.collect()
    assert response == stream.response
    assert (response.text, response.finish_reason) == ("ab", "stop")


async def test_an_error_comes_out_of_the_iteration_and_leaves_what_had_come() -> None:
    error = ProviderError("It broke.")
    async with CompletionStream(Source(*ANSWER[:2], error=error).events()) as stream:
        with pytest.raises(ProviderError) as caught:
            await stream.collect()
    assert caught.value is error
    assert stream.response.text == "a"


async def test_events_that_arrive_together_are_handed_out_one_by_one() -> None:
    async def batches() -> AsyncGenerator[list[StreamEvent]]:
        yield [*ANSWER[:3]]
        yield []
        yield [*ANSWER[3:]]

    async with CompletionStream(batches()) as stream:
        seen = list[tuple[StreamEvent, str, bool]]()
        async for event in stream:
            seen.append((event, stream.text, stream.ready))
    ready = [True, True, False, False]
    assert seen == list(zip(ANSWER, ["", "a", "ab", "ab"], ready, strict=True))
    async with CompletionStream(batches()) as stream:
        await anext(stream)
        assert (await stream.collect()).text == "ab"


async def test_what_arrived_but_was_not_taken_is_gone_with_the_stream() -> None:
    async def batches() -> AsyncGenerator[list[StreamEvent]]:
        yield [*ANSWER]

    async with CompletionStream(batches()) as stream:
        await anext(stream)
    with pytest.raises(StreamInterrupted):
        await anext(stream)
    assert stream.text == ""


class Provider:
    name = "own"

    async def list_models(self) -> list[ModelInfo]:
        return []

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        async with self.stream_completion(request) as stream:
            return await stream.collect()

    def stream_completion(self, request: CompletionRequest) -> CompletionStream:
        events = ResponseStarted(model=request.model.name), ResponseFinished()
        return CompletionStream(Source(*events).events())

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        raise ProviderError(request.model.name)

    async def supports_model(self, model: ModelId | str) -> bool:
        return ModelId.parse(model).name == "m"

    async def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        return ModelCapabilities() if await self.supports_model(model) else None


async def test_a_provider_is_what_does_its_work() -> None:
    provider: ModelProvider = Provider()
    assert isinstance(provider, ModelProvider)
    assert not isinstance(object(), ModelProvider)
    assert (await provider.complete(CompletionRequest("m", "Hi"))).model == "m"
