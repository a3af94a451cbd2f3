"""Payloads of LM Studio, llama.cpp and Ollama's compatible route."""

import base64
import json
import struct
from typing import Any

import pytest

from patinox.provider.errors import ProviderError
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.dialects.openai_reply import MAX_DOCUMENT
from patinox.provider.local.errors import (
    ModelNotFound,
    ParseError,
    ResponseTooLarge,
    ServiceError,
    StreamInterrupted,
)
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    LogprobsDelta,
    ReasoningDelta,
    ResponseFinished,
    ResponseStarted,
    StreamEvent,
    TextCompletionRequest,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

DIALECT = OpenAIDialect()
QUESTION = CompletionRequest("m", "Hi")
PROBABLY = CompletionRequest("m", "Hi", logprobs=True)
LINE = 8 * 2**20  # bytes that an event may have
STARTED = ResponseStarted(model="acme/owl-4b", id="chatcmpl-1", created=1790036050)
Json = dict[str, Any]


def decoded(data: str | bytes, dialect: OpenAIDialect = DIALECT) -> list[StreamEvent]:
    decoder = dialect.decoder(QUESTION)
    data = data.encode() if isinstance(data, str) else data
    events = list[StreamEvent]()
    decoder.feed(data, events)
    decoder.close(events)
    return events


def failing(data: str, dialect: OpenAIDialect = DIALECT) -> tuple[list[StreamEvent], ProviderError]:
    decoder, events = dialect.decoder(QUESTION), list[StreamEvent]()
    with pytest.raises(ProviderError) as caught:  # noqa: PT012  what came before it counts too
        decoder.feed(data.encode(), events)
        decoder.close(events)
    return events, caught.value


def frame(chunk: Json) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


def chunk(delta: Json, reason: str | None = None, **more: object) -> str:
    return frame(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1790036050,
            "model": "acme/owl-4b",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
            **more,
        }
    )


def ending(**more: object) -> str:
    return frame({"model": "acme/owl-4b", "choices": [], **more})


DONE = "data: [DONE]\n\n"


def finished(events: list[StreamEvent]) -> ResponseFinished:
    last = events[-1]
    assert isinstance(last, ResponseFinished)
    return last


def deltas(events: list[StreamEvent]) -> list[StreamEvent]:
    return [e for e in events if not isinstance(e, ResponseStarted | ResponseFinished)]


