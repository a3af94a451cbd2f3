from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import InvalidRequest
from patinox.provider.types import (
    CompletionChoice,
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    QualityTier,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    Source,
    SpeedTier,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

NAN = float("nan")
INFINITE = float("inf")
ONE = CompletionMessage.user("Hi")

# Model names.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen3:4b", ModelId("qwen3:4b")),
        ("ollama::qwen3:4b", ModelId("qwen3:4b", "ollama")),
        (" ollama :: qwen3:4b ", ModelId("qwen3:4b", "ollama")),
        ("ollama@127.0.0.1:11500::m", ModelId("m", "ollama@127.0.0.1:11500")),
        ("a::b::c", ModelId("b::c", "a")),
        ("hf.co/org/repo:Q4_K_M", ModelId("hf.co/org/repo:Q4_K_M")),
        (ModelId("m", "s"), ModelId("m", "s")),
    ],
)
def test_a_model_is_named_alone_or_after_its_service(
    text: str | ModelId, expected: ModelId
) -> None:
    assert ModelId.parse(text) == expected


@pytest.mark.parametrize("text", ["", " ", "::", "ollama::", "::m", " ::m", "ollama:: ", "\n"])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is empty") as caught:
        ModelId.parse(text)
    assert str(caught.value).endswith("Write `model` or `service::model`.")


@pytest.mark.parametrize(("name", "hint"), [("", None), (" ", "s"), ("m", "")])
def test_an_empty_name_cannot_be_made(name: str, hint: str | None) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        ModelId(name, hint)


@pytest.mark.parametrize("text", [None, 7, b"m", ["m"]])
def test_a_name_that_is_no_text_is_refused(text: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=f"must be text, not {type(text).__name__}"):
        ModelId.parse(text)


PART = st.text("ab:/@. é", min_size=1).map(str.strip).filter(bool)


@settings(max_examples=80)
@given(PART, st.none() | PART.filter(lambda hint: "::" not in f"{hint}:"))
def test_what_is_printed_is_read_back(name: str, hint: str | None) -> None:
    if hint is None and "::" in name:
        return
    model = ModelId(name, hint)
    assert ModelId.parse(str(model)) == model
    assert str(ModelId.parse(str(model))) == str(model)


def test_names_can_be_sorted_and_kept_in_sets() -> None:
    names = {ModelId("b"), ModelId("a"), ModelId("a")}
    assert sorted(names) == [ModelId("a"), ModelId("b")]


# What is known of models.


def test_tiers_are_ordered() -> None:
    assert QualityTier.BASIC < QualityTier.STANDARD < QualityTier.PREMIUM
    assert SpeedTier.THOUGHTFUL < SpeedTier.BALANCED < SpeedTier.FAST


def test_what_nobody_told_is_unknown_and_from_nowhere() -> None:
    capabilities = ModelCapabilities()
    facts = msgspec.structs.asdict(capabilities)
    assert facts.pop("sources") == {}
    assert set(facts.values()) == {None}
    assert capabilities.source("supports_chat") is Source.UNKNOWN


def test_a_fact_tells_where_it_was_learnt() -> None:
    capabilities = ModelCapabilities(supports_chat=True, sources={"supports_chat": Source.NAME})
    assert capabilities.source("supports_chat") is Source.NAME
    assert capabilities.source("max_tokens") is Source.UNKNOWN


def test_a_model_is_spelled_with_its_service() -> None:
    info = ModelInfo(id="qwen3:4b", service="ollama")
    assert str(info.model_id) == "ollama::qwen3:4b"
    assert (info.loaded, info.remote, info.demo) == (None, False, False)


# Messages.


@pytest.mark.parametrize(
    ("made", "role"),
    [
        (CompletionMessage.system("x"), "system"),
        (CompletionMessage.user("x"), "user"),
        (CompletionMessage.assistant("x"), "assistant"),
        (CompletionMessage.of("x"), "user"),
        (CompletionMessage.of({"role": "system", "content": "x"}), "system"),
        (CompletionMessage.of(MappingProxyType({"role": "user", "content": "x"})), "user"),
    ],
)
def test_a_message_has_a_role_and_a_text(made: CompletionMessage, role: str) -> None:
    assert made == CompletionMessage(role=role, content="x")
    assert CompletionMessage.of(made) is made


