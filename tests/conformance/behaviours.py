"""What every service does, whichever it is: emulated, the engine inside, or a real server.

Each function is a behaviour; its name says what holds. They know a service only by its `Subject`
and the public names, so that a new service is tested by being added to one of the two `conftest`s.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from patinox.provider.base import CompletionStream, ModelProvider
from patinox.provider.errors import CapabilityNotSupported
from patinox.provider.lifecycle import Operation
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import ModelNotFound, ServiceTimeout
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.sync import SyncLocalProvider
from patinox.provider.local.types import ServiceStatus
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    LoadProgress,
    ModelId,
    ResponseFinished,
    ResponseStarted,
    Source,
    TextDelta,
)

QUESTION = "What is 3 + 4?"
SECONDS_TO_HANG_UP = 1.0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A service to look at.

    Attributes:
        kind: what it must prove to be.
        config: leads to it and to nothing else.
        model: a model that chats.
        embedder: a model that makes vectors; `None`: there is none.
        only_chats: a model that makes no vectors; `None`: none is known.
        only_embeds: a model that does not chat; `None`: none is known.
        callers: models that call tools; of the emulators `add`, with 3 and 4.
        completer: a model that goes on with texts.
        prober: a model whose tokens' probabilities are told.
        filler: a model that fills in the middle of a text.
        thinker: a model that thinks, or not if it is told not to.
        seer: a model that tells how many pictures it sees.
        asked: how often an answer was asked for, where that can be seen.
        changes: what a look at it must not change, where that can be seen: what is in memory.
        hung_up: how many answers were not waited for, where that can be seen.
    """

    kind: str
    config: LocalProviderConfig
    model: str
    embedder: str | None = None
    only_chats: str | None = None
    only_embeds: str | None = None
    callers: tuple[str, ...] = ()
    completer: str | None = None
    prober: str | None = None
    filler: str | None = None
    thinker: str | None = None
    seer: str | None = None
    asked: Callable[[], int] = lambda: 0
    changes: Callable[[], object] = lambda: None
    hung_up: Callable[[], int] | None = None

    def question(self, **fields: object) -> CompletionRequest:
        """Return a request whose answer is the same each time."""
        asked = {"model": self.model, "messages": [QUESTION], "temperature": 0.0, "seed": 1}
        return CompletionRequest(**{**asked, "max_tokens": 64, **fields})  # type: ignore[arg-type]


Behaviour = Callable[[Subject], Awaitable[None]]


def _service(local: LocalProvider, subject: Subject) -> ServiceProvider:
    known = local.discovery.known(subject.kind)
    assert known is not None
    return known.provider


def _counts(response: CompletionResponse) -> tuple[int | None, int | None, int | None]:
    usage = response.usage
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


async def it_is_found_and_proves_what_it_is(subject: Subject) -> None:
    before = subject.changes()
    async with LocalProvider(subject.config) as local:
        info = local.get_service_info(subject.kind)

        assert local.available_services() == [subject.kind]
        assert info is not None
        assert info.status is ServiceStatus.AVAILABLE
        assert info.id == info.service_type == subject.kind
        assert subject.model in info.models
        assert info.metrics.model_count == len(info.models)
        assert info.metrics.avg_response_time is not None
        assert info.metrics.avg_response_time > 0
        assert info.metrics.success_rate is None
        assert repr(local) == (
            f"<LocalProvider 1 services: 1 available | {len(info.models)} models>"
        )
    assert subject.changes() == before