def test_lm_studios_stream_is_reasoning_then_text_then_usage() -> None:
    usage = {
        "prompt_tokens": 17,
        "completion_tokens": 4,
        "total_tokens": 21,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    stream = (
        chunk({"role": "assistant", "reasoning_content": "Think"})
        + chunk({"content": "Hi"})
        + chunk({}, "stop")
        + ending(usage=usage)
        + DONE
    )
    assert decoded(stream) == [
        STARTED,
        ReasoningDelta("Think"),
        TextDelta("Hi"),
        ResponseFinished(
            finish_reason="stop",
            usage=Usage(prompt_tokens=17, completion_tokens=4, total_tokens=21, reasoning_tokens=2),
        ),
    ]


def test_llama_cpps_stream_is_timed_by_the_server() -> None:
    timings = {"cache_n": 18, "prompt_n": 1, "prompt_ms": 250.0, "predicted_n": 3}
    timings |= {"predicted_ms": 150.0}
    usage = {"completion_tokens": 3, "prompt_tokens": 19, "total_tokens": 22}
    stream = (
        chunk({"role": "assistant", "content": None})
        + chunk({"content": "3"})
        + chunk({}, "length")
        + ending(usage={**usage, "prompt_tokens_details": {"cached_tokens": 18}}, timings=timings)
        + DONE
    )
    assert finished(decoded(stream)) == ResponseFinished(
        finish_reason="length",
        usage=Usage(prompt_tokens=19, completion_tokens=3, total_tokens=22, cached_tokens=18),
        timings=Timings(prompt_seconds=0.25, tokens_per_second=20.0, measured_by="server"),
    )


def test_usage_and_timings_may_sit_on_any_chunk() -> None:
    stream = (
        chunk({"content": "a"}, usage={"prompt_tokens": 1}, timings={"prompt_ms": 1.0})
        + chunk({}, "stop", usage={"prompt_tokens": 2}, timings={"prompt_ms": 2000})
        + ending()
        + DONE
    )
    end = finished(decoded(stream))
    assert (end.usage, end.timings) == (Usage(prompt_tokens=2), Timings(prompt_seconds=2.0))


@pytest.mark.parametrize(
    "timings",
    [
        {"predicted_n": 2},
        {"predicted_n": 2, "predicted_ms": None, "prompt_ms": None},
        {"predicted_n": 2, "predicted_ms": 0},
        {"predicted_n": 0, "predicted_ms": 5},
        {"predicted_n": 2, "predicted_ms": -5, "prompt_ms": -5},
        {"predicted_n": 2, "predicted_ms": 1e-322},
        {},
    ],
)
def test_what_cannot_be_is_unknown(timings: Json) -> None:
    assert finished(decoded(chunk({}, "stop", timings=timings) + DONE)).timings == Timings()


@pytest.mark.parametrize(("stats", "speed"), [({"tokens_per_second": 51.7}, 51.7), ({}, None)])
def test_lm_studios_own_speed_is_taken_where_it_tells_one(stats: Json, speed: float | None) -> None:
    timings = finished(decoded(chunk({}, "stop", stats=stats) + DONE)).timings
    assert timings.tokens_per_second == speed
    assert timings.measured_by == ("server" if speed else None)


def test_a_speed_that_was_measured_goes_before_one_that_was_told() -> None:
    numbers = {"timings": {"predicted_n": 1, "predicted_ms": 100}}
    end = finished(decoded(chunk({}, "stop", stats={"tokens_per_second": 1.0}, **numbers) + DONE))
    assert end.timings.tokens_per_second == 10.0


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(key: str) -> None:
    stream = chunk({key: "Hm", "content": "Hi"}) + chunk({}, "stop") + DONE
    assert deltas(decoded(stream)) == [ReasoningDelta("Hm"), TextDelta("Hi")]


def test_empty_pieces_are_no_events() -> None:
    stream = (
        chunk({"role": "assistant"})
        + chunk({"content": "", "reasoning_content": "", "tool_calls": []})
        + chunk({"content": None, "reasoning": None, "tool_calls": None})
        + frame({"choices": None, "usage": None, "timings": None, "stats": None, "error": None})
        + frame({"choices": [{"index": 0, "delta": None}]})
        + chunk({}, "stop")
        + DONE
    )
    assert decoded(stream) == [STARTED, ResponseFinished(finish_reason="stop")]


def test_a_call_comes_in_pieces() -> None:
    stream = (
        chunk(
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "519801730",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": ""},
                    }
                ]
            }
        )
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]})
        + chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]})
        + chunk({}, "tool_calls")
        + DONE
    )
    assert decoded(stream) == [
        STARTED,
        ToolCallDelta(index=0, id="519801730", name="get_weather"),
        ToolCallDelta(index=0, arguments='{"city":'),
        ToolCallDelta(index=0, arguments='"Oslo"}'),
        ResponseFinished(finish_reason="tool_calls"),
    ]


def test_calls_are_told_apart_by_index_else_by_their_place() -> None:
    stream = (
        chunk({"tool_calls": [{"function": {"name": "f"}}, {"function": {"name": "g"}}]})
        + chunk({"tool_calls": [{"index": 1, "function": {"arguments": "{"}}, {"index": 0}]})
        + chunk({}, "tool_calls")
        + DONE
    )
    assert deltas(decoded(stream)) == [
        ToolCallDelta(index=0, name="f"),
        ToolCallDelta(index=1, name="g"),
        ToolCallDelta(index=1, arguments="{"),
        ToolCallDelta(index=0),
    ]


