"""Ollama's payloads, as its sources and replies show them."""

import json
from typing import Any

import pytest

from patinox.provider.errors import AuthenticationError, InvalidRequest, ProviderError
from patinox.provider.local.dialects.ollama import OllamaDialect
from patinox.provider.local.dialects.ollama_reply import unix_time
from patinox.provider.local.errors import (
    ModelNotLoaded,
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

DIALECT = OllamaDialect()
QUESTION = CompletionRequest("m", "Hi")
PROBABLY = CompletionRequest("m", "Hi", logprobs=True)
LINE = 8 * 2**20  # bytes that a line may have


def decoded(data: str | bytes) -> list[StreamEvent]:
    decoder = DIALECT.decoder(QUESTION)
    data = data.encode() if isinstance(data, str) else data
    events = list[StreamEvent]()
    decoder.feed(data, events)
    decoder.close(events)
    return events


def failing(data: str | bytes) -> tuple[list[StreamEvent], ProviderError]:
    decoder, events = DIALECT.decoder(QUESTION), list[StreamEvent]()
    data = data.encode() if isinstance(data, str) else data
    with pytest.raises(ProviderError) as caught:  # noqa: PT012  what came before it counts too
        decoder.feed(data, events)
        decoder.close(events)
    return events, caught.value


def finished(events: list[StreamEvent]) -> ResponseFinished:
    last = events[-1]
    assert isinstance(last, ResponseFinished)
    return last


# A stream where Ollama renders the prompt itself: calls come before the last chunk.
RENDERED = """\
{"model":"qwen3:4b","created_at":"2026-08-22T10:00:00.100200300Z","message":{"role":"assistant","content":"","thinking":"Need the "},"done":false}
{"model":"qwen3:4b","created_at":"2026-08-22T10:00:00.150200300Z","message":{"role":"assistant","content":"","thinking":"weather."},"done":false}
{"model":"qwen3:4b","created_at":"2026-08-22T10:00:00.2Z","message":{"role":"assistant","content":"Checking."},"done":false}
{"model":"qwen3:4b","created_at":"2026-08-22T10:00:00.25Z","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_p7o2gz50","function":{"index":0,"name":"get_weather","arguments":{"city":"Paris","days":2}}}]},"done":false}
{"model":"qwen3:4b","created_at":"2026-08-22T10:00:00.3Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1883583458,"load_duration":1334875,"prompt_eval_count":164,"prompt_eval_duration":342546000,"eval_count":27,"eval_duration":1535599000}
"""  # noqa: E501
# The same by way of its child process: calls come on the last chunk.
NATIVE = """\
{"model":"tiny","created_at":"2026-08-22T10:00:01Z","message":{"role":"assistant","content":"","tool_calls":[{"id":"Zk3vP0m1Q9bT7xLc2RwYd8HsFgJnAe4U","function":{"index":0,"name":"get_weather","arguments":{"city":"Paris"}}},{"id":"a8HsFgJnAe4UZk3vP0m1Q9bT7xLc2RwY","function":{"index":1,"name":"get_time","arguments":{}}}]},"done":true,"done_reason":"stop","total_duration":900000000,"load_duration":2000000,"prompt_eval_count":210,"prompt_eval_duration":300000000,"eval_count":40,"eval_duration":500000000}
"""
START = '{"model":"m","message":{"role":"assistant","content":"Once"},"done":false}\n'
END = '{"model":"m","message":{"content":""},"done":true,"done_reason":"stop"}\n'


def test_a_stream_is_thinking_then_text_then_calls_then_the_end() -> None:
    assert decoded(RENDERED) == [
        ResponseStarted(model="qwen3:4b", created=1787392800),
        ReasoningDelta("Need the "),
        ReasoningDelta("weather."),
        TextDelta("Checking."),
        ToolCallDelta(
            index=0, id="call_p7o2gz50", name="get_weather", arguments='{"city":"Paris","days":2}'
        ),
        ResponseFinished(
            finish_reason="tool_calls",
            usage=Usage(prompt_tokens=164, completion_tokens=27, total_tokens=191),
            timings=Timings(
                load_seconds=0.001334875,
                prompt_seconds=0.342546,
                tokens_per_second=27 / 1.535599,
                measured_by="server",
            ),
        ),
    ]


def test_calls_on_the_last_chunk_are_calls_too() -> None:
    _, first, second, last = decoded(NATIVE)
    assert first == ToolCallDelta(
        index=0,
        id="Zk3vP0m1Q9bT7xLc2RwYd8HsFgJnAe4U",
        name="get_weather",
        arguments='{"city":"Paris"}',
    )
    assert second == ToolCallDelta(
        index=1, id="a8HsFgJnAe4UZk3vP0m1Q9bT7xLc2RwY", name="get_time", arguments="{}"
    )
    assert finished([last]).finish_reason == "tool_calls"


def test_a_whole_reply_may_come_where_a_stream_was_asked_for() -> None:
    whole = (
        '{"model":"tiny","created_at":"2026-08-22T10:00:02Z","message":{"role":"assistant",'
        '"content":"Hi"},"done":true,"done_reason":"length","prompt_eval_count":11,"eval_count":1}'
    )
    assert decoded(whole) == [
        ResponseStarted(model="tiny", created=1787392802),
        TextDelta("Hi"),
        ResponseFinished(
            finish_reason="length",
            usage=Usage(prompt_tokens=11, completion_tokens=1, total_tokens=12),
        ),
    ]


@pytest.mark.parametrize("reason", ["stop", "length", "some new reason"])
def test_the_reason_to_finish_is_handed_on(reason: str) -> None:
    end = f'{{"model":"m","done":true,"done_reason":"{reason}"}}'
    assert finished(decoded(end)).finish_reason == reason


def test_a_call_that_was_cut_off_is_not_told_as_a_call_to_make() -> None:
    call = '{"model":"m","message":{"tool_calls":[{"function":{"name":"f"}}]},"done":false}\n'
    end = '{"done":true,"done_reason":"length"}\n'
    assert finished(decoded(call + end)).finish_reason == "length"


def test_every_number_may_be_missing() -> None:
    events = decoded(START + '{"done":true}\n')
    assert finished(events) == ResponseFinished()


CALL = {"function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"message": {"content": "a", "thinking": "hm"}}, [ReasoningDelta("hm"), TextDelta("a")]),
        (
            {"message": {"content": "a", "tool_calls": [CALL]}},
            [TextDelta("a"), ToolCallDelta(index=0, name="f", arguments="{}")],
        ),
        (
            {"message": {"content": "a"}, "logprobs": [{"token": "a", "logprob": -1.0}]},
            [LogprobsDelta((TokenLogprob("a", -1.0),)), TextDelta("a")],
        ),
        (
            {"message": {"content": "a"}, "done": True, "done_reason": "length"},
            [TextDelta("a"), ResponseFinished(finish_reason="length")],
        ),
        ({"model": "n", "message": {"content": "a"}}, [ResponseStarted(model="n"), TextDelta("a")]),
    ],
    ids=["reasoning", "call", "probabilities", "end", "model"],
)
def test_what_stands_beside_a_later_piece_of_text_is_told_too(
    line: dict[str, Any], expected: list[StreamEvent]
) -> None:
    decoder, events = DIALECT.decoder(PROBABLY), list[StreamEvent]()
    decoder.feed(START.encode(), [])
    decoder.feed(json.dumps({"model": "m", **line}).encode() + b"\n", events)
    assert events == expected


