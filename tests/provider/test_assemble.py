import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.assemble import Assembler
from patinox.provider.types import (
    CompletionResponse,
    LogprobsDelta,
    ReasoningDelta,
    ReasoningImplied,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


def fold(*events: StreamEvent) -> CompletionResponse:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.response()


def test_an_answer_is_the_sum_of_its_events() -> None:
    response = fold(
        ResponseStarted(
            model="m", id="c1", created=7, service="ollama", reason="preferred", attempts=("a: b",)
        ),
        ReasoningDelta("Hm"),
        TextDelta("Hel"),
        ReasoningDelta("."),
        TextDelta("lo"),
        ToolCallDelta(index=0, id="x", name="f", arguments='{"a":'),
        ToolCallDelta(index=0, arguments="1}"),
        ResponseFinished(
            finish_reason="tool_calls",
            usage=Usage(prompt_tokens=3),
            timings=Timings(total_seconds=1.0),
        ),
    )
    assert (response.model, response.id, response.created) == ("m", "c1", 7)
    assert (response.service, response.reason) == ("ollama", "preferred")
    assert response.attempts == ("a: b",)
    assert (response.text, response.reasoning) == ("Hello", "Hm.")
    assert response.tool_calls == (ToolCall("x", "f", '{"a":1}'),)
    assert response.finish_reason == "tool_calls"
    assert response.usage == Usage(prompt_tokens=3)
    assert response.timings == Timings(total_seconds=1.0)
    (choice,) = response.choices
    assert (choice.index, choice.message.role) == (0, "assistant")


def test_calls_are_joined_by_index_and_told_in_its_order() -> None:
    response = fold(
        ToolCallDelta(index=2, id="c", name="h", arguments="{"),
        ToolCallDelta(index=0, name="f"),
        ToolCallDelta(index=2, id="ignored", name="ignored", arguments="}"),
        ToolCallDelta(index=0, id="a", arguments="{}"),
    )
    assert response.tool_calls == (ToolCall("a", "f", "{}"), ToolCall("c", "h", "{}"))


@pytest.mark.parametrize("missing", [None, ""])
def test_a_call_without_an_id_is_given_one(missing: str | None) -> None:
    response = fold(
        ToolCallDelta(index=0, id=missing, name="f"), ToolCallDelta(index=1, id=missing, name="g")
    )
    assert [call.id for call in response.tool_calls] == ["call_0", "call_1"]


def test_a_call_without_a_name_has_none() -> None:
    assert fold(ToolCallDelta(index=0)).tool_calls == (ToolCall("call_0", "", ""),)


def test_the_answer_so_far_can_be_asked_for_at_any_time() -> None:
    assembler = Assembler()
    assert (assembler.text, assembler.reasoning, assembler.tool_calls) == ("", "", ())
    assert assembler.response().model == ""
    assert assembler.response().finish_reason is None
    assembler.add(TextDelta("a"))
    assert assembler.text == assembler.response().text == "a"
    assembler.add(TextDelta("b"))
    assert assembler.text == assembler.response().text == "ab"


def test_an_event_of_a_new_kind_changes_nothing() -> None:
    assert fold(TextDelta("a"), StreamEvent()) == fold(TextDelta("a"))


@settings(max_examples=50)
@given(st.lists(st.text(max_size=4)))
def test_where_the_text_was_cut_does_not_matter(parts: list[str]) -> None:
    assert fold(*map(TextDelta, parts)) == fold(TextDelta("".join(parts)))
    assert fold(*map(ReasoningDelta, parts)) == fold(ReasoningDelta("".join(parts)))
    calls = (ToolCallDelta(index=0, arguments=part) for part in ("", *parts))
    assert fold(*calls) == fold(ToolCallDelta(index=0, arguments="".join(parts)))


def test_all_text_before_a_late_sign_was_reasoning() -> None:
    assembler = Assembler()
    assembler.extend([TextDelta("hm"), TextDelta("m"), ReasoningImplied(), TextDelta("Yes.")])
    assert (assembler.reasoning, assembler.text) == ("hmm", "Yes.")


def test_probabilities_are_joined_in_their_order() -> None:
    one, two = TokenLogprob("a", -0.5), TokenLogprob("b", -0.25, b"b", (TokenLogprob("c", -2.0),))
    assembler = Assembler()
    assembler.extend([LogprobsDelta((one,)), TextDelta("a"), LogprobsDelta((two,)), TextDelta("b")])
    response = assembler.response()
    assert response.logprobs == response.choices[0].logprobs == (one, two)
