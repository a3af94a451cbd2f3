"""What can be known of a request before it is sent: abilities, its length, what was cut."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.errors import CapabilityNotSupported, ContextLengthExceeded
from patinox.provider.images import Image
from patinox.provider.local.features import Prompt, Request
from patinox.provider.local.preflight import (
    Fit,
    estimate_tokens,
    fit,
    refuse,
    said_in,
    schema_in,
)
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    ModelCapabilities,
    ModelInfo,
    TextCompletionRequest,
    ToolCall,
    Usage,
)

PICTURE = Image(b"GIF89a")
LONG = "word " * 1000  # 5,000 bytes


def now() -> str:
    """Tell the time."""
    return "12:00"


def model(**abilities: Any) -> ModelInfo:  # noqa: ANN401
    return ModelInfo(id="m", service="owl", capabilities=ModelCapabilities(**abilities))


NEEDS: list[tuple[str, Request, str]] = [
    ("supports_chat", CompletionRequest("m", "Hi"), "does not chat"),
    ("supports_thinking", CompletionRequest("m", "Hi", think="low"), "does not reason"),
    ("supports_tools", CompletionRequest("m", "Hi", tools=[now]), "does not call tools"),
    (
        "supports_vision",
        CompletionRequest("m", [CompletionMessage.user([PICTURE])]),
        "does not see pictures",
    ),
    ("supports_completions", TextCompletionRequest("m", "Hi"), "does not go on with a text"),
    ("supports_insert", TextCompletionRequest("m", "Hi", "."), "does not fill in the middle"),
    ("supports_embeddings", EmbeddingRequest("m", "Hi"), "makes no embeddings"),
]


@pytest.mark.parametrize(("ability", "request_", "said"), NEEDS)
def test_a_model_known_to_lack_an_ability_is_not_asked(
    ability: str, request_: Request, said: str
) -> None:
    for known in (True, None):
        refuse(request_, model(**{ability: known}), label="Owl", service="owl")
    with pytest.raises(CapabilityNotSupported) as caught:
        refuse(request_, model(**{ability: False}), label="Owl", service="owl")
    assert f"'m' on Owl {said}" in caught.value.message
    assert "patinox models" in str(caught.value.hint)


@pytest.mark.parametrize(
    "fields", [{"think": False}, {"tools": [now], "tool_choice": "none"}, {"tools": []}]
)
def test_what_is_asked_not_to_be_done_needs_no_ability(fields: dict[str, Any]) -> None:
    cannot = model(supports_thinking=False, supports_tools=False)
    refuse(CompletionRequest("m", "Hi", **fields), cannot, label="Owl", service="owl")


CALLED = CompletionMessage(
    role="assistant", content="a", reasoning="b", tool_calls=(ToolCall("1", "f", "{}"),)
)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (CompletionRequest("m", ["a", "b"]), ["a", "b"]),
        (CompletionRequest("m", [CALLED, "c"]), ["a", "c", "b", "{}"]),
        (TextCompletionRequest("m", "a", "b"), ["a", "b"]),
        (TextCompletionRequest("m", "a"), ["a", ""]),
        (EmbeddingRequest("m", ["a", "b"]), ["a", "b"]),
    ],
)
def test_the_texts_of_a_request_are_known(request_: Request, said: list[str]) -> None:
    assert said_in(request_) == said


def test_only_a_conversation_can_have_a_schema() -> None:
    request = CompletionRequest("m", "Hi", schema=int)
    assert schema_in(request) is request.schema is not None
    assert schema_in(TextCompletionRequest("m", "Hi")) is None


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (TextCompletionRequest("m", "four" * 10), 10),
        (TextCompletionRequest("m", "four", "five!"), 3),
        (TextCompletionRequest("m", "\U0001f980\U0001f980"), 2),
        (TextCompletionRequest("m", "\ud800"), 1),
        (CompletionRequest("m", ["four", "four"]), 2 + 2 * 4),
        (CompletionRequest("m", [CompletionMessage.user(["four", PICTURE])]), 1 + 4 + 768),
        (
            CompletionRequest("m", [CompletionMessage(role="assistant", reasoning="four")]),
            1 + 4,
        ),
        (
            CompletionRequest(
                "m",
                [CompletionMessage(role="assistant", tool_calls=(ToolCall("c", "f", '{"a":1}'),))],
            ),
            2 + 4,
        ),
    ],
)
def test_a_prompt_is_estimated_by_its_bytes(request_: Prompt, tokens: int) -> None:
    assert estimate_tokens(request_) == tokens


def test_tools_are_a_part_of_the_prompt_if_they_are_offered() -> None:
    plain = estimate_tokens(CompletionRequest("m", "Hi"))
    assert estimate_tokens(CompletionRequest("m", "Hi", tools=[now])) > plain + 10
    unused = CompletionRequest("m", "Hi", tools=[now], tool_choice="none")
    assert estimate_tokens(unused) == plain


@settings(max_examples=100)
@given(st.text(max_size=50), st.text(max_size=50))
def test_a_longer_prompt_is_never_estimated_shorter(head: str, tail: str) -> None:
    longer = estimate_tokens(CompletionRequest("m", head + tail))
    assert longer >= estimate_tokens(CompletionRequest("m", head)) >= 4


@pytest.mark.parametrize(
    ("loaded", "trained", "words", "context"),
    [
        (None, None, {}, None),
        (4096, 8192, {}, 4096),
        (4096, 8192, {"num_ctx": 2048}, 2048),
        (None, 8192, {"num_ctx": 2048}, 2048),
        (4096, 8192, {"num_ctx": 999_999}, 8192),
        (4096, None, {"num_ctx": 999_999}, 999_999),
        (4096, 8192, {"num_ctx": "2048"}, 4096),
    ],
)
def test_the_context_is_what_is_asked_for_else_what_is_loaded(
    loaded: int | None, trained: int | None, words: dict[str, Any], context: int | None
) -> None:
    info = ModelInfo(id="m", service="owl", loaded_context_length=loaded, context_length=trained)
    seems = fit(TextCompletionRequest("m", LONG), info, words, label="Owl", cuts=True)
    assert seems == Fit(tokens=1250, texts=1250, context=context, place="'m' on Owl")


@pytest.mark.parametrize(
    ("cuts", "words"), [(False, {}), (True, {"truncate": False}), (False, {"truncate": True})]
)
def test_a_server_that_refuses_what_is_too_long_is_left_to_judge(
    words: dict[str, Any], *, cuts: bool
) -> None:
    info = ModelInfo(id="m", service="owl", loaded_context_length=100)
    request = TextCompletionRequest("m", LONG, on_overflow="refuse")
    left = fit(request, info, words, label="Owl", cuts=cuts)
    assert left.exceeds
    assert left.before(request) == left.after(Usage(prompt_tokens=100)) == ()


def seems(context: int | None, *, tokens: int = 1250, texts: int | None = None) -> Fit:
    return Fit(tokens=tokens, texts=texts or tokens, context=context, place="'m' on Owl")


@pytest.mark.parametrize("context", [None, 1250, 4096])
@pytest.mark.parametrize("on_overflow", ["warn", "refuse", "ignore"])
def test_a_prompt_that_seems_to_fit_passes(context: int | None, on_overflow: str) -> None:
    request = TextCompletionRequest("m", LONG, on_overflow=on_overflow)
    assert seems(context).before(request) == ()


def test_a_prompt_that_seems_too_long_is_warned_of_refused_or_let_pass() -> None:
    (warning,) = seems(1249).before(TextCompletionRequest("m", LONG))
    assert warning == (
        "The prompt has about 1,250 tokens, but 'm' on Owl has a context of 1,249:"
        " the server may cut it."
    )
    assert seems(1249).before(TextCompletionRequest("m", LONG, on_overflow="ignore")) == ()
    with pytest.raises(ContextLengthExceeded, match=r"a context of 1,249\.") as caught:
        seems(1249).before(TextCompletionRequest("m", LONG, on_overflow="refuse"))
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (1250, 1249)
    assert "longer context" in str(caught.value)


@pytest.mark.parametrize(
    ("fits", "read", "cut"),
    [
        (seems(None), 1250, False),
        (seems(None), 417, False),
        (seems(None), 416, True),
        (seems(None), None, False),
        (seems(4096), 1000, False),
        (seems(1000), 1000, True),
        (seems(1000), 1001, False),
        (seems(None, tokens=255), 1, False),
        (seems(None, tokens=256), 1, True),
        (seems(None, tokens=1036, texts=268), 100, False),  # a picture that costs little
    ],
)
def test_what_the_server_read_tells_whether_it_cut(
    fits: Fit, read: int | None, *, cut: bool
) -> None:
    warnings = fits.after(Usage(prompt_tokens=read))
    assert bool(warnings) is cut
    if cut:
        assert warnings[0].endswith("it seems to have cut it.")


@pytest.mark.parametrize("tokens", [1, 1250])
def test_a_prompt_that_fills_the_context_to_the_last_token_is_suspect(tokens: int) -> None:
    (warning,) = seems(2048, tokens=tokens).after(Usage(prompt_tokens=2048))
    assert warning == "The prompt fills the whole context of 2,048: it may have been cut."
    assert seems(2048, tokens=tokens).after(Usage(prompt_tokens=2047)) == ()