def test_an_error_beside_a_later_piece_of_text_is_an_error() -> None:
    _, error = failing(START + START.replace("}\n", ',"error":"It broke."}\n'))
    assert type(error) is ServiceError


def test_a_text_that_goes_on_is_told_as_it_comes() -> None:
    decoder, events = DIALECT.decoder(TextCompletionRequest("m", "Once")), list[StreamEvent]()
    for text in ("<think>", " upon", "</think>"):
        decoder.feed(json.dumps({"model": "m", "response": text}).encode() + b"\n", events)
    assert events[1:] == [TextDelta("<think>"), TextDelta(" upon"), TextDelta("</think>")]


def saying(text: str) -> str:
    return json.dumps({"model": "m", "message": {"content": text}}) + "\n"


def test_reasoning_that_was_left_in_the_text_is_told_as_such() -> None:
    expected = [ReasoningDelta("hm"), TextDelta("Yes.")]
    stream = saying("<think>hm") + saying("</think>Yes.")
    assert decoded(stream + END)[1:-1] == expected
    assert decoded(stream.replace('"model": "m", ', "") + '{"done":true}')[:-1] == expected


def test_tags_in_the_text_are_text_where_reasoning_came_by_itself() -> None:
    line = json.dumps({"model": "m", "message": {"thinking": "hm"}}) + "\n"
    assert decoded(line + saying("<think>a</think>b") + END)[1:-1] == [
        ReasoningDelta("hm"),
        TextDelta("<think>a</think>b"),
    ]