def test_without_index_another_id_is_another_call() -> None:
    def pieces(*calls: tuple[str | None, str]) -> str:
        return chunk(
            {"tool_calls": [{"id": name, "function": {"arguments": text}} for name, text in calls]}
        )

    stream = (
        pieces(("a", '{"x":'))
        + pieces((None, "1}"))
        + pieces(("b", '{"y":'), ("c", "{}"))
        + pieces((None, "1"))
        + pieces(("a", ""))
        + pieces((None, " "), ("b", "}"))
        + chunk({}, "tool_calls")
        + DONE
    )
    assert deltas(decoded(stream)) == [
        ToolCallDelta(index=0, id="a", arguments='{"x":'),
        ToolCallDelta(index=0, arguments="1}"),
        ToolCallDelta(index=1, id="b", arguments='{"y":'),
        ToolCallDelta(index=2, id="c", arguments="{}"),
        ToolCallDelta(index=1, arguments="1"),
        ToolCallDelta(index=0, id="a"),
        ToolCallDelta(index=0, arguments=" "),
        ToolCallDelta(index=1, id="b", arguments="}"),
    ]


def test_with_an_index_the_id_does_not_matter() -> None:
    one = {"index": 0, "id": "a", "function": {"arguments": "{"}}
    stream = chunk({"tool_calls": [one]}) + chunk({"tool_calls": [{**one, "id": "b"}]}, "stop")
    assert [e.index for e in deltas(decoded(stream)) if isinstance(e, ToolCallDelta)] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "text"), [('{"a":1}', '{"a":1}'), ({"a": 1}, '{"a": 1}'), (None, "")]
)
def test_arguments_may_be_an_object_or_text(arguments: object, text: str) -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": arguments}}
    stream = chunk({"tool_calls": [call]}) + chunk({}, "stop") + DONE
    assert deltas(decoded(stream)) == [ToolCallDelta(index=0, name="f", arguments=text)]


def test_other_choices_than_the_first_are_passed_over() -> None:
    choices = [
        {"index": 1, "delta": {"content": "other"}, "finish_reason": "length"},
        {"delta": {"content": "mine"}, "finish_reason": "stop"},
    ]
    events = decoded(frame({"model": "m", "choices": choices}) + DONE)
    assert deltas(events) == [TextDelta("mine")]
    assert finished(events).finish_reason == "stop"


PROBABLE = {"content": [{"token": "a", "logprob": -1.0}]}
USED = {"prompt_tokens": 1}


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (chunk({"content": "a", "reasoning": "h"}), [ReasoningDelta("h"), TextDelta("a")]),
        (chunk({"content": "a", "reasoning_content": "h"}), [ReasoningDelta("h"), TextDelta("a")]),
        (
            chunk({"content": "a", "tool_calls": [{"function": {"name": "f"}}]}),
            [TextDelta("a"), ToolCallDelta(index=0, name="f")],
        ),
        (
            frame(
                {
                    "model": "acme/owl-4b",
                    "choices": [{"delta": {"content": "a"}, "logprobs": PROBABLE}],
                }
            ),
            [LogprobsDelta((TokenLogprob("a", -1.0),)), TextDelta("a")],
        ),
        (
            frame(
                {
                    "model": "acme/owl-4b",
                    "choices": [
                        {"index": 0, "delta": {"content": "a"}},
                        {"index": 0, "delta": {"content": "b"}},
                    ],
                }
            ),
            [TextDelta("a"), TextDelta("b")],
        ),
        (
            frame({"model": "acme/owl-4b", "choices": [{"index": 1, "delta": {"content": "c"}}]}),
            [],
        ),
        (
            chunk({"content": "a"}, model="n"),
            [ResponseStarted(model="n", id="chatcmpl-1", created=1790036050), TextDelta("a")],
        ),
    ],
    ids=["reasoning", "its other name", "call", "probabilities", "choices", "other", "model"],
)
def test_what_stands_beside_a_later_piece_of_text_is_told_too(
    piece: str, expected: list[StreamEvent]
) -> None:
    decoder, events = DIALECT.decoder(PROBABLY), list[StreamEvent]()
    decoder.feed(chunk({"content": "Hi"}).encode(), [])
    decoder.feed(piece.encode(), events)
    assert events == expected


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"usage": USED}, ResponseFinished(finish_reason="stop", usage=Usage(prompt_tokens=1))),
        (
            {"timings": {"prompt_ms": 500}},
            ResponseFinished(finish_reason="stop", timings=Timings(prompt_seconds=0.5)),
        ),
        (
            {"stats": {"tokens_per_second": 5.0}},
            ResponseFinished(
                finish_reason="stop",
                timings=Timings(tokens_per_second=5.0, measured_by="server"),
            ),
        ),
        ({"reason": "length"}, ResponseFinished(finish_reason="length")),
    ],
    ids=["usage", "timings", "stats", "reason"],
)
def test_what_is_counted_beside_a_later_piece_of_text_is_told_at_the_end(
    beside: dict[str, Any], expected: ResponseFinished
) -> None:
    piece = chunk({"content": "a"}, **{"reason": "stop", **beside})
    assert decoded(chunk({"content": "Hi"}) + piece + DONE)[1:] == [
        TextDelta("Hi"),
        TextDelta("a"),
        expected,
    ]
    counted = chunk({"content": "a"}, **beside) + chunk({}, beside.get("reason", "stop"))
    assert finished(decoded(chunk({"content": "Hi"}) + counted + DONE)) == expected