async def it_is_a_model_provider_as_the_protocol_says(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        assert isinstance(local, ModelProvider)
        assert isinstance(_service(local, subject), ModelProvider)
        assert _service(local, subject).name == subject.kind


async def its_models_are_listed_sorted_and_each_fact_says_where_it_is_from(
    subject: Subject,
) -> None:
    before = subject.changes()
    async with LocalProvider(subject.config) as local:
        models = await local.list_models()

        assert [(info.id, info.service) for info in models] == sorted(
            (info.id, info.service) for info in models
        )
        for info in models:
            facts = info.capabilities
            for field in facts.__struct_fields__:
                known = field != "sources" and getattr(facts, field) is not None
                assert (facts.source(field) is not Source.UNKNOWN) == known, (info.id, field)
            for field in ("context_length", "loaded_context_length", "loaded"):
                assert (field in info.sources) == (getattr(info, field) is not None)
            assert await local.model_capabilities(info.model_id) == facts
            assert await local.supports_model(str(info.model_id))
    assert subject.changes() == before


async def its_chat_model_is_known_to_chat_and_to_stream(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        info = await local.find_model(subject.model)

        assert info is not None
        assert info.capabilities.supports_chat
        assert info.capabilities.supports_streaming
        assert info.capabilities.source("supports_chat") in {Source.SERVER, Source.MODEL_FILE}
        assert info.context_length is None or info.context_length >= 256


async def a_whole_answer_is_the_fold_of_its_stream(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        whole = await local.complete(subject.question())
        async with local.stream_completion(subject.question()) as stream:
            events = [event async for event in stream if not isinstance(event, LoadProgress)]
            folded = stream.response

        assert isinstance(events[0], ResponseStarted)
        assert isinstance(events[-1], ResponseFinished)
        assert sum(isinstance(event, ResponseStarted | ResponseFinished) for event in events) == 2
        assert folded.text == "".join(event.text for event in events) == whole.text
        assert folded.choices == whole.choices
        assert whole.text or whole.reasoning
        assert whole.finish_reason == "stop"
        assert (whole.model, whole.service) == (folded.model, subject.kind)
        assert _counts(folded) == _counts(whole)


async def one_that_is_asked_in_one_piece_says_the_same(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        service = _service(local, subject)
        request = subject.question()
        async with CompletionStream(service.batches(request, streaming=False)) as stream:
            whole = await stream.collect()
        async with service.stream_completion(request) as stream:
            pieces = await stream.collect()

        assert whole.choices == pieces.choices
        assert _counts(whole) == _counts(pieces)
        assert whole.service == subject.kind


async def it_tells_what_an_answer_cost_and_how_long_it_took(subject: Subject) -> None:
    started = time.monotonic()
    async with LocalProvider(subject.config) as local:
        response = await local.complete(subject.question())
        seconds = time.monotonic() - started

        prompt, completion, total = _counts(response)
        assert prompt is not None
        assert completion is not None
        assert prompt > 0
        assert completion > 0
        assert total == prompt + completion
        timings = response.timings
        assert timings.time_to_first_token is not None
        assert timings.total_seconds is not None
        assert 0 < timings.time_to_first_token <= timings.total_seconds < seconds
        assert (timings.tokens_per_second is None) == (timings.measured_by is None)
        metrics = local.services[0].metrics
        assert (metrics.requests, metrics.failures, metrics.success_rate) == (1, 0, 1.0)
        assert metrics.avg_request_time is not None
        assert timings.total_seconds <= metrics.avg_request_time < seconds
        assert metrics.last_request is not None
        assert abs(time.time() - metrics.last_request) < 60


async def an_answer_that_is_cut_says_so(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        response = await local.complete(subject.question(max_tokens=2))

        assert response.finish_reason == "length"
        assert response.usage.completion_tokens == 2


async def a_stop_text_ends_the_answer(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        whole = await local.complete(subject.question())
        stop = whole.text[len(whole.text) // 2 :][:3]
        cut = await local.complete(subject.question(stop=[stop]))

        assert whole.text.partition(stop)[0].startswith(cut.text.rstrip())
        assert len(cut.text) < len(whole.text)
        assert cut.finish_reason == "stop"


async def a_conversation_reaches_it_turn_by_turn(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        turns = [
            CompletionMessage.system("You add numbers."),
            CompletionMessage.user("What is 1 + 1?"),
            CompletionMessage.assistant("1 + 1 = 2."),
            CompletionMessage.user(QUESTION),
        ]
        long = await local.complete(
            CompletionRequest(subject.model, turns, temperature=0.0, max_tokens=64)
        )
        short = await local.complete(subject.question())

        assert long.usage.prompt_tokens is not None
        assert short.usage.prompt_tokens is not None
        assert long.usage.prompt_tokens > short.usage.prompt_tokens


async def its_names_may_be_written_with_the_service(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        plain = await local.complete(subject.question())
        for name in (f"{subject.kind}::{subject.model}", f"{subject.kind}/{subject.model}"):
            request = subject.question()
            named = await local.complete(
                msgspec.structs.replace(request, model=ModelId.parse(name))
            )
            assert named.text == plain.text
            assert named.service == subject.kind


async def an_unknown_model_is_refused_with_the_nearest_names(subject: Subject) -> None:
    typo = subject.model.replace("n", "nn", 1) if "n" in subject.model else f"{subject.model}x"
    async with LocalProvider(subject.config) as local:
        with pytest.raises(ModelNotFound) as caught:
            await local.complete(CompletionRequest(typo, [QUESTION]))

        assert f"{subject.kind}::{subject.model}" in caught.value.nearest
        assert typo in caught.value.message
        assert f"{subject.kind}::{subject.model}" in str(caught.value)
        assert not await local.supports_model(typo)
        assert await local.model_capabilities(typo) is None


async def a_model_that_only_embeds_does_not_chat(subject: Subject) -> None:
    if subject.only_embeds is None:
        pytest.skip("no model is known to make vectors only")
    async with LocalProvider(subject.config) as local:
        with pytest.raises(CapabilityNotSupported, match="does not chat"):
            await local.complete(CompletionRequest(subject.only_embeds, [QUESTION]))

        info, _ = await local.default_model()
        assert info.id != subject.only_embeds


async def a_model_that_only_chats_makes_no_vectors(subject: Subject) -> None:
    if subject.only_chats is None:
        pytest.skip("no model is known to chat only")
    async with LocalProvider(subject.config) as local:
        with pytest.raises(CapabilityNotSupported, match="makes no embeddings"):
            await local.embed(EmbeddingRequest(subject.only_chats, ["a text"]))


async def vectors_come_in_the_order_of_the_texts(subject: Subject) -> None:
    if subject.embedder is None:
        pytest.skip("no model here makes vectors")
    async with LocalProvider(subject.config) as local:
        texts = ["a cat", "the number seven", "a cat and a dog"]
        response = await local.embed(EmbeddingRequest(subject.embedder, texts))
        rows = response.embeddings.tolist()

        assert len(rows) == 3
        assert len({len(row) for row in rows}) == 1
        assert response.service == subject.kind
        for text, row in zip(texts, rows, strict=True):
            alone = await local.embed(EmbeddingRequest(subject.embedder, text))
            assert alone.embeddings.tolist()[0] == pytest.approx(row, abs=1e-2)
        length = math.sqrt(sum(number * number for number in rows[0]))
        assert response.normalized == (abs(length - 1) < 1e-3)


async def leaving_a_stream_early_hangs_up(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        async with local.stream_completion(subject.question()) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        assert stream.text

        await _one_hung_up(subject)
        assert (await local.complete(subject.question())).text.startswith(stream.text)


async def a_cancelled_call_hangs_up(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        first = asyncio.Event()

        async def consume() -> None:
            async with local.stream_completion(subject.question()) as stream:
                async for event in stream:
                    if event.text:
                        first.set()
                        await asyncio.Event().wait()

        task = asyncio.create_task(consume())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await _one_hung_up(subject)
        assert (await local.complete(subject.question())).finish_reason == "stop"


async def _one_hung_up(subject: Subject) -> None:
    if subject.hung_up is None:
        return
    async with asyncio.timeout(SECONDS_TO_HANG_UP):
        while not subject.hung_up():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


async def the_callers_limit_holds_for_the_whole_call(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        with pytest.raises(ServiceTimeout) as caught:
            await local.complete(subject.question(timeout=1e-4))

        assert caught.value.phase == "total"
        assert (await local.complete(subject.question(timeout=60))).finish_reason == "stop"


async def answers_at_the_same_time_do_not_mix(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        alone = await local.complete(subject.question())
        together = await asyncio.gather(*(local.complete(subject.question()) for _ in range(4)))

        assert {response.text for response in together} == {alone.text}


async def the_blocking_face_says_the_same(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        expected = await local.complete(subject.question())

    def blocking() -> tuple[CompletionResponse, CompletionResponse, list[str]]:
        with SyncLocalProvider(subject.config) as local:
            whole = local.complete(subject.question())
            with local.stream_completion(subject.question()) as stream:
                folded = stream.collect()
            return whole, folded, [info.id for info in local.list_models()]

    whole, folded, models = await asyncio.to_thread(blocking)
    assert whole.choices == folded.choices == expected.choices
    assert subject.model in models


async def a_text_of_every_kind_goes_through(subject: Subject) -> None:
    text = 'Grüße, 世界! \U0001f980 "quoted" \\ back\x85next\u2028line\nnew\ttab'
    async with LocalProvider(subject.config) as local:
        response = await local.complete(
            CompletionRequest(subject.model, [text], temperature=0.0, max_tokens=128)
        )
        assert response.finish_reason in {"stop", "length"}


async def its_model_is_loaded_once_and_its_context_read_back(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        first = await local.ensure_loaded(subject.model)
        before = subject.changes()
        again = await local.ensure_loaded(subject.model, 2)
        info = await local.find_model(subject.model)
        running = [item for item in await local.running() if item.model == first.model]

        assert subject.changes() == before
        assert (first.model, first.service) == (again.model, again.service)
        assert first.service == subject.kind
        assert again.already
        assert again.load_seconds == 0
        assert again.fits
        assert info is not None
        assert info.loaded
        assert again.context_length == info.loaded_context_length == first.context_length
        assert [item.context_length for item in running] == [first.context_length]


async def all_who_want_its_model_share_one_load(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        loads = await asyncio.gather(*(local.ensure_loaded(subject.model) for _ in range(4)))

        assert len(set(loads)) == 1
        assert len([item for item in await local.running() if item.model == loads[0].model]) == 1


async def its_model_is_taken_out_of_memory_once(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        service = _service(local, subject)
        await local.ensure_loaded(subject.model)
        if await service.refused(Operation.UNLOAD) is not None:
            with pytest.raises(CapabilityNotSupported):
                await local.unload(subject.model)
            return
        assert await local.unload(subject.model)
        assert not await local.unload(subject.model)
        assert subject.model not in {item.model for item in await local.running()}
        info = await local.find_model(subject.model)
        assert info is not None
        assert info.loaded is False


async def what_it_cannot_do_it_refuses_by_name_before_sending(subject: Subject) -> None:
    before = subject.changes()
    async with LocalProvider(subject.config) as local:
        service = _service(local, subject)

        async def pull() -> None:
            async with service.pull(subject.model) as download:
                await download.wait()

        ways: dict[Operation, Callable[[], Awaitable[object]]] = {
            Operation.PULL: pull,
            Operation.LOAD: lambda: service.load(subject.model),
            Operation.UNLOAD: lambda: service.unload(subject.model),
            Operation.DELETE: lambda: service.delete(subject.model),
            Operation.COPY: lambda: service.copy(subject.model, "a-copy"),
            Operation.RUNNING: service.running,
        }
        for operation, way in ways.items():
            refusal = await service.refused(operation)
            if refusal is None:
                continue
            with pytest.raises(CapabilityNotSupported) as caught:
                await way()
            assert str(caught.value) == str(refusal)
            assert refusal.hint
            assert refusal.service == subject.kind
    assert subject.changes() == before


BEHAVIOURS: tuple[Behaviour, ...] = (
    it_is_found_and_proves_what_it_is,
    it_is_a_model_provider_as_the_protocol_says,
    its_models_are_listed_sorted_and_each_fact_says_where_it_is_from,
    its_chat_model_is_known_to_chat_and_to_stream,
    a_whole_answer_is_the_fold_of_its_stream,
    one_that_is_asked_in_one_piece_says_the_same,
    it_tells_what_an_answer_cost_and_how_long_it_took,
    an_answer_that_is_cut_says_so,
    a_stop_text_ends_the_answer,
    a_conversation_reaches_it_turn_by_turn,
    its_names_may_be_written_with_the_service,
    an_unknown_model_is_refused_with_the_nearest_names,
    a_model_that_only_embeds_does_not_chat,
    a_model_that_only_chats_makes_no_vectors,
    vectors_come_in_the_order_of_the_texts,
    leaving_a_stream_early_hangs_up,
    a_cancelled_call_hangs_up,
    the_callers_limit_holds_for_the_whole_call,
    answers_at_the_same_time_do_not_mix,
    the_blocking_face_says_the_same,
    a_text_of_every_kind_goes_through,
    its_model_is_loaded_once_and_its_context_read_back,
    all_who_want_its_model_share_one_load,
    its_model_is_taken_out_of_memory_once,
    what_it_cannot_do_it_refuses_by_name_before_sending,
)
