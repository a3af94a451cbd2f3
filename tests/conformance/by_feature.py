"""What every service does with each `Feature`, or refuses by name; see `behaviours.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from patinox.provider.errors import CapabilityNotSupported
from patinox.provider.images import Image
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.features import Feature
from patinox.provider.local.service import ServiceProvider
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    LlamaCppOptions,
    LMStudioOptions,
    OllamaOptions,
    TextCompletionRequest,
)

PNG = Image.of(
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
QUESTION = "What is 3 + 4?"


class Subject(Protocol):
    """What is used here of a service to look at."""

    @property
    def kind(self) -> str: ...
    @property
    def config(self) -> LocalProviderConfig: ...
    @property
    def model(self) -> str: ...
    @property
    def embedder(self) -> str | None: ...
    @property
    def callers(self) -> tuple[str, ...]: ...
    @property
    def completer(self) -> str | None: ...
    @property
    def prober(self) -> str | None: ...
    @property
    def filler(self) -> str | None: ...
    @property
    def thinker(self) -> str | None: ...
    @property
    def seer(self) -> str | None: ...
    @property
    def asked(self) -> Callable[[], int]: ...
    def question(self, **fields: object) -> CompletionRequest: ...


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def now() -> str:
    """Tell the time."""
    return "12:00"


def _to(model: str | None, what: str) -> str:
    if model is None:
        pytest.skip(f"no model here is known to {what}")
    return model


def _service(local: LocalProvider, subject: Subject) -> ServiceProvider:
    known = local.discovery.known(subject.kind)
    assert known is not None
    return known.provider


async def _both(local: LocalProvider, request: CompletionRequest) -> CompletionResponse:
    """Ask for an answer whole and in pieces: they say the same."""
    whole = await local.complete(request)
    async with local.stream_completion(request) as stream:
        streamed = await stream.collect()
    _assert_same(whole, streamed)
    assert whole.warnings == streamed.warnings
    return whole


async def _both_texts(
    service: ServiceProvider, request: TextCompletionRequest
) -> CompletionResponse:
    whole = await service.complete_text(request)
    async with service.stream_text(request) as stream:
        streamed = await stream.collect()
    _assert_same(whole, streamed)
    assert whole.usage.completion_tokens == streamed.usage.completion_tokens
    return whole


def _assert_same(whole: CompletionResponse, streamed: CompletionResponse) -> None:
    assert _said(whole) == _said(streamed)
    # A prompt that was read before is computed in another order, which shows in the last digits.
    numbers = [[token.logprob for token in answer.logprobs] for answer in (whole, streamed)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-2)


def _said(answer: CompletionResponse) -> tuple[object, ...]:
    """What an answer says; ids of calls are new each time."""
    calls = [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]
    tokens = [(token.token, token.data, len(token.top)) for token in answer.logprobs]
    return answer.text, answer.reasoning, calls, answer.finish_reason, tokens


async def a_tool_is_called_the_same_whole_and_streamed(subject: Subject) -> None:
    _to(next(iter(subject.callers), None), "call tools")
    async with LocalProvider(subject.config) as local:
        for model in subject.callers:
            answer = await _both(local, subject.question(model=model, tools=[add]))
            (call,) = answer.tool_calls
            assert (call.name, json.loads(call.arguments)) == ("add", {"a": 3, "b": 4})
            assert call.id
            assert answer.finish_reason == "tool_calls"


async def what_a_tool_gave_is_told_to_the_model(subject: Subject) -> None:
    _to(next(iter(subject.callers), None), "call tools")
    async with LocalProvider(subject.config) as local:
        for model in subject.callers:
            request = subject.question(model=model, tools=[add])
            asked = await local.complete(request)
            messages = [
                *request.messages,
                asked.choices[0].message,
                CompletionMessage.tool("7", asked.tool_calls[0]),
            ]
            told = await _both(local, subject.question(model=model, tools=[add], messages=messages))
            assert told.usage.prompt_tokens is not None
            assert asked.usage.prompt_tokens is not None
            assert told.usage.prompt_tokens > asked.usage.prompt_tokens


async def a_tool_that_must_be_called_is_called_or_that_is_refused(subject: Subject) -> None:
    model = _to(next(iter(subject.callers), None), "call tools")
    async with LocalProvider(subject.config) as local:
        for choice in ("required", "add"):
            request = subject.question(model=model, tools=[add, now], tool_choice=choice)
            if Feature.FORCED_TOOL in _service(local, subject).lacks:
                before = subject.asked()
                with pytest.raises(CapabilityNotSupported, match="cannot be made to call a tool"):
                    await local.complete(request)
                assert subject.asked() == before
            else:
                answer = await _both(local, request)
                assert [call.name for call in answer.tool_calls] == ["add"]
                assert answer.warnings == ()


async def a_tool_that_shall_not_be_called_is_not(subject: Subject) -> None:
    _to(next(iter(subject.callers), None), "call tools")
    async with LocalProvider(subject.config) as local:
        for model in subject.callers:
            request = subject.question(model=model, tools=[add], tool_choice="none")
            answer = await _both(local, request)
            assert answer.tool_calls == ()
            assert answer.text == (await local.complete(subject.question(model=model))).text


async def probabilities_are_told_of_each_token_or_that_is_refused(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        if Feature.LOGPROBS in _service(local, subject).lacks:
            before = subject.asked()
            with pytest.raises(CapabilityNotSupported, match="does not tell how probable"):
                await local.complete(subject.question(logprobs=True))
            assert subject.asked() == before
            return
        _to(subject.prober, "tell probabilities")
        for asked in (None, 0, 2):
            request = subject.question(model=subject.prober, logprobs=True, top_logprobs=asked)
            answer = await _both(local, request)
            _check_probabilities(answer, asked or 0)
        assert (await local.complete(subject.question())).logprobs == ()


async def probabilities_are_told_of_a_call_too(subject: Subject) -> None:
    model = _to(next(iter(subject.callers), None), "call tools")
    if subject.prober is None:
        pytest.skip("no model here is known to tell probabilities")
    async with LocalProvider(subject.config) as local:
        request = subject.question(model=model, tools=[add], logprobs=True)
        answer = await _both(local, request)
        assert [call.name for call in answer.tool_calls] == ["add"]
        assert answer.logprobs


def _check_probabilities(answer: CompletionResponse, asked: int) -> None:
    said = b"".join(token.data or b"" for token in answer.logprobs).decode()
    assert said.startswith(answer.text)
    for token in answer.logprobs:
        assert -math.inf < token.logprob <= 0
        assert len(token.top) == asked
        assert all(one.top == () for one in token.top)


async def it_goes_on_with_a_text(subject: Subject) -> None:
    model = _to(subject.completer, "go on with texts")
    async with LocalProvider(subject.config) as local:
        service = _service(local, subject)
        fields: dict[str, Any] = {"temperature": 0.0, "seed": 1, "max_tokens": 4}
        answer = await _both_texts(service, TextCompletionRequest(model, "What is 3", **fields))
        assert answer.text
        assert (answer.reasoning, answer.tool_calls) == ("", ())
        assert answer.usage.completion_tokens is not None
        assert answer.usage.completion_tokens <= 4
        assert answer.service == subject.kind
        if subject.prober == model:
            request = TextCompletionRequest(model, "What is 3", top_logprobs=2, **fields)
            told = await _both_texts(service, request)
            assert told.text == answer.text
            _check_probabilities(told, 2)


async def the_middle_of_a_text_is_filled_in_or_that_is_refused(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        service = _service(local, subject)
        if subject.filler is None:
            before = subject.asked()
            request = TextCompletionRequest(subject.model, "def f(", "):")
            with pytest.raises(CapabilityNotSupported, match=r"(?i)fills? in|infill"):
                await service.complete_text(request)
            assert subject.asked() == before or subject.kind in {"llamacpp", "embedded"}
            return
        answer = await _both_texts(service, TextCompletionRequest(subject.filler, "def f(", "):"))
        assert answer.text == "def f( _ ):"


async def a_model_thinks_or_not_as_it_is_told(subject: Subject) -> None:
    model = _to(subject.thinker, "think")
    async with LocalProvider(subject.config) as local:
        for think in (None, True, "low"):
            answer = await _both(local, subject.question(model=model, think=think))
            assert answer.reasoning == "The user said something."
            assert answer.text == f"You said: {QUESTION}"
        at_once = await _both(local, subject.question(model=model, think=False))
        assert (at_once.reasoning, at_once.text) == ("", f"You said: {QUESTION}")


async def a_model_that_is_known_not_to_think_is_not_told_to(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        info = await local.find_model(subject.model)
        assert info is not None
        request = subject.question(think=True)
        if info.capabilities.supports_thinking is False:
            with pytest.raises(CapabilityNotSupported, match="does not reason before it answers"):
                await local.complete(request)
        plain = await local.complete(subject.question())
        assert (await local.complete(subject.question(think=False))).text == plain.text


async def a_picture_is_shown_to_a_model_that_sees(subject: Subject) -> None:
    model = _to(subject.seer, "see")
    message = CompletionMessage.user(["What is this?", PNG, PNG])
    async with LocalProvider(subject.config) as local:
        answer = await _both(local, CompletionRequest(model, [message]))
        assert answer.text == "I see 2 pictures."


async def every_way_to_choose_tokens_is_taken(subject: Subject) -> None:
    fields: dict[str, Any] = {
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repeat_penalty": 1.0,
        "stop": ["nobody says this"],
    }
    async with LocalProvider(subject.config) as local:
        plain = await local.complete(subject.question())
        assert (await _both(local, subject.question(**fields))).text == plain.text


async def options_of_each_service_reach_only_theirs(subject: Subject) -> None:
    options = (
        OllamaOptions(num_ctx=1024, keep_alive=60),
        LMStudioOptions(ttl=60),
        LlamaCppOptions(cache_prompt=False, typical_p=1.0),
    )
    async with LocalProvider(subject.config) as local:
        plain = await local.complete(subject.question())
        answer = await _both(local, subject.question(service_options=options))
        assert answer.text == plain.text


async def vectors_are_shortened_or_that_is_refused(subject: Subject) -> None:
    model = _to(subject.embedder, "make vectors")
    request = EmbeddingRequest(model, "a text", dimensions=16)
    async with LocalProvider(subject.config) as local:
        if Feature.DIMENSIONS in _service(local, subject).lacks:
            with pytest.raises(CapabilityNotSupported, match="makes vectors of one length"):
                await local.embed(request)
        else:
            assert (await local.embed(request)).embeddings.dimensions == 16


BEHAVIOURS: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    a_tool_is_called_the_same_whole_and_streamed,
    what_a_tool_gave_is_told_to_the_model,
    a_tool_that_must_be_called_is_called_or_that_is_refused,
    a_tool_that_shall_not_be_called_is_not,
    probabilities_are_told_of_each_token_or_that_is_refused,
    probabilities_are_told_of_a_call_too,
    it_goes_on_with_a_text,
    the_middle_of_a_text_is_filled_in_or_that_is_refused,
    a_model_thinks_or_not_as_it_is_told,
    a_model_that_is_known_not_to_think_is_not_told_to,
    a_picture_is_shown_to_a_model_that_sees,
    every_way_to_choose_tokens_is_taken,
    options_of_each_service_reach_only_theirs,
    vectors_are_shortened_or_that_is_refused,
)