@pytest.mark.parametrize("end", [END, ""], ids=["whole", "broken off"])
def test_half_a_tag_at_the_end_is_text(end: str) -> None:
    decoder, events = DIALECT.decoder(QUESTION), list[StreamEvent]()
    decoder.feed((saying("<thi") + end).encode(), events)
    if not end:
        with pytest.raises(StreamInterrupted):
            decoder.close(events)
    assert events[1] == TextDelta("<thi")


@pytest.mark.parametrize(
    ("end", "usage"),
    [
        ('"eval_count":3', Usage(completion_tokens=3)),
        ('"prompt_eval_count":3', Usage(prompt_tokens=3)),
        (
            '"eval_count":0,"prompt_eval_count":0',
            Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        ),
    ],
)
def test_a_sum_is_only_made_of_what_was_told(end: str, usage: Usage) -> None:
    assert finished(decoded(f'{{"done":true,{end}}}')).usage == usage


@pytest.mark.parametrize(
    "numbers",
    [
        '"eval_count":5',
        '"eval_duration":5',
        '"eval_count":5,"eval_duration":0',
        '"eval_count":5,"eval_duration":-5',
        '"eval_count":0,"eval_duration":5',
        '"load_duration":-1,"prompt_eval_duration":-1',
        f'"eval_count":5,"eval_duration":{"9" * 400},"load_duration":{"9" * 400}',
    ],
    ids=["count", "time", "no time", "negative time", "nothing", "negative", "huge"],
)
def test_what_cannot_be_is_unknown(numbers: str) -> None:
    assert finished(decoded(f'{{"done":true,{numbers}}}')).timings == Timings()


def test_nulls_are_as_if_absent() -> None:
    chunk = (
        '{"model":null,"created_at":null,"message":{"content":null,"thinking":null,'
        '"tool_calls":null},"done_reason":null,"error":null}\n{"message":null}\n'
    )
    assert decoded(chunk + START + END)[1:] == [
        TextDelta("Once"),
        ResponseFinished(finish_reason="stop"),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"a": 1,  "b":"ü"}', '{"a": 1,  "b":"ü"}'),
        (r'"{\"a\":1}"', '{"a":1}'),
        ("null", "{}"),
        ('""', "{}"),
        (r'"{\"a\":"', '{"a":'),
    ],
)
def test_arguments_may_be_an_object_or_text(arguments: str, text: str) -> None:
    call = f'{{"function":{{"name":"f","arguments":{arguments}}}}}'
    event = decoded(f'{{"message":{{"tool_calls":[{call}]}},"done":true}}')[0]
    assert event == ToolCallDelta(index=0, name="f", arguments=text)


def test_calls_are_numbered_over_all_chunks_whatever_their_own_index_says() -> None:
    call = '{"message":{"tool_calls":[{"function":{"index":0,"name":"f"}}]}}\n'
    events = decoded(call + call + END)
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(event.index, event.arguments) for event in calls] == [(0, "{}"), (1, "{}")]