def test_a_message_of_plain_values_may_have_calls() -> None:
    message = CompletionMessage.of(
        {"role": "assistant", "tool_calls": [{"id": "1", "name": "f", "arguments": "{}"}]}
    )
    assert message.tool_calls == (ToolCall("1", "f", "{}"),)


@pytest.mark.parametrize("role", ["", "User", "alien", None, 3])
def test_a_role_that_no_server_knows_is_refused(role: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="allowed: system, user, assistant, tool"):
        CompletionMessage(role=role)


@pytest.mark.parametrize("content", [None, 3, b"x", {"x"}])
def test_content_that_is_no_text_is_refused(content: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="The content of a message must be text, not "):
        CompletionMessage(role="user", content=content)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        b"Hi",
        ["user", "Hi"],
        {},
        {"role": "alien"},
        {"content": "Hi"},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "text", "words": "Hi"}]},
        {"role": "user", "content": [3]},
        {"role": "user", "text": "Hi"},
        {"role": "user", "tool_calls": [{"id": "1"}]},
        {3: "user"},
    ],
)
def test_what_is_no_message_is_refused(value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest):
        CompletionMessage.of(value)


def test_a_field_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"a string or has `role` and `content`: .*`text`"):
        CompletionMessage.of({"role": "user", "text": "Hi"})


# Requests.


def test_a_request_is_brought_into_one_form() -> None:
    request = CompletionRequest("ollama::m", "Hi", stop="END")
    assert request.model == ModelId("m", "ollama")
    assert request.messages == (ONE,)
    assert request.stop == ("END",)
    assert request == CompletionRequest(
        ModelId("m", "ollama"), [{"role": "user", "content": "Hi"}], stop=["END"]
    )
    mixed = CompletionRequest("m", ["Hi", ONE, {"role": "assistant", "content": "Ho"}])
    assert mixed.messages == (ONE, ONE, CompletionMessage.assistant("Ho"))


def test_the_ends_of_the_ranges_are_allowed() -> None:
    low = CompletionRequest("m", "Hi", temperature=0, top_p=0, max_tokens=1, seed=-1, timeout=1e-9)
    assert (low.temperature, low.top_p, low.max_tokens, low.seed) == (0, 0, 1, -1)
    high = CompletionRequest("m", "Hi", temperature=2, top_p=1.0, options={"top_k": 1})
    assert (high.temperature, high.top_p, high.options) == (2, 1.0, {"top_k": 1})
    assert EmbeddingRequest("m", "Hi", dimensions=1, timeout=5).dimensions == 1


WRONG: dict[str, list[Any]] = {
    "temperature": [-0.1, 2.1, NAN, INFINITE, True, "1", []],
    "top_p": [-0.1, 1.1, NAN, False, "1"],
    "max_tokens": [0, -1, 1.0, True, "1"],
    "seed": [1.5, True, "1"],
    "timeout": [0, -1, NAN, INFINITE, True, "1"],
    "stop": [3, None, [3], ["a", None], {"a"}],
    "options": [None, 3, "a", [("a", 1)]],
    "messages": [(), [], None, 3, {"role": "user"}, b"Hi"],
    "model": ["", "ollama::", None, 3],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_request_that_cannot_be_right_cannot_be_made(
    field: str,
    value: Any,  # noqa: ANN401
) -> None:
    right: dict[str, Any] = {"model": "m", "messages": "Hi"}
    with pytest.raises(InvalidRequest):
        CompletionRequest(**{**right, field: value})
    with pytest.raises(InvalidRequest):
        msgspec.structs.replace(CompletionRequest(**right), **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("temperature", 3, "`temperature` is 3; allowed: a number from 0 to 2."),
        ("max_tokens", 0, "`max_tokens` is 0; allowed: a whole number from 1."),
        ("seed", 1.5, "`seed` is 1.5; allowed: a whole number."),
        ("seed", 2**64, "`seed` has more than 64 bits; allowed: a whole number of up to 64."),
        ("timeout", "1", "`timeout` is '1'; allowed: seconds above 0, up to 1e+09."),
        ("stop", [3], "Each item of `stop` must be text, not int."),
        ("messages", 3, "`messages` must be text or a list, not int."),
        ("messages", [], "There are no messages: a request needs at least one."),
        ("options", 3, "`options` must be a mapping, not int."),
    ],
)
def test_a_refusal_names_the_field_its_value_and_what_is_allowed(
    field: str,
    value: Any,  # noqa: ANN401
    allowed: str,
) -> None:
    right: dict[str, Any] = {"model": "m", "messages": "Hi"}
    with pytest.raises(InvalidRequest) as caught:
        CompletionRequest(**{**right, field: value})
    assert str(caught.value) == allowed