def test_an_error_beside_a_later_piece_of_text_is_an_error() -> None:
    events, error = failing(chunk({"content": "Hi"}) + chunk({"content": "a"}, error="It broke."))
    assert type(error) is ServiceError
    assert events == [STARTED, TextDelta("Hi")]


def test_a_text_that_goes_on_is_told_as_it_comes() -> None:
    decoder, events = DIALECT.decoder(TextCompletionRequest("m", "Once")), list[StreamEvent]()
    for text in ("<think>", " upon", "</think>"):
        decoder.feed(frame({"model": "m", "choices": [{"text": text}]}).encode(), events)
    assert events[1:] == [TextDelta("<think>"), TextDelta(" upon"), TextDelta("</think>")]


def test_reasoning_that_was_left_in_the_text_is_told_as_such() -> None:
    stream = chunk({"content": "<think>hm"}) + chunk({"content": "</think>Yes."}, "stop") + DONE
    for data in (stream, stream.replace('"model": "acme/owl-4b", ', "")):
        assert deltas(decoded(data)) == [ReasoningDelta("hm"), TextDelta("Yes.")]


def test_reasoning_may_begin_after_a_first_piece_that_has_no_text() -> None:
    pieces = ["<think>", "so", "</think>", "Yes"]
    stream = chunk({"role": "assistant"}) + "".join(chunk({"content": piece}) for piece in pieces)
    answer = stream + chunk({}, "stop") + DONE
    assert deltas(decoded(answer)) == [ReasoningDelta("so"), TextDelta("Yes")]


def test_a_piece_without_a_choice_in_the_middle_of_a_text_is_passed_over() -> None:
    said = chunk({"content": "A"}) + ending() + chunk({"content": "B"})
    answer = said + chunk({}, "stop") + DONE
    assert deltas(decoded(answer)) == [TextDelta("A"), TextDelta("B")]


def test_after_the_end_of_a_plain_text_no_other_comes() -> None:
    said = chunk({"content": "A"}) + chunk({"content": "B"})
    events, error = failing(said + chunk({}, "stop") + chunk({"content": "C"}))
    assert deltas(events) == [TextDelta("A"), TextDelta("B")]
    assert isinstance(error, ParseError)


def test_tags_in_the_text_are_text_where_reasoning_came_by_itself() -> None:
    stream = chunk({"reasoning": "hm"}) + chunk({"content": "<think>a</think>b"}, "stop") + DONE
    assert deltas(decoded(stream)) == [ReasoningDelta("hm"), TextDelta("<think>a</think>b")]