def test_only_a_line_feed_ends_a_line_of_text() -> None:
    text = "a\u2028b\u2029c\x85d\x7fe"
    chunk = json.dumps({"model": "m", "message": {"content": text}}, ensure_ascii=False)
    assert TextDelta(text) in decoded(chunk + "\n" + END)


def test_blank_lines_are_passed_over() -> None:
    assert decoded("\n\r\n" + START + " \n" + END) == decoded(START + END)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_loading_a_model_is_no_answer(reason: str) -> None:
    data = (
        '{"model":"tiny","created_at":"2026-08-22T10:00:03Z","message":{"role":"assistant",'
        f'"content":""}},"done":true,"done_reason":"{reason}"}}'
    )
    events, error = failing(data)
    assert [type(event) for event in events] == [ResponseStarted]
    assert type(error) is ModelNotLoaded
    assert f"a mere {reason} of the model" in str(error)


def test_a_second_end_is_ignored() -> None:
    assert decoded(START + END + END) == decoded(START + END)


def test_what_comes_after_the_end_is_ignored_even_without_limit() -> None:
    decoder, events = DIALECT.decoder(QUESTION), list[StreamEvent]()
    decoder.feed((START + END).encode() + b"x" * (LINE + 1), events)
    decoder.feed(b'{"error":"late"}\n' + b"x" * (LINE + 1), events)
    decoder.close(events)
    assert len(events) == 3


def test_a_line_without_end_is_refused() -> None:
    events, error = failing(START.encode() + b"x" * (LINE + 1))
    assert TextDelta("Once") in events
    assert type(error) is ResponseTooLarge


def test_a_long_line_is_text_like_any_other() -> None:
    text = "x" * (2 * 2**20)
    chunk = json.dumps({"model": "m", "message": {"content": text}})
    assert TextDelta(text) in decoded(chunk + "\n" + END)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (START, "The answer ended without saying that it is done."),
        (START + END[:-10], "The answer broke off in the middle of a line."),
        (START[:20], "The answer broke off in the middle of a line."),
        (
            '{"message":{"content":"a"}}',
            "The answer ended without saying that it is done.",
        ),
    ],
    ids=["no end", "half a line", "half of the first line", "no model"],
)
def test_an_answer_without_its_end_is_interrupted(data: str, message: str) -> None:
    _, error = failing(data)
    assert type(error) is StreamInterrupted
    assert error.retryable
    assert str(error) == message


@pytest.mark.parametrize(
    "data",
    ["", "\n\n", "{}", "{}\n", "<html>502</html>", "[]", START.replace("false", "false,", 1)],
)
def test_what_is_no_answer_at_all_is_not_one_that_broke_off(data: str) -> None:
    _, error = failing(data)
    assert type(error) is ParseError
    assert error.retryable


def test_an_error_after_the_first_chunk_is_the_servers() -> None:
    events, error = failing(
        START + '{"error":"an error was encountered while running the model: unexpected EOF"}\n'
    )
    assert TextDelta("Once") in events
    assert type(error) is ServiceError
    assert error.status == 200
    assert "while running the model" in str(error)


@pytest.mark.parametrize("data", ['{"error":"boom"}\n', '{"error":"boom"}', '{"error":{}}'])
def test_an_error_in_place_of_an_answer_is_the_servers(data: str) -> None:
    events, error = failing(data)
    assert events == []
    assert type(error) is ServiceError


def body(request: HTTPRequest) -> Any:  # noqa: ANN401
    assert request.method == "POST"
    return json.loads(request.body or b"")


def chat(request: CompletionRequest, *, stream: bool = True, **custom: object) -> Any:  # noqa: ANN401
    words = {**custom, **request.words_for("ollama")}
    rendered = DIALECT.render_chat(request, model="tiny", stream=stream, words=words)
    assert rendered.path == "/api/chat"
    return body(rendered)


