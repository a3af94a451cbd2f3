"""What observers are told of requests, from real requests to emulated servers."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox import (
    CompletionRequest,
    EmbeddingRequest,
    EndpointConfig,
    LocalProvider,
    LocalProviderConfig,
    ModelDefaults,
    ModelNotFound,
    OllamaConfig,
    OllamaProvider,
    ServiceError,
    StreamInterrupted,
    SyncLocalProvider,
    TextCompletionRequest,
)
from patinox.provider.local.errors import AllServicesFailed, InvalidConfiguration
from patinox.provider.local.events import (
    AttemptFinished,
    AttemptStarted,
    CallContent,
    CallFinished,
    CallStarted,
    Event,
    QueueWaited,
)
from patinox.testing import (
    Exchange,
    LMStudioEmulator,
    LMStudioModel,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
)

ConfigFor = Callable[..., LocalProviderConfig]
Fault = Callable[[Exchange], Awaitable[bool]]
MODEL = "talker:1b"
ANSWER = "One two three four."
CRASH = b'{"error":"llama runner process has terminated"}'
CHAT = CompletionRequest(MODEL, ["Count."])


class Notes:
    def __init__(self, *, content: bool = False) -> None:
        self.content = content
        self.seen = list[Event]()

    def observe(self, event: Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if type(event) is kind]

    @property
    def end(self) -> Any:  # noqa: ANN401 - a `CallFinished`
        """The end of the one request."""
        (end,) = self.of(CallFinished)
        return end

    @property
    def attempts(self) -> list[Any]:
        return self.of(AttemptFinished)


@pytest.fixture
def notes() -> Notes:
    return Notes()


def talker(**fields: Any) -> OllamaModel:  # noqa: ANN401
    settings: dict[str, Any] = {"name": MODEL, "reply": ANSWER, **fields}
    return OllamaModel(**settings)


def crashes(path: str = "/api/chat") -> Fault:
    async def fault(exchange: Exchange) -> bool:
        if exchange.path != path:
            return False
        await exchange.reply(500, CRASH)
        return True

    return fault


async def test_an_answer_is_told_with_all_that_belongs_to_it(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        answer = await local.complete(CHAT)
        port = ollama.port
    kinds = [type(event) for event in notes.seen if hasattr(event, "call")]
    assert kinds == [CallStarted, AttemptStarted, AttemptFinished, CallFinished]
    end, (attempt,) = notes.end, notes.attempts
    assert (end.outcome, end.error, end.attempts, end.fallback) == ("success", None, 1, False)
    assert (end.operation, end.requested, end.model) == ("chat", MODEL, MODEL)
    assert (end.server.id, end.server.kind, end.server.port) == ("ollama", "ollama", port)
    assert end.reason == answer.reason
    assert end.usage == answer.usage
    assert (end.finish_reason, end.answered_model) == ("stop", MODEL)
    assert end.characters == attempt.characters == len(ANSWER)
    assert len(end.chunk_seconds) == 3
    assert 0 < end.time_to_first_token <= end.seconds
    assert (attempt.phase, attempt.may_have_executed) == ("ended", True)
    assert attempt.loaded is False
    assert end.sent_bytes == attempt.sent_bytes > len(MODEL)
    assert end.received_bytes == attempt.received_bytes > len(ANSWER)
    assert end.streaming is False


async def test_a_stream_that_is_left_counts_once_with_what_was_delivered(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()], chunk_delay=0.01) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        taken = ""
        async with local.stream_completion(CHAT) as stream:
            async for event in stream:
                taken += event.text
                if taken:
                    break
    assert (notes.end.outcome, notes.end.error, notes.end.streaming) == ("client_gone", None, True)
    assert notes.end.characters == len(taken) > 0
    (attempt,) = notes.attempts
    assert (attempt.outcome, attempt.phase) == ("client_gone", "output")
    assert attempt.wasted_characters == 0


async def test_a_stream_that_was_never_begun_is_not_told(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
        local.stream_completion(CHAT),
    ):
        pass
    assert not notes.of(CallStarted)
    assert not notes.of(CallFinished)


async def test_a_cancelled_request_is_told_as_such_and_its_output_as_waste(
    config_for: ConfigFor, notes: Notes
) -> None:
    came = asyncio.Event()

    async def half(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        await exchange.send(
            b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
            b'"message":{"role":"assistant","content":"One "},"done":false}\n'
        )
        came.set()
        await asyncio.Event().wait()
        return True

    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        ollama.faults.append(half)
        async with local.stream_completion(CHAT) as stream:
            async for event in stream:
                if event.text:
                    break
            waiting = asyncio.ensure_future(stream.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert notes.end.outcome == "cancelled"
    (attempt,) = notes.attempts
    assert (attempt.outcome, attempt.characters, attempt.wasted_characters) == ("cancelled", 4, 4)
    assert attempt.wasted_seconds > 0


async def test_a_request_that_another_server_saved_shows_both_attempts(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker(loaded=True)]) as first,
        LMStudioEmulator(models=[LMStudioModel(key=MODEL)]) as second,
        LocalProvider(
            config_for(first, second, preferred_service="ollama"), observers=[notes]
        ) as local,
    ):
        first.faults.append(crashes())
        answer = await local.complete(CHAT)
        assert answer.service == "lmstudio"
        rates = {info.id: info.metrics for info in local.services}
    assert (notes.end.outcome, notes.end.attempts, notes.end.fallback) == ("success", 2, True)
    assert notes.end.server.id == "lmstudio"
    failed, answered = notes.attempts
    assert (failed.server.id, failed.outcome, failed.error) == ("ollama", "error", "ServiceError")
    assert (failed.at_fault, failed.phase, failed.may_have_executed) == (True, "answering", True)
    assert failed.received_bytes == len(CRASH)
    assert (answered.server.id, answered.outcome) == ("lmstudio", "success")
    assert (rates["ollama"].requests, rates["ollama"].failures) == (1, 1)
    assert (rates["lmstudio"].requests, rates["lmstudio"].failures) == (1, 0)


async def test_the_error_of_all_tells_of_each_attempt_what_observers_were_told(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker(loaded=True)]) as first,
        LMStudioEmulator(models=[LMStudioModel(key=MODEL)]) as second,
        LocalProvider(
            config_for(first, second, preferred_service="ollama"), observers=[notes]
        ) as local,
    ):
        first.faults.append(crashes())
        await local.list_models()  # kept for a moment, in which the second one ends
        await second.stop()
        with pytest.raises(AllServicesFailed) as caught:
            await local.complete(CHAT)
    told = [(each.server.id, each.phase, each.may_have_executed) for each in notes.attempts]
    tried = [(each.service, each.phase, each.may_have_executed) for each in caught.value.tried]
    assert told == tried == [("ollama", "answering", True), ("lmstudio", "connecting", False)]


async def test_an_answer_that_breaks_off_is_told_by_its_error(
    config_for: ConfigFor, notes: Notes
) -> None:
    async def breaks(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat":
            return False
        await exchange.start(200, content_type="application/x-ndjson")
        await exchange.send(
            b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
            b'"message":{"role":"assistant","content":"One "},"done":false}\n'
        )
        exchange.abort()
        return True

    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        ollama.faults.append(breaks)
        with pytest.raises(StreamInterrupted):
            await local.complete(CHAT)
    assert (notes.end.outcome, notes.end.error) == ("error", "StreamInterrupted")
    (attempt,) = notes.attempts
    assert (attempt.phase, attempt.wasted_characters) == ("output", 4)


async def test_a_model_that_nobody_has_is_told_without_a_server(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        with pytest.raises(ModelNotFound):
            await local.complete(CompletionRequest("another", ["Count."]))
    assert (notes.end.outcome, notes.end.error) == ("error", "ModelNotFound")
    assert (notes.end.requested, notes.end.model, notes.end.server) == ("another", None, None)
    assert notes.end.attempts == 0


async def test_vectors_and_lists_are_operations_too(config_for: ConfigFor, notes: Notes) -> None:
    nomic = OllamaModel(name="nomic", capabilities=("embedding",), embedding_length=4)
    async with (
        OllamaEmulator(models=[nomic]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        vectors = await local.embed(EmbeddingRequest("nomic", ["my secret", "b"], batch_size=1))
        await local.list_models()
        ollama.faults.append(crashes("/api/embed"))
        with pytest.raises(ServiceError):
            await local.embed(EmbeddingRequest("nomic", ["a"]))
        (info,) = local.services
    good, listed, bad = notes.of(CallFinished)
    assert [each.operation for each in (good, listed, bad)] == [
        "embeddings",
        "list_models",
        "embeddings",
    ]
    assert (good.outcome, good.model, good.usage) == ("success", "nomic:latest", vectors.usage)
    assert good.received_bytes > 0
    assert good.time_to_first_token is None
    assert (listed.outcome, listed.requested) == ("success", "")
    assert (bad.outcome, bad.error) == ("error", "ServiceError")
    assert bad.received_bytes == bad.attempts * len(CRASH)
    assert {each.phase for each in notes.attempts[1:]} == {"answering"}
    assert notes.attempts[0].phase == "ended"
    assert (info.metrics.requests, info.metrics.failures) == (1 + bad.attempts, bad.attempts)
    assert "secret" not in repr(notes.seen)


async def test_going_on_with_a_text_is_an_operation_too(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        await local.complete_text(TextCompletionRequest(MODEL, "One"))
    assert (notes.end.operation, notes.end.outcome) == ("text_completion", "success")


async def test_one_server_alone_tells_too(notes: Notes) -> None:
    nomic = OllamaModel(name="nomic", capabilities=("embedding",), embedding_length=4)
    async with (
        OllamaEmulator(models=[talker(), nomic]) as ollama,
        OllamaProvider(ollama.url, observers=[notes]) as provider,
    ):
        await provider.complete(CHAT)
        await provider.embed(EmbeddingRequest("nomic", ["a"]))
        with pytest.raises(ModelNotFound):
            await provider.complete(CompletionRequest("another", ["Count."]))
    chat, vectors, lost = notes.of(CallFinished)
    assert [start.server.id for start in notes.of(CallStarted)] == ["ollama"] * 3
    assert (chat.outcome, chat.attempts, chat.model) == ("success", 1, MODEL)
    assert (vectors.outcome, vectors.model) == ("success", "nomic:latest")
    assert (lost.error, lost.model) == ("ModelNotFound", None)
    assert notes.attempts[-1].phase == "finding"
    assert notes.attempts[-1].may_have_executed is False


async def test_one_server_of_many_is_told_once_when_it_is_asked_directly(
    config_for: ConfigFor, notes: Notes
) -> None:
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes]) as local,
    ):
        assert local.ollama is not None
        await local.ollama.complete(CHAT)
        await local.with_defaults(ModelDefaults(max_tokens=2)).complete(CHAT)
    assert [end.outcome for end in notes.of(CallFinished)] == ["success", "success"]
    assert notes.of(CallStarted)[1].parameters == {"max_tokens": 2}


def test_the_blocking_face_tells_as_well(notes: Notes) -> None:
    models = [talker(), talker(name="slow:1b", reply=OllamaAnswer(text=("word ",) * 10_000))]
    with OllamaEmulator(models=models, chunk_delay=0.02).run_in_thread() as ollama:
        config = LocalProviderConfig(
            auto_discover=False, monitor=False, endpoints=(EndpointConfig.parse(ollama.url),)
        )
        with SyncLocalProvider(config, observers=[notes]) as local:
            local.complete(CHAT)
            with local.stream_completion(CompletionRequest("slow:1b", ["Count."])) as stream:
                next(stream)
    assert [end.outcome for end in notes.of(CallFinished)] == ["success", "client_gone"]


async def test_those_who_wait_for_their_turn_are_told_how_long(
    config_for: ConfigFor, notes: Notes
) -> None:
    one_at_once = OllamaConfig(max_in_flight=1)
    async with (
        OllamaEmulator(models=[talker()], chunk_delay=0.01) as ollama,
        LocalProvider(config_for(ollama, ollama=one_at_once), observers=[notes]) as local,
    ):
        await asyncio.gather(*(local.complete(CHAT) for _ in range(3)))
    waited = notes.of(QueueWaited)
    assert len(waited) == 2
    assert all(each.seconds > 0.01 for each in waited)
    assert {each.call for each in waited} < {end.call for end in notes.of(CallFinished)}


async def test_what_was_said_is_told_to_the_curious_alone(
    config_for: ConfigFor, notes: Notes
) -> None:
    curious = Notes(content=True)
    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[notes, curious]) as local,
    ):
        await local.complete(CHAT)
    (said,) = curious.of(CallContent)
    assert said.request.messages[0].content == "Count."
    assert said.response.text == ANSWER
    assert not notes.of(CallContent)
    assert "Count." not in repr(notes.seen)
    assert "three" not in repr(notes.seen)


async def test_an_observer_that_fails_breaks_no_request(
    config_for: ConfigFor, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def observe(self, event: Event) -> None:
            raise RuntimeError(type(event).__name__)

    async with (
        OllamaEmulator(models=[talker()]) as ollama,
        LocalProvider(config_for(ollama), observers=[Broken()]) as local,
    ):
        assert (await local.complete(CHAT)).text == ANSWER
    (told,) = (each for each in caplog.records if each.name == "patinox")
    assert told.levelno == logging.WARNING


def test_what_is_no_observer_is_refused() -> None:
    nothing: Any = object()
    for make in (LocalProvider, SyncLocalProvider, OllamaProvider):
        with pytest.raises(InvalidConfiguration, match="objects with a method `observe`"):
            make(observers=[nothing])


# A mixture of everything.


async def whole(local: LocalProvider) -> None:
    await local.complete(CHAT)


async def left(local: LocalProvider) -> None:
    async with local.stream_completion(CHAT) as stream:
        async for event in stream:
            if event.text:
                return


async def cancelled(local: LocalProvider) -> None:
    async with asyncio.timeout(0.02):
        await local.complete(CHAT)


async def lost(local: LocalProvider) -> None:
    await local.complete(CompletionRequest("another", ["Count."]))


def sometimes(act: Fault) -> Fault:
    """Do something wrong the first time and then every third."""
    asked = 0

    async def fault(exchange: Exchange) -> bool:
        nonlocal asked
        asked += exchange.path == "/api/chat"
        return asked % 3 == 1 and await act(exchange)

    return fault


def balance(events: list[Event]) -> Counter[int]:
    """Count for each request what was begun and has not ended; attempts lie within requests."""
    under_way = Counter[int]()
    for event in events:
        match event:
            case CallStarted() | AttemptStarted():
                under_way[event.call] += 1
            case CallFinished() | AttemptFinished():
                under_way[event.call] -= 1
                assert under_way[event.call] == isinstance(event, AttemptFinished)
            case _:
                pass
    return +under_way


async def test_the_books_balance_under_a_mixture_of_everything(
    config_for: ConfigFor, notes: Notes
) -> None:
    work = [whole, left, cancelled, lost] * 10
    async with (
        OllamaEmulator(models=[talker()], chunk_delay=0.01) as first,
        LMStudioEmulator(models=[LMStudioModel(key=MODEL)], chunk_delay=0.01) as second,
        LocalProvider(config_for(first, second), observers=[notes]) as local,
    ):
        await local.list_models()  # else one that is late to list them would not be asked
        notes.seen.clear()
        first.faults.append(sometimes(crashes()))
        results = await asyncio.gather(*(do(local) for do in work), return_exceptions=True)
        measured = [info.metrics for info in local.services]

    assert not balance(notes.seen)
    ends, attempts = notes.of(CallFinished), notes.attempts
    assert len(ends) == len(work)
    assert sum(end.attempts for end in ends) == len(attempts) == len(notes.of(AttemptStarted))

    late = sum(isinstance(each, TimeoutError) for each in results)
    failed = sum(
        isinstance(each, ModelNotFound | ServiceError | AllServicesFailed) for each in results
    )
    assert Counter(str(end.outcome) for end in ends) == {
        "client_gone": 10,
        "cancelled": late,
        "error": failed,
        "success": 30 - late - failed,
    }
    # What is counted on the services comes from the same attempts.
    bad = sum(each.at_fault for each in attempts)
    good = sum(each.outcome == "success" for each in attempts)
    assert sum(each.requests for each in measured) == good + bad
    assert sum(each.failures for each in measured) == bad > 0
    assert sum(each.attempts for each in measured) == len(attempts) > good + bad