@pytest.mark.parametrize("end", ["stop", None], ids=["whole", "broken off"])
def test_half_a_tag_at_the_end_is_text(end: str | None) -> None:
    decoder, events = DIALECT.decoder(QUESTION), list[StreamEvent]()
    decoder.feed((chunk({"content": "<thi"}, end) + DONE).encode(), events)
    if end is None:
        with pytest.raises(StreamInterrupted):
            decoder.close(events)
    assert events[1] == TextDelta("<thi")


def whole(message: Json, **more: object) -> str:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    head = {"id": "chatcmpl-1", "created": 1790036050, "model": "acme/owl-4b"}
    return json.dumps({**head, "choices": [choice], **more})


def test_a_whole_reply_may_come_where_a_stream_was_asked_for() -> None:
    calls = [
        {"type": "function", "id": "987776806", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"type": "function", "id": "987776807", "function": {"name": "g", "arguments": {}}},
    ]
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": calls}
    usage = {"prompt_tokens": 142, "completion_tokens": 38, "total_tokens": 180}
    assert decoded(" \n" + whole(message, usage=usage, stats={}) + "\n") == [
        STARTED,
        ReasoningDelta("Hm."),
        ToolCallDelta(index=0, id="987776806", name="f", arguments='{"a":1}'),
        ToolCallDelta(index=1, id="987776807", name="g", arguments="{}"),
        ResponseFinished(
            finish_reason="tool_calls",
            usage=Usage(prompt_tokens=142, completion_tokens=38, total_tokens=180),
        ),
    ]


def test_a_document_is_decoded_at_its_end_and_refused_beyond_its_budget() -> None:
    decoder = DIALECT.decoder(QUESTION)
    decoder.feed(b"{" + b" " * (MAX_DOCUMENT - 1), [])
    with pytest.raises(ResponseTooLarge, match="16,777,216"):
        decoder.feed(b" ", [])


def test_an_event_without_end_is_refused() -> None:
    decoder = DIALECT.decoder(QUESTION)
    with pytest.raises(ResponseTooLarge):
        decoder.feed(b"data: " + b"x" * LINE, [])


def test_pings_names_and_other_fields_are_passed_over() -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + DONE
    noisy = ": ping\n\n" + stream.replace("data: {", ": x\nid: 7\nevent: message\nretry: 1\ndata:{")
    assert decoded(noisy) == decoded(stream)


def test_a_chunk_may_be_spread_over_several_lines_of_data() -> None:
    spread = json.dumps(json.loads(chunk({"content": "Hi"})[6:]), indent=1)
    lines = "".join(f"data: {line}\n" for line in spread.splitlines())
    assert deltas(decoded(lines + "\n" + chunk({}, "stop") + DONE)) == [TextDelta("Hi")]


def test_separators_of_other_kinds_are_text() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    assert deltas(decoded(chunk({"content": text}) + chunk({}, "stop") + DONE)) == [TextDelta(text)]


@pytest.mark.parametrize(
    "end",
    ["", "data: [DONE]", "data: [DO", "\r\n", ": x", 'data: {"choices":[],"usage":{'],
)
def test_an_answer_that_said_why_it_ended_is_whole(end: str) -> None:
    assert decoded(chunk({"content": "Hi"}) + chunk({}, "stop") + end) == [
        STARTED,
        TextDelta("Hi"),
        ResponseFinished(finish_reason="stop"),
    ]


def test_the_last_event_needs_no_blank_line() -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop").rstrip()
    assert finished(decoded(stream)).finish_reason == "stop"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (chunk({"content": "Hi"}), "The answer ended without saying why."),
        (chunk({"content": "Hi"}) + DONE, "The answer ended without saying why."),
        (chunk({"content": "Hi"}) + "data: {", "The answer ended without saying why."),
        (
            chunk({"content": "Hi"}) + chunk({}, "stop")[:-5],
            "The answer ended without saying why.",
        ),
        (
            frame({"choices": [{"delta": {"content": "Hi"}}]}),
            "The answer ended without saying why.",
        ),
    ],
    ids=["no end", "only done after", "cut", "cut reason", "no model"],
)
def test_an_answer_without_its_end_is_interrupted(data: str, message: str) -> None:
    _, error = failing(data)
    assert type(error) is StreamInterrupted
    assert str(error) == message
    assert error.retryable