def test_a_plain_request_has_no_options() -> None:
    assert chat(CompletionRequest("x", "Hi")) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_typed_fields_win_over_options_and_those_over_the_services() -> None:
    request = CompletionRequest(
        "x",
        "Hi",
        temperature=0.0,
        max_tokens=5,
        top_p=0.5,
        stop="END",
        seed=0,
        options={"seed": 9, "top_k": 2},
    )
    sent = chat(request, stream=False, num_ctx=4096, top_k=1)
    assert sent["stream"] is False
    assert sent["options"] == {
        "temperature": 0.0,
        "num_predict": 5,
        "top_p": 0.5,
        "stop": ["END"],
        "seed": 0,
        "top_k": 2,
        "num_ctx": 4096,
    }


def test_a_conversation_with_tools_is_written_as_ollama_wants_it() -> None:
    messages = [
        CompletionMessage.system("Be brief."),
        CompletionMessage(
            role="assistant",
            reasoning="Hm.",
            tool_calls=(ToolCall("c1", "f", '{"b":1,  "a":2}'), ToolCall("c2", "g", "")),
        ),
        CompletionMessage(role="tool", content="3", tool_call_id="c1", name="f"),
    ]
    request = DIALECT.render_chat(
        CompletionRequest("x", messages), model="m", stream=True, words={}
    )
    assert b'{"b":1,  "a":2}' in (request.body or b"")
    assert body(request)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": 2, "b": 1}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "3", "tool_name": "f", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"{}"', "x"])
def test_arguments_that_are_no_object_are_the_callers_fault(arguments: str) -> None:
    call = CompletionMessage(role="assistant", tool_calls=(ToolCall("c", "f", arguments),))
    with pytest.raises(InvalidRequest, match="arguments of the call of tool 'f'"):
        chat(CompletionRequest("x", [call]))


def test_a_text_that_is_too_long_to_embed_is_an_error_and_never_cut() -> None:
    request = DIALECT.render_embed(
        EmbeddingRequest("x", ["a", "b"]), model="m", words={}, room=None
    )
    assert request.path == "/api/embed"
    assert body(request) == {"model": "m", "input": ["a", "b"], "truncate": False}


@pytest.mark.parametrize(
    ("texts", "path"),
    [
        (["a" * 92], "/v1/embeddings"),
        (["ü" * 46, "a"], "/v1/embeddings"),
        (["a" * 93], "/api/embed"),
        (["ü" * 47], "/api/embed"),
        (["a", "a" * 93], "/api/embed"),
    ],
)
def test_texts_that_surely_fit_are_sent_where_vectors_come_packed(
    texts: list[str], path: str
) -> None:
    request = DIALECT.render_embed(EmbeddingRequest("x", texts), model="m", words={}, room=100)
    assert request.path == path
    assert body(request).get("encoding_format") == ("base64" if "v1" in path else None)


def test_shorter_vectors_and_options_can_be_asked_for() -> None:
    request = DIALECT.render_embed(
        EmbeddingRequest("x", "a", dimensions=8), model="m", words={"num_ctx": 512}, room=4096
    )
    assert body(request)["dimensions"] == 8
    assert body(request)["options"] == {"num_ctx": 512}


def test_vectors_come_with_the_tokens_of_their_texts() -> None:
    reply = HTTPReply(
        status=200,
        headers={},
        body=b'{"model":"nomic-embed-text","embeddings":[[0.6,0.8],[1,0]],"prompt_eval_count":8}',
    )
    response = DIALECT.parse_embed(reply, count=2)
    assert (response.model, response.normalized) == ("nomic-embed-text", True)
    assert response.usage == Usage(prompt_tokens=8, total_tokens=8)
    assert response.embeddings[1] == [1.0, 0.0]


