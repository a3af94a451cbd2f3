"""What is asked: one form for each field, and nothing that cannot be right."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from patinox.provider.checks import checked
from patinox.provider.errors import InvalidRequest
from patinox.provider.requests import MAX_TOP_LOGPROBS, GenerationRequest
from patinox.provider.schema import OutputSchema
from patinox.provider.types import CompletionRequest, TextCompletionRequest

Kind = type[CompletionRequest] | type[TextCompletionRequest]
KINDS: list[Kind] = [CompletionRequest, TextCompletionRequest]
BOTH = pytest.mark.parametrize("kind", KINDS)


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def now() -> str:
    """Tell the time."""
    return "12:00"


def made(kind: Kind, **fields: Any) -> CompletionRequest | TextCompletionRequest:  # noqa: ANN401
    """A request with these fields, which need not be right."""
    return kind("m", "x", **fields)


@BOTH
@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("min_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
        ("repeat_penalty", 0.0, 10.0),
    ],
)
def test_a_number_has_its_range(kind: Kind, field: str, lowest: float, highest: float) -> None:
    for good in (lowest, highest, None):
        assert getattr(made(kind, **{field: good}), field) == good
    for bad in (lowest - 0.01, highest + 0.01, math.nan, "1", True):
        with pytest.raises(InvalidRequest, match=f"`{field}` is .+; allowed: a number from"):
            made(kind, **{field: bad})


@BOTH
@pytest.mark.parametrize(("field", "least"), [("max_tokens", 1), ("top_k", 0), ("top_logprobs", 0)])
def test_a_count_is_whole_and_not_too_small(kind: Kind, field: str, least: int) -> None:
    assert getattr(made(kind, **{field: least}), field) == least
    for bad in (least - 1, 1.0, True, "1", 2**63):
        with pytest.raises(InvalidRequest, match=f"`{field}`"):
            made(kind, **{field: bad})


@BOTH
def test_a_seed_is_any_number_of_64_bits(kind: Kind) -> None:
    assert made(kind, seed=-(2**63)).seed == -(2**63)
    with pytest.raises(InvalidRequest, match="`seed` has more than 64 bits"):
        made(kind, seed=2**63)


@BOTH
def test_asking_for_other_tokens_asks_for_probabilities(kind: Kind) -> None:
    assert not made(kind).logprobs
    assert made(kind, top_logprobs=0).logprobs
    assert made(kind, logprobs=True).top_logprobs is None
    with pytest.raises(InvalidRequest, match="`top_logprobs` is 21; allowed: a number from 0 to"):
        made(kind, top_logprobs=MAX_TOP_LOGPROBS + 1)
    with pytest.raises(InvalidRequest, match="`logprobs` is 1; allowed: true or false"):
        made(kind, logprobs=1)


@BOTH
@pytest.mark.parametrize(
    ("given", "kept"), [("x", ("x",)), (["x", "y"], ("x", "y")), (("x",), ("x",)), ((), ())]
)
def test_texts_to_stop_at_have_one_form(kind: Kind, given: Any, kept: Any) -> None:  # noqa: ANN401
    assert made(kind, stop=given).stop == kept


@BOTH
@pytest.mark.parametrize("given", ["", ["x", ""]])
def test_an_empty_text_to_stop_at_is_refused(kind: Kind, given: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="A `stop` text is empty"):
        made(kind, stop=given)


@BOTH
@pytest.mark.parametrize("field", ["on_overflow", "on_mismatch"])
def test_a_choice_is_one_of_its_words(kind: Kind, field: str) -> None:
    assert (made(kind).on_overflow, made(kind).on_mismatch) == ("warn", "refuse")
    with pytest.raises(InvalidRequest, match=f"`{field}` is 'perhaps'; allowed: .*refuse"):
        made(kind, **{field: "perhaps"})


@BOTH
def test_options_in_the_servers_words_are_a_mapping(kind: Kind) -> None:
    assert made(kind, options={"mirostat": 2}).words_for("ollama") == {"mirostat": 2}
    with pytest.raises(InvalidRequest, match="`options` must be a mapping, not list"):
        made(kind, options=[("mirostat", 2)])


@BOTH
def test_deadlines_are_seconds_by_the_name_of_their_phase(kind: Kind) -> None:
    assert made(kind, deadlines={"idle": 0.5, "first_token": 86_400}).deadlines["idle"] == 0.5
    with pytest.raises(InvalidRequest, match="`deadlines` has 'idel'; allowed: connect, "):
        made(kind, deadlines={"idel": 1})
    for bad in (0, -1, 86_401, math.nan, True, "1", None):
        with pytest.raises(InvalidRequest, match="no seconds for 'idle'; allowed: above 0 to 8640"):
            made(kind, deadlines={"idle": bad})
    with pytest.raises(InvalidRequest, match="`deadlines` must be a mapping, not float"):
        made(kind, deadlines=1.0)


@pytest.mark.parametrize(
    ("request_", "said"),
    [("Hi", "A request is a CompletionRequest, not str"), (None, "not NoneType")],
)
def test_what_is_no_request_is_refused_with_how_to_write_one(request_: object, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        checked(request_, CompletionRequest)
    assert str(caught.value).endswith('Write CompletionRequest("model", ...).')


@pytest.mark.parametrize("think", [None, True, False, "low", "max", "xhigh"])
def test_how_much_to_think_is_said_in_the_models_own_words(think: Any) -> None:  # noqa: ANN401
    assert CompletionRequest("m", "x", think=think).think == think


@pytest.mark.parametrize(
    ("think", "said"), [("", "`think` is empty"), (1, "`think` must be text, not int")]
)
def test_what_is_no_way_to_think_is_refused(think: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=said):
        CompletionRequest("m", "x", think=think)


def test_functions_become_tools_once() -> None:
    request = CompletionRequest("m", "x", tools=[add, now])
    assert [tool.name for tool in request.tools] == ["add", "now"]
    assert replace(request, temperature=0.0).tools == request.tools


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        (None, ["add", "now"]),
        ("auto", ["add", "now"]),
        ("required", ["add", "now"]),
        ("now", ["add", "now"]),
        ("none", []),
    ],
)
def test_a_model_that_shall_call_nothing_is_told_of_no_tools(
    choice: str | None, offered: list[str]
) -> None:
    request = CompletionRequest("m", "x", tools=[add, now], tool_choice=choice)
    assert [tool.name for tool in request.offered_tools] == offered


@pytest.mark.parametrize(
    ("choice", "tools"), [("subtract", [add]), ("required", []), (True, [add]), ("AUTO", [add])]
)
def test_a_tool_that_is_not_there_cannot_be_chosen(choice: Any, tools: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=r"`tool_choice` is .+; allowed: .*none"):
        CompletionRequest("m", "x", tools=tools, tool_choice=choice)


def test_a_type_becomes_a_schema_once() -> None:
    request = CompletionRequest("m", "x", schema=list[int])
    assert isinstance(request.schema, OutputSchema)
    assert replace(request, temperature=0.0).schema is request.schema


def test_tools_and_a_schema_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="`tools` and `schema` exclude each other"):
        CompletionRequest("m", "x", tools=[add], schema=list[int])


@pytest.mark.parametrize(
    ("prompt", "suffix"), [("Once", None), ("Once", ""), ("", "end"), ("a", "b")]
)
def test_a_text_has_a_beginning_or_an_end(prompt: str, suffix: str | None) -> None:
    request = TextCompletionRequest("ollama::m", prompt, suffix)
    assert (request.prompt, request.suffix) == (prompt, suffix)
    assert request.model.provider_hint == "ollama"


@pytest.mark.parametrize(
    ("prompt", "suffix", "said"),
    [
        ("", None, "There is no text to go on with"),
        ("", "", "There is no text to go on with"),
        (None, None, "The prompt must be text, not NoneType"),
        (["Once"], None, "The prompt must be text, not list"),
        ("Once", 7, "The suffix must be text, not int"),
    ],
)
def test_what_is_no_text_is_refused(prompt: Any, suffix: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=said):
        TextCompletionRequest("m", prompt, suffix)


def test_a_request_shows_nothing_of_what_was_said() -> None:
    secret = "hunter2"
    text = TextCompletionRequest("m", secret, secret, temperature=0.0)
    assert repr(text) == "<TextCompletionRequest to m: 7 characters>"
    assert secret not in repr(CompletionRequest("m", secret, stop=secret))


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
FIELDS = st.sampled_from(GenerationRequest.__struct_fields__)


@settings(max_examples=300)
@given(st.dictionaries(FIELDS, ANY | st.lists(ANY, max_size=2), max_size=4))
def test_any_fields_make_a_request_or_an_error_of_ours(fields: dict[str, Any]) -> None:
    try:
        request = TextCompletionRequest("m", "Once", **fields)
    except InvalidRequest as error:
        assert error.message  # noqa: PT017  what is not raised is checked as well
    else:
        assert replace(request) == request