@pytest.mark.parametrize("data", ["", ": ping\n\n", "<html>502</html>", DONE, "{}", "data: {}\n\n"])
def test_what_is_no_answer_at_all_is_not_one_that_broke_off(data: str) -> None:
    _, error = failing(data)
    assert type(error) is ParseError
    assert str(error) == "The answer is empty."
    assert error.retryable


def test_what_ollama_sends_in_place_of_an_error_is_an_interruption() -> None:
    empty = frame({"model": "", "choices": [{"delta": {"content": ""}, "finish_reason": None}]})
    events, error = failing(chunk({"content": "Once"}) + empty)
    assert deltas(events) == [TextDelta("Once")]
    assert type(error) is StreamInterrupted


@pytest.mark.parametrize(
    "after",
    [DONE, "data: rubbish\n\n", "data: rubbish", "error: x\n\n", "data: " + "x" * (LINE + 1)],
    ids=["done again", "rubbish", "half an event", "error", "no end"],
)
def test_what_comes_after_the_end_is_ignored(after: str) -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + DONE
    assert decoded(stream + after) == decoded(stream)


@pytest.mark.parametrize(
    "more",
    [
        {"content": "and"},
        {"reasoning": "and"},
        {"reasoning_content": "and"},
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
    ],
    ids=lambda more: next(iter(more)),
)
@pytest.mark.parametrize("end", ["", DONE], ids=["broken off", "done"])
def test_a_second_answer_is_never_glued_to_the_first(more: Json, end: str) -> None:
    first = chunk({"content": "Hi"}) + chunk({}, "length")
    events, error = failing(first + chunk({"role": "assistant"}) + chunk(more, "stop") + end)
    assert deltas(events) == [TextDelta("Hi")]
    assert type(error) is ParseError
    assert str(error).startswith("More came after the end of the answer")


def test_of_several_ends_the_first_holds() -> None:
    stream = chunk({"content": "Hi"}, "length") + chunk({"content": ""}, "stop") + DONE
    assert finished(decoded(stream)).finish_reason == "length"


CRASH = "The model has crashed without additional information. (Exit code: null)"


@pytest.mark.parametrize(
    "failure",
    [
        f'event: error\ndata: {{"error":{{"message":"{CRASH}"}},"message":"{CRASH}"}}\n\n',
        f'event: error\ndata: {{"message":"{CRASH}"}}\n\n',
        f'data: {{"error":{{"message":"{CRASH}"}}}}\n\n',
        f'data: {{"error":"{CRASH}"}}\n\n' + DONE,
        f'error: {{"code":500,"message":"{CRASH}","type":"server_error"}}\n\n',
        f'data: {{"error":{{"message":"{CRASH}"}}}}',
    ],
    ids=["event", "bare event", "object", "string", "field", "no blank line"],
)
@pytest.mark.parametrize("before", ["", chunk({"content": "Par"})], ids=["first", "mid-stream"])
def test_an_error_may_come_in_many_shapes(before: str, failure: str) -> None:
    events, error = failing(before + failure)
    assert deltas(events) == ([TextDelta("Par")] if before else [])
    assert type(error) is ServiceError
    assert error.status == 200
    assert CRASH.rstrip(".") in str(error)


def test_a_document_may_be_an_error_although_its_status_says_otherwise() -> None:
    _, error = failing('{"error":"Unexpected endpoint or method. (POST /v1/chat/completions)"}')
    assert type(error) is ParseError
    assert "does not serve this route" in str(error)


def test_the_rules_of_a_server_decide_what_its_errors_mean() -> None:
    said = '{"error":{"message":"model \'x\' not found"}}'
    _, error = failing(said, LLAMACPP)
    assert type(error) is ModelNotFound
    _, error = failing(f"data: {said}\n\n", LLAMACPP)
    assert type(error) is ModelNotFound
    assert type(LLAMACPP.classify(HTTPReply(status=400, headers={}, body=said.encode()))) is (
        ModelNotFound
    )