def test_vectors_that_come_packed_come_with_their_tokens_too() -> None:
    body = b'{"data":[{"embedding":"AACAPw=="}],"model":"m","usage":{"prompt_tokens":3}}'
    response = DIALECT.parse_embed(HTTPReply(status=200, headers={}, body=body), count=1)
    assert (response.embeddings[0], response.usage) == ([1.0], Usage(prompt_tokens=3))


@pytest.mark.parametrize(
    "reply",
    [b'{"model":"m","embeddings":[]}', b'{"embedding":[1.0]}', b'{"embeddings":null}', b"[]", b""],
)
def test_a_reply_without_the_vectors_breaks_the_contract(reply: bytes) -> None:
    with pytest.raises(ParseError):
        DIALECT.parse_embed(HTTPReply(status=200, headers={}, body=reply), count=1)


def test_where_ollama_wants_an_account_it_is_said_how_to_sign_in() -> None:
    said = {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=h"}
    for extra, hint in ((said, "ollama signin"), ({"error": "unauthorized"}, "patinox doctor")):
        error = DIALECT.classify(HTTPReply(status=401, headers={}, body=json.dumps(extra).encode()))
        assert type(error) is AuthenticationError
        assert hint in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-08-22T10:00:00.100200300Z", 1787392800),
        ("2026-08-22T12:00:00+02:00", 1787392800),
        ("1970-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", -62135596800),
        ("0001-01-01T00:00:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_in_seconds_or_unknown(text: str | None, expected: int | None) -> None:
    assert unix_time(text) == expected


@pytest.mark.parametrize(
    "odd",
    [
        '"eval_count":1.5',
        '"eval_count":""',
        '"eval_count":-1',
        '"created_at":5',
        '"load_duration":1e400',
        '"eval_duration":[[]]',
        '"done_reason":5',
    ],
)
def test_an_odd_statistic_costs_no_answer(odd: str) -> None:
    end = (
        END.replace("}\n", f',"prompt_eval_count":3,{odd}}}\n')
        if "reason" not in odd
        else ('{"model":"m","done":true,"prompt_eval_count":3,' + odd + "}\n")
    )
    events = decoded(START + end)
    assert TextDelta("Once") in events
    assert finished(events).usage == Usage(prompt_tokens=3)
    assert finished(events).timings == Timings()


@pytest.mark.parametrize("odd", ['"message":{"content":5}', '"model":5', '"done":"yes"'])
def test_an_odd_answer_is_never_passed_over(odd: str) -> None:
    _, error = failing("{" + odd + ',"eval_count":""}\n')
    assert type(error) is ParseError


def test_a_model_that_changes_is_told_each_time() -> None:
    other = END.replace('"m"', '"n"')
    events = decoded(START + START + other)
    assert [event.model for event in events if isinstance(event, ResponseStarted)] == ["m", "n"]


def test_an_odd_count_costs_no_vectors() -> None:
    body = b'{"embeddings":[[1.0]],"model":null,"prompt_eval_count":1.5}'
    response = DIALECT.parse_embed(HTTPReply(status=200, headers={}, body=body), count=1)
    assert (response.model, response.usage) == ("", Usage())


@pytest.mark.parametrize("mark", ['"remote_model":"m"', '"remote_host":"https://ollama.com:443"'])
@pytest.mark.parametrize("name", ['"model":"m",', ""])
def test_an_answer_from_the_cloud_is_marked_wherever_it_says_so(name: str, mark: str) -> None:
    text = f'{{{name}{mark},"message":{{"content":"a"}}}}\n'
    started = [event for event in decoded(text + END) if isinstance(event, ResponseStarted)]
    assert started[0].remote
    first, _, _, second = decoded(START + START + text + END)[:4]
    assert (first, second) == (ResponseStarted(model="m"), ResponseStarted(model="m", remote=True))


def test_probabilities_that_nobody_asked_for_are_not_kept() -> None:
    told = '"logprobs":[{"token":"a","logprob":-1.0}]'
    line = f'{{"model":"m","message":{{"content":"a"}},{told}}}\n'
    assert not any(isinstance(event, LogprobsDelta) for event in decoded(line + END))
