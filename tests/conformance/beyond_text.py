"""What every service does with schemas, tools and pictures; see `behaviours.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec
import pytest

from patinox.provider.errors import CapabilityNotSupported, StructuredOutputError
from patinox.provider.images import Image
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.types import CompletionMessage, CompletionRequest, ModelCapabilities

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///ywAAAAAAQABAAACAkQBADs="


class Subject(Protocol):
    """What is used here of a service to look at."""

    @property
    def config(self) -> LocalProviderConfig: ...
    @property
    def model(self) -> str: ...
    def question(self, **fields: object) -> CompletionRequest: ...


class Verdict(msgspec.Struct):
    """A schema whose every answer is short, so that also a toy can come to its end."""

    total: Literal[6, 7, 8]
    sure: bool
    why: Literal["counted", "guessed"] | None


def weather(city: str) -> str:
    """Tell the weather."""
    return city


async def _abilities(local: LocalProvider, subject: Subject) -> ModelCapabilities:
    info = await local.find_model(subject.model)
    assert info is not None
    return info.capabilities


async def an_answer_by_a_schema_is_the_object_whole_and_streamed(subject: Subject) -> None:
    request = subject.question(schema=Verdict, max_tokens=200)
    async with LocalProvider(subject.config) as local:
        whole = await local.complete(request)
        async with local.stream_completion(request) as stream:
            streamed = await stream.collect()
    assert isinstance(whole.parsed, Verdict)
    assert whole.parsed == streamed.parsed == stream.response.parsed
    assert msgspec.json.decode(whole.text, type=Verdict) == whole.parsed


async def an_answer_by_a_schema_keeps_to_it_whatever_is_drawn(subject: Subject) -> None:
    async with LocalProvider(subject.config) as local:
        for seed in range(8):
            request = subject.question(schema=Verdict, max_tokens=200, temperature=2.0, seed=seed)
            assert isinstance((await local.complete(request)).parsed, Verdict)


async def an_answer_that_is_cut_within_its_schema_says_so(subject: Subject) -> None:
    request = subject.question(schema=Verdict, max_tokens=1)
    async with LocalProvider(subject.config) as local:
        with pytest.raises(StructuredOutputError, match="It was cut: raise `max_tokens`") as caught:
            await local.complete(request)
    assert len(caught.value.raw) < len(msgspec.json.encode(Verdict(7, True, None)))  # noqa: FBT003


async def a_model_is_given_tools_unless_it_calls_none(subject: Subject) -> None:
    request = subject.question(tools=[weather])
    async with LocalProvider(subject.config) as local:
        if (await _abilities(local, subject)).supports_tools is False:
            with pytest.raises(CapabilityNotSupported, match="does not call tools"):
                await local.complete(request)
        else:
            answer = await local.complete(request)
            # Of a call of a tool that was not offered Ollama shows nothing.
            written = answer.usage.completion_tokens or 0
            assert answer.text or answer.tool_calls or written > 1


async def a_model_that_sees_nothing_is_shown_no_picture(subject: Subject) -> None:
    picture = CompletionMessage.user(["What is it?", Image.of(DOT)])
    request = CompletionRequest(subject.model, [picture])
    async with LocalProvider(subject.config) as local:
        assert (await _abilities(local, subject)).supports_vision is not True
        if (await _abilities(local, subject)).supports_vision is False:
            with pytest.raises(CapabilityNotSupported, match="does not see pictures"):
                await local.complete(request)


BEHAVIOURS: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    an_answer_by_a_schema_is_the_object_whole_and_streamed,
    an_answer_by_a_schema_keeps_to_it_whatever_is_drawn,
    an_answer_that_is_cut_within_its_schema_says_so,
    a_model_is_given_tools_unless_it_calls_none,
    a_model_that_sees_nothing_is_shown_no_picture,
)
