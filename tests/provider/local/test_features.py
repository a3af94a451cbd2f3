"""What a request needs of a service, and what is refused where a service does not offer it."""

from typing import Any

import pytest

from patinox.provider.errors import CapabilityNotSupported
from patinox.provider.images import Image
from patinox.provider.local.features import Feature, Request, needs, refuse_lacking
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    TextCompletionRequest,
)

PICTURE = CompletionMessage.user([Image(b"GIF89a")])


def now() -> str:
    """Tell the time."""
    return "12:00"


def chat(**fields: Any) -> CompletionRequest:  # noqa: ANN401
    return CompletionRequest("m", fields.pop("messages", "Hi"), **fields)


NEEDS: list[tuple[Request, set[Feature]]] = [
    (chat(), set()),
    (chat(tools=[now]), {Feature.TOOLS}),
    (chat(tools=[now], tool_choice="auto"), {Feature.TOOLS}),
    (chat(tools=[now], tool_choice="none"), set()),
    (chat(tools=[now], tool_choice="required"), {Feature.TOOLS, Feature.FORCED_TOOL}),
    (chat(tools=[now], tool_choice="now"), {Feature.TOOLS, Feature.FORCED_TOOL}),
    (chat(schema=int), {Feature.SCHEMA}),
    (chat(messages=[PICTURE]), {Feature.PICTURES}),
    (chat(think=True), {Feature.THINK}),
    (chat(think=False), {Feature.THINK}),
    (chat(think="low"), {Feature.THINK_LEVEL}),
    (chat(logprobs=True), {Feature.LOGPROBS}),
    (TextCompletionRequest("m", "a"), {Feature.TEXT}),
    (TextCompletionRequest("m", "a", "b"), {Feature.TEXT, Feature.INFILL}),
    (TextCompletionRequest("m", "a", top_logprobs=1), {Feature.TEXT, Feature.LOGPROBS}),
    (EmbeddingRequest("m", "a"), {Feature.EMBEDDINGS}),
    (EmbeddingRequest("m", "a", dimensions=8), {Feature.EMBEDDINGS, Feature.DIMENSIONS}),
]
EACH = pytest.mark.parametrize(("request_", "needed"), NEEDS)


@EACH
def test_a_request_needs_what_is_in_it(request_: Request, needed: set[Feature]) -> None:
    always = {Feature.CHAT} if isinstance(request_, CompletionRequest) else set()
    assert set(needs(request_)) == needed | always


def test_every_feature_is_needed_by_some_request() -> None:
    assert {feature for request, _ in NEEDS for feature in needs(request)} == set(Feature)


@EACH
@pytest.mark.parametrize("feature", Feature)
def test_what_a_service_lacks_is_refused_by_name_if_it_is_needed(
    request_: Request, needed: set[Feature], feature: Feature
) -> None:
    del needed
    lacks = {feature: ("does not do that", "Do something else.")}
    if feature not in needs(request_):
        refuse_lacking(request_, lacks, label="Owl", service="owl")
        return
    with pytest.raises(CapabilityNotSupported) as caught:
        refuse_lacking(request_, lacks, label="Owl", service="owl")
    assert str(caught.value) == "Owl does not do that. Do something else."
    assert caught.value.service == "owl"
    assert not caught.value.retryable