@pytest.mark.parametrize(
    "data",
    [
        "data: rubbish\n\n",
        "data:\n\n",
        "data: []\n\n",
        'data: {"choices":[{"delta":{"content":["a"]}}]}\n\n',
        'data: {"choices":[{"delta":{"tool_calls":[{"function":"f"}]}}]}\n\n',
        '{"choices":',
        "{}}",
    ],
)
def test_what_breaks_the_contract_is_told_so(data: str) -> None:
    _, error = failing(data)
    assert type(error) is ParseError
    assert str(error).startswith("A piece of the answer is not ")


def body(request: HTTPRequest) -> Any:  # noqa: ANN401
    assert request.method == "POST"
    return json.loads(request.body or b"")


def chat(request: CompletionRequest, *, stream: bool = True, **custom: object) -> Any:  # noqa: ANN401
    words = {**custom, **request.words_for("lmstudio")}
    rendered = DIALECT.render_chat(request, model="owl", stream=stream, words=words)
    assert rendered.path == "/v1/chat/completions"
    return body(rendered)


def test_a_stream_is_asked_for_with_its_usage() -> None:
    assert chat(CompletionRequest("x", "Hi")) == {
        "model": "owl",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "stream_options" not in chat(CompletionRequest("x", "Hi"), stream=False)


def test_typed_fields_win_over_options_and_those_over_the_services() -> None:
    request = CompletionRequest(
        "x",
        "Hi",
        temperature=0.0,
        max_tokens=5,
        top_p=0.5,
        stop=["END"],
        seed=0,
        options={"seed": 9, "top_k": 2, "model": "y", "stream": 7},
    )
    sent = chat(request, stream=False, ttl=60, top_k=1)
    del sent["messages"]
    assert sent == {
        "model": "owl",
        "stream": False,
        "temperature": 0.0,
        "max_tokens": 5,
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 0,
        "top_k": 2,
        "ttl": 60,
    }


def test_a_conversation_with_tools_is_written_with_arguments_as_text() -> None:
    messages = [
        CompletionMessage(role="assistant", tool_calls=(ToolCall("c1", "f", '{"a":1}'),)),
        CompletionMessage(role="tool", content="3", tool_call_id="c1", name="f"),
    ]
    assert chat(CompletionRequest("x", messages))["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "f"},
    ]


def test_vectors_are_asked_for_as_the_server_can() -> None:
    request = EmbeddingRequest("x", ["a", "b"])
    plain = DIALECT.render_embed(request, model="m", words={"ttl": 1}, room=None)
    assert plain.path == "/v1/embeddings"
    assert body(plain) == {"model": "m", "input": ["a", "b"], "ttl": 1}
    fast = LLAMACPP.render_embed(
        EmbeddingRequest("x", "a", dimensions=8), model="m", words={}, room=None
    )
    assert body(fast) == {
        "model": "m",
        "input": ["a"],
        "dimensions": 8,
        "encoding_format": "base64",
    }


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def embedded(*vectors: object, index: int | None = None, **more: object) -> HTTPReply:
    data = [
        {"object": "embedding", "embedding": vector, "index": number if index is None else index}
        for number, vector in enumerate(vectors)
    ]
    return HTTPReply(status=200, headers={}, body=json.dumps({"data": data, **more}).encode())


def test_vectors_come_as_numbers_or_packed_and_are_sorted() -> None:
    reply = embedded([0.5, 0.25], packed(1.0, 0.0), model="m", usage={"prompt_tokens": 3})
    response = DIALECT.parse_embed(reply, count=2)
    assert response.embeddings.tolist() == [[0.5, 0.25], [1.0, 0.0]]
    assert (response.model, response.usage) == ("m", Usage(prompt_tokens=3))
    turned = json.loads(reply.body)
    turned["data"].reverse()
    again = HTTPReply(status=200, headers={}, body=json.dumps(turned).encode())
    assert DIALECT.parse_embed(again, count=2) == response


@pytest.mark.parametrize("index", [1, -1, 10**12])
def test_vectors_that_do_not_say_which_text_they_are_of_are_refused(index: int) -> None:
    reply = embedded([0.5], [0.25], index=index)
    with pytest.raises(ParseError, match="without telling which text each is of"):
        DIALECT.parse_embed(reply, count=2)
    nowhere = embedded([0.5], [0.25], index=0)
    untold = HTTPReply(
        status=200, headers={}, body=b'{"data":[{"embedding":[0.5]},{"embedding":[0.25]}]}'
    )
    for in_their_order in (nowhere, untold):
        response = DIALECT.parse_embed(in_their_order, count=2)
        assert response.embeddings.tolist() == [[0.5], [0.25]]


def test_a_server_that_does_not_count_tokens_tells_none() -> None:
    reply = embedded([1.0], usage={"prompt_tokens": 0, "total_tokens": 0})
    assert DIALECT.parse_embed(reply, count=1).usage.prompt_tokens == 0
    uncounted = OpenAIDialect(counts_embedding_tokens=False)
    assert uncounted.parse_embed(reply, count=1).usage == Usage()


@pytest.mark.parametrize("vector", ["!", "AAA=", "AAAAAAA=", "ä", "AAAA AAAA"])
def test_a_vector_that_is_not_packed_floats_breaks_the_contract(vector: str) -> None:
    with pytest.raises(ParseError, match="not base64 of 32-bit floats"):
        DIALECT.parse_embed(embedded(vector), count=1)


def test_infinite_numbers_cannot_be_smuggled_in() -> None:
    with pytest.raises(ParseError, match="infinite or none"):
        DIALECT.parse_embed(embedded(packed(float("nan"), 1.0)), count=1)


@pytest.mark.parametrize("reply", [b"{}", b'{"data":null}', b'{"data":[{}]}', b"[[1.0]]", b""])
def test_a_reply_without_the_vectors_breaks_the_contract(reply: bytes) -> None:
    with pytest.raises(ParseError, match="The reply to /v1/embeddings"):
        DIALECT.parse_embed(HTTPReply(status=200, headers={}, body=reply), count=1)


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"prompt_tokens": 3, "completion_tokens": 1.5}},
        {"usage": {"prompt_tokens": 3, "total_tokens": -1}, "timings": []},
        {"usage": {"prompt_tokens": 3, "prompt_tokens_details": ""}, "created": "now"},
        {"usage": {"prompt_tokens": 3}, "id": 5, "stats": {"tokens_per_second": "fast"}},
    ],
)
def test_an_odd_statistic_costs_no_answer(odd: Json) -> None:
    choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}
    events = decoded(frame({"model": "m", "choices": [choice], **odd}) + "data: [DONE]\n\n")
    assert events == [
        ResponseStarted(model="m"),
        TextDelta("hi"),
        ResponseFinished(finish_reason="stop", usage=Usage(prompt_tokens=3)),
    ]


@pytest.mark.parametrize("odd", [{"choices": [{"delta": {"content": 5}}]}, {"model": 5}])
def test_an_odd_answer_is_never_passed_over(odd: Json) -> None:
    _, error = failing(frame({"usage": "", **odd}))
    assert type(error) is ParseError


def test_a_model_that_changes_is_told_each_time() -> None:
    chunks = "".join(frame({"model": name, "choices": []}) for name in ("m", "m", "n"))
    events, error = failing(chunks)
    assert events == [ResponseStarted(model="m"), ResponseStarted(model="n")]
    assert type(error) is StreamInterrupted


def test_probabilities_that_nobody_asked_for_are_not_kept() -> None:
    told = {"content": [{"token": "a", "logprob": -1.0}]}
    choice = {"delta": {"content": "a"}, "logprobs": told, "finish_reason": "stop"}
    events = decoded(frame({"model": "m", "choices": [choice]}) + DONE)
    assert deltas(events) == [TextDelta("a")]