def test_texts_to_embed_are_brought_into_one_form() -> None:
    assert EmbeddingRequest("m", "Hi") == EmbeddingRequest(ModelId("m"), ["Hi"])
    assert EmbeddingRequest("m", ["b", "a"]).input == ("b", "a")


WRONG_TEXTS: dict[str, list[Any]] = {
    "input": ["", [], [""], ["a", ""], None, 3, [3], b"Hi"],
    "dimensions": [0, -1, 1.0, True],
    "timeout": [0, INFINITE],
    "model": ["", None],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG_TEXTS.items() for value in values],
)
def test_texts_that_cannot_be_embedded_are_refused(
    field: str,
    value: Any,  # noqa: ANN401
) -> None:
    right: dict[str, Any] = {"model": "m", "input": "Hi"}
    with pytest.raises(InvalidRequest):
        EmbeddingRequest(**{**right, field: value})


def test_no_text_and_an_empty_text_are_told_apart() -> None:
    with pytest.raises(InvalidRequest, match="There is no text to embed"):
        EmbeddingRequest("m", [])
    with pytest.raises(InvalidRequest, match="A text to embed is empty"):
        EmbeddingRequest("m", ["a", ""])


# What is private stays private.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (CompletionMessage.user("secret"), "<CompletionMessage user: 6 characters>"),
        (
            CompletionRequest("ollama::m", ["secret", "secret"], options={"secret": 1}),
            "<CompletionRequest to ollama::m: 2 messages>",
        ),
        (EmbeddingRequest("m", ["secret"] * 3), "<EmbeddingRequest to m: 3 texts>"),
    ],
)
def test_what_was_said_is_not_shown(value: object, shown: str) -> None:
    assert repr(value) == str(value) == shown
    assert "secret" not in repr([value])


def test_a_refusal_does_not_show_what_was_said() -> None:
    wrong: list[Mapping[str, Any]] = [
        {"role": "user", "content": [{"secret": "secret"}]},
        {"role": "user", "content": {"secret": 1}},
    ]
    for value in wrong:
        with pytest.raises(InvalidRequest) as caught:
            CompletionMessage.of(value)
        assert "secret" not in str(caught.value)


# Answers.


def test_an_answer_is_read_from_its_first_choice() -> None:
    call = ToolCall("1", "f", "{}")
    message = CompletionMessage(role="assistant", content="a", reasoning="b", tool_calls=(call,))
    response = CompletionResponse(
        model="m", choices=(CompletionChoice(message=message, finish_reason="stop"),)
    )
    assert (response.text, response.reasoning, response.tool_calls) == ("a", "b", (call,))
    assert (response.finish_reason, response.usage) == ("stop", Usage())


def test_only_a_piece_of_text_has_text() -> None:
    others = [
        StreamEvent(),
        ResponseStarted(model="m"),
        ReasoningDelta("hm"),
        ToolCallDelta(index=0, arguments="{}"),
        ResponseFinished(),
    ]
    assert [event.text for event in others] == [""] * 5
    assert TextDelta("hi").text == "hi"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (ONE, "content"),
        (CompletionRequest("m", "Hi"), "model"),
        (ModelId("m"), "name"),
        (TextDelta("a"), "content"),
        (EmbeddingResponse(model="m", embeddings=EmbeddingMatrix.from_rows([[1.0]])), "model"),
    ],
)
def test_values_are_never_changed(value: object, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, "other")
