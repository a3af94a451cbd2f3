"""What both dialects owe: any cut, any bytes, any end, and a stream that equals the whole."""

import base64
import itertools
import json
import struct
import tracemalloc
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patinox.provider.assemble import Assembler
from patinox.provider.errors import ProviderError
from patinox.provider.local.dialects.base import (
    ChatDecoder,
    Dialect,
    Logprob,
    arguments_text,
    embedding_response,
    logprobs_delta,
    most_logprobs,
    seconds,
    speed,
)
from patinox.provider.local.dialects.ollama import OllamaDialect
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.errors import (
    ParseError,
    ResponseTooLarge,
    ServiceError,
    StreamInterrupted,
)
from patinox.provider.local.wire.http import HTTPReply
from patinox.provider.local.wire.lines import MAX_LINE
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    LogprobsDelta,
    StreamEvent,
    TokenLogprob,
    Usage,
)

OLLAMA: Dialect = OllamaDialect()
OPENAI: Dialect = OpenAIDialect()
Json = dict[str, Any]
QUESTION = CompletionRequest("m", "Hi")


class Outcome(NamedTuple):
    """What came out of the bytes: the events, and then perhaps an error."""

    events: list[StreamEvent]
    error: tuple[type[ProviderError], str] | None


def outcome(dialect: Dialect, parts: Iterable[bytes]) -> Outcome:
    decoder, events = dialect.decoder(QUESTION), list[StreamEvent]()
    try:
        for part in parts:
            decoder.feed(part, events)
        decoder.close(events)
    except ProviderError as error:
        return Outcome(events, (type(error), str(error)))
    return Outcome(events, None)


def fold(events: Iterable[StreamEvent]) -> CompletionResponse:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.response()


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


# Streams as the servers send them.


def ndjson(*chunks: Json) -> bytes:
    return b"".join(json.dumps(chunk, ensure_ascii=False).encode() + b"\n" for chunk in chunks)


def sse(*chunks: Json, done: bool = True) -> bytes:
    frames = [b"data: " + json.dumps(chunk, ensure_ascii=False).encode() for chunk in chunks]
    return b"".join(frame + b"\n\n" for frame in [*frames, *([b"data: [DONE]"] if done else [])])


def ollama_chunk(message: Json, **more: object) -> Json:
    return {"model": "m", "message": {"role": "assistant", "content": "", **message}, **more}


def openai_chunk(delta: Json, reason: str | None = None, **more: object) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "c", "model": "m", "choices": [choice], **more}


END = {"done": True, "done_reason": "stop", "eval_count": 2, "eval_duration": 10}
WEATHER = {"function": {"name": "weather", "arguments": {"city": "Örebro"}}}
OLLAMA_TEXT = ndjson(
    ollama_chunk({"thinking": "h\u2028m"}, done=False),
    ollama_chunk({"content": "a\u0085ü"}, done=False),
    ollama_chunk({"tool_calls": [WEATHER]}, done=False),
    ollama_chunk({}, **END),
)
OPENAI_CALL = [
    {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Örebro"}'}}]},
]
OPENAI_TEXT = sse(
    openai_chunk({"role": "assistant", "content": None}),
    openai_chunk({"reasoning_content": "h\u2028m"}),
    openai_chunk({"content": "a\u0085ü"}),
    *map(openai_chunk, OPENAI_CALL),
    openai_chunk({}, "tool_calls"),
    {"model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
)

WHOLE: dict[str, tuple[Dialect, bytes]] = {
    "ollama stream": (OLLAMA, OLLAMA_TEXT),
    "ollama lines ended by CRLF": (OLLAMA, OLLAMA_TEXT.replace(b"\n", b"\r\n")),
    "ollama document": (OLLAMA, ndjson(ollama_chunk({"content": "hi"}, **END)).strip()),
    "ollama goes on after its end": (
        OLLAMA,
        ndjson(ollama_chunk({"content": "hi"}, **END)) + b'{"error":"x"}\n{"done":true}\nrubbish',
    ),
    "openai stream": (OPENAI, OPENAI_TEXT),
    "openai lines ended by CRLF": (OPENAI, OPENAI_TEXT.replace(b"\n", b"\r\n")),
    "openai lines ended by CR": (OPENAI, OPENAI_TEXT.replace(b"\n", b"\r")),
    "openai with pings and names": (
        OPENAI,
        b"\r\n: ping\n\n" + OPENAI_TEXT.replace(b"data: {", b"id: 1\nevent: chunk\ndata:{"),
    ),
    "openai without an end": (OPENAI, OPENAI_TEXT.removesuffix(b"data: [DONE]\n\n")),
    "openai document": (
        OPENAI,
        b'\n {"model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}\n',
    ),
    "openai goes on after its end": (OPENAI, OPENAI_TEXT + b"data: rubbish\n\nerror: x\n\n{"),
}
FAILING: dict[str, tuple[Dialect, bytes, type[ProviderError]]] = {
    "ollama error first": (OLLAMA, b'{"error":"boom"}\n', ServiceError),
    "ollama error document": (OLLAMA, b'{"error":"boom"}', ServiceError),
    "ollama error mid-stream": (
        OLLAMA,
        ndjson(ollama_chunk({"content": "hi"}), {"error": "unexpected EOF"}),
        ServiceError,
    ),
    "ollama empty": (OLLAMA, b"", ParseError),
    "ollama blank lines": (OLLAMA, b"\n \n\r\n", ParseError),
    "ollama rubbish": (OLLAMA, ndjson(ollama_chunk({"content": "hi"})) + b"x\n", ParseError),
    "ollama of another shape": (OLLAMA, b'{"done":"yes"}\n', ParseError),
    "ollama no utf-8": (OLLAMA, b'{"message":{"content":"\xff"}}\n', ParseError),
    "ollama nested too deeply": (OLLAMA, b'{"x":' + b"[" * 5000 + b"\n", ParseError),
    "openai error first": (OPENAI, b'data: {"error":{"message":"boom"}}\n\n', ServiceError),
    "openai error document": (OPENAI, b'{"error":{"message":"boom"}}', ServiceError),
    "openai error mid-stream": (
        OPENAI,
        sse(openai_chunk({"content": "hi"}), {"error": "boom"}),
        ServiceError,
    ),
    "openai event: error": (
        OPENAI,
        sse(openai_chunk({"content": "hi"}), done=False)
        + b'event: error\ndata: {"error":{"message":"boom"},"message":"boom"}\n\n',
        ServiceError,
    ),
    "openai error: field": (
        OPENAI,
        sse(openai_chunk({"content": "hi"}), done=False)
        + b'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
        ServiceError,
    ),
    "openai empty": (OPENAI, b"", ParseError),
    "openai only comments": (OPENAI, b": ping\n\n: ping\n\n", ParseError),
    "openai done without a reason": (
        OPENAI,
        sse(openai_chunk({"content": "hi"})),
        StreamInterrupted,
    ),
    "openai rubbish": (
        OPENAI,
        sse(openai_chunk({"content": "hi"}), done=False) + b"data: x\n\n",
        ParseError,
    ),
    "openai of another shape": (OPENAI, b'data: {"choices":{}}\n\n', ParseError),
    "openai no utf-8": (OPENAI, b'data: {"model":"\xff"}\n\n', ParseError),
    "openai document that was cut": (OPENAI, b'{"model":"m","choices":[', ParseError),
}
ALL = {name: case[:2] for name, case in (WHOLE | FAILING).items()}


@pytest.mark.parametrize(("dialect", "data"), WHOLE.values(), ids=WHOLE)
def test_an_answer_ends_once(dialect: Dialect, data: bytes) -> None:
    decoder, events = dialect.decoder(QUESTION), list[StreamEvent]()
    decoder.feed(data, events)
    decoder.close(events)
    assert [type(event).__name__ for event in events].count("ResponseFinished") == 1
    assert type(events[0]).__name__ == "ResponseStarted"
    assert type(events[-1]).__name__ == "ResponseFinished"
    assert decoder.ended


@pytest.mark.parametrize(("dialect", "data", "kind"), FAILING.values(), ids=FAILING)
def test_a_failure_is_told_by_its_kind(
    dialect: Dialect, data: bytes, kind: type[ProviderError]
) -> None:
    events, error = outcome(dialect, [data])
    assert error is not None
    assert error[0] is kind
    assert fold(events).text == ("hi" if b"hi" in data else "")
    assert ("boom" in error[1]) is (b"boom" in data)


@pytest.mark.parametrize(("dialect", "data"), ALL.values(), ids=ALL)
def test_where_the_bytes_are_cut_does_not_matter(dialect: Dialect, data: bytes) -> None:
    wanted = outcome(dialect, [data])
    assert outcome(dialect, bytewise(data)) == wanted
    for cut in range(1, len(data)):
        assert outcome(dialect, [data[:cut], b"", data[cut:]]) == wanted


SHORT = {
    "ollama": (
        OLLAMA,
        ndjson(ollama_chunk({"content": "aü"}, done=False), ollama_chunk({}, **END)),
    ),
    "openai": (OPENAI, sse(openai_chunk({"content": "aü"}), openai_chunk({}, "stop"))),
    "openai with CRLF": (
        OPENAI,
        sse(openai_chunk({"content": "aü"}), openai_chunk({}, "stop")).replace(b"\n", b"\r\n"),
    ),
    "error": (OLLAMA, b'{"model":"m","message":{"content":"a"}}\n{"error":"boom"}\n'),
}


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "data"), SHORT.values(), ids=SHORT)
def test_where_a_short_stream_is_cut_twice_does_not_matter(dialect: Dialect, data: bytes) -> None:
    assert len(data) <= 400
    wanted = outcome(dialect, [data])
    for first, second in itertools.combinations(range(1, len(data)), 2):
        assert outcome(dialect, [data[:first], data[first:second], data[second:]]) == wanted


def feed_times(decoder: ChatDecoder, piece: bytes, times: int) -> None:
    for _ in range(times):
        decoder.feed(piece, [])


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "start"), [(OLLAMA, b"{"), (OPENAI, b"data: {")])
def test_no_more_than_the_budget_of_a_line_is_held(dialect: Dialect, start: bytes) -> None:
    decoder, piece = dialect.decoder(QUESTION), b"x" * 2**16
    decoder.feed(start, [])
    tracemalloc.start()
    try:
        with pytest.raises(ResponseTooLarge):
            feed_times(decoder, piece, 1024)  # 64 MiB
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most <= MAX_LINE * 1.25 + 2**20  # what grows is given an eighth more than it needs


@pytest.mark.parametrize(("dialect", "data"), WHOLE.values(), ids=WHOLE)
def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_answer(
    dialect: Dialect, data: bytes
) -> None:
    whole = fold(outcome(dialect, [data]).events)
    for end in range(len(data)):
        events, error = outcome(dialect, [data[:end]])
        if error is None:
            assert fold(events).choices == whole.choices
        else:
            document = dialect is OPENAI and data.strip().startswith(b"{")
            # A half of a document is no JSON; and what has not begun is no answer.
            broken = StreamInterrupted if begun(dialect, data[:end]) else ParseError
            assert error[0] is (ParseError if document else broken), (data[:end], error)


def begun(dialect: Dialect, data: bytes) -> bool:
    """Whether an answer has begun: with half a line of Ollama's, or with a whole event."""
    return bool(data.strip()) if dialect is OLLAMA else bool(outcome(dialect, [data]).events)


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 12),
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from(
                [b"null", b"[", b"{", b'"', b"\n", b"\r", b"\n\n", b"\xff", b"\\u", b"\\ud800"]
            ),
            st.sampled_from([b"-1", b"1e999", b"9" * 400, b"NaN", b'{"error"', b"data:", b"true"]),
        ),
    ),
    max_size=5,
)


@settings(max_examples=250)
@given(st.sampled_from(sorted(ALL)), MUTATIONS, st.lists(st.integers(0, 2**16), max_size=5))
def test_any_bytes_give_events_or_an_error_of_ours(
    name: str, mutations: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    dialect, data = ALL[name]
    for place, length, new in mutations:
        start = place % (len(data) + 1)
        data = data[:start] + new + data[start + length :]
    cuts = sorted(place % (len(data) + 1) for place in places)
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    wanted = outcome(dialect, [data])
    assert outcome(dialect, parts) == wanted
    assert outcome(dialect, bytewise(data)) == wanted


# A whole reply and a stream of it say the same.

TEXT = st.text(max_size=8)
ARGUMENTS = st.dictionaries(TEXT, st.one_of(st.integers(-9, 9), TEXT, st.none()), max_size=2)
CALLS = st.lists(
    st.tuples(st.sampled_from([None, "call_x"]), st.sampled_from(["f", "g"]), ARGUMENTS), max_size=2
)
COUNT = st.none() | st.integers(0, 99)


def pieces(text: str) -> list[str]:
    return [text[:2], text[2:5], text[5:]]


@settings(max_examples=60)
@given(TEXT, TEXT, CALLS, COUNT, COUNT)
def test_the_fold_of_an_ollama_stream_is_the_whole_reply(
    text: str,
    thinking: str,
    calls: list[tuple[str | None, str, Json]],
    prompt: int | None,
    made: int | None,
) -> None:
    asked = [
        {"id": name, "function": {"index": index, "name": function, "arguments": arguments}}
        for index, (name, function, arguments) in enumerate(calls)
    ]
    end = {"done": True, "done_reason": "stop", "eval_duration": 5, "load_duration": 7}
    end |= {"prompt_eval_count": prompt, "eval_count": made}
    deltas: list[Json] = [{"thinking": piece} for piece in pieces(thinking)]
    deltas += [{"content": piece} for piece in pieces(text)]
    deltas += [{"tool_calls": [call]} for call in asked]
    stream = ndjson(*map(ollama_chunk, deltas), ollama_chunk({}, **end))
    message = {"content": text, "thinking": thinking, "tool_calls": asked}
    whole = ndjson(ollama_chunk(message, **end)).strip()
    folded = fold(outcome(OLLAMA, [stream]).events)
    assert folded == fold(outcome(OLLAMA, [whole]).events)
    assert (folded.text, folded.reasoning) == (text, thinking)
    assert [json.loads(call.arguments) for call in folded.tool_calls] == [a for _, _, a in calls]


@settings(max_examples=60)
@given(TEXT, TEXT, CALLS, COUNT, st.sampled_from(["reasoning", "reasoning_content"]))
def test_the_fold_of_an_openai_stream_is_the_whole_reply(
    text: str,
    thinking: str,
    calls: list[tuple[str | None, str, Json]],
    made: int | None,
    key: str,
) -> None:
    numbers = {
        "usage": {"completion_tokens": made, "completion_tokens_details": {"reasoning_tokens": 1}},
        "timings": {"prompt_ms": 5, "predicted_n": 3, "predicted_ms": 2.0},
    }
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    deltas += [{key: piece} for piece in pieces(thinking)]
    deltas += [{"content": piece} for piece in pieces(text)]
    asked: list[Json] = []
    for index, (name, function, arguments) in enumerate(calls):
        called = json.dumps(arguments)
        asked.append({"id": name, "function": {"name": function, "arguments": called}})
        parts: list[Json] = [{"id": name, "function": {"name": function, "arguments": ""}}]
        parts += [{"function": {"arguments": piece}} for piece in pieces(called)]
        deltas += [{"tool_calls": [{"index": index, **part}]} for part in parts]
    stream = sse(
        *map(openai_chunk, deltas),
        openai_chunk({}, "stop"),
        {"model": "m", "choices": [], **numbers},
    )
    message = {"content": text, key: thinking, "tool_calls": asked}
    choice = {"message": message, "finish_reason": "stop"}
    whole = json.dumps({"id": "c", "model": "m", "choices": [choice], **numbers}).encode()
    folded = fold(outcome(OPENAI, [stream]).events)
    assert folded == fold(outcome(OPENAI, [whole]).events)
    assert (folded.text, folded.reasoning) == (text, thinking)
    assert [json.loads(call.arguments) for call in folded.tool_calls] == [a for _, _, a in calls]


# What both dialects share.


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"null", ""),
        (b'""', ""),
        (b'{"b": 1,  "a":2}', '{"b": 1,  "a":2}'),
        (b'"{\\"a\\":\\u00fc}"', '{"a":ü}'),
        (b'"{\\"a"', '{"a'),
        ('{"a":"ü"}'.encode(), '{"a":"ü"}'),
    ],
)
def test_arguments_come_as_text_or_as_an_object(raw: bytes, text: str) -> None:
    assert arguments_text(msgspec.Raw(raw)) == text


@pytest.mark.parametrize("raw", [b'"\xff"', b'{"a":"\xff"}'])
def test_arguments_that_are_no_text_break_the_contract(raw: bytes) -> None:
    with pytest.raises(ParseError, match="not UTF-8"):
        arguments_text(msgspec.Raw(raw))


@pytest.mark.parametrize(
    ("duration", "unit", "expected"),
    [
        (1_500_000_000, 1e9, 1.5),
        (250.0, 1e3, 0.25),
        (0, 1e9, 0.0),
        (None, 1e9, None),
        (-1, 1e9, None),
        (2**63, 1.0, 2.0**63),
        (2**63 + 1, 1.0, None),
        (10**400, 1e9, None),
    ],
)
def test_a_duration_is_in_seconds_or_unknown(
    duration: float | None, unit: float, expected: float | None
) -> None:
    assert seconds(duration, unit) == expected


@pytest.mark.parametrize(
    ("tokens", "duration", "expected"),
    [
        (30, 1.5, 20.0),
        (None, 1.5, None),
        (30, None, None),
        (0, 1.5, None),
        (-3, 1.5, None),
        (30, 0.0, None),
        (30, 1e-322, None),
        (30, 0.9e-9, None),
        (1, 1e-9, 1 / 1e-9),
        (2**63, 1.0, 2.0**63),
        (2**63 + 1, 1.0, None),
        (10**400, 1.5, None),
    ],
)
def test_a_speed_is_possible_or_unknown(
    tokens: int | None, duration: float | None, expected: float | None
) -> None:
    assert speed(tokens, duration) == expected


@pytest.mark.parametrize(
    ("sent", "data"),
    [
        ([0, 255], b"\x00\xff"),
        ([], b""),
        ([0, 256], None),
        ([-1, 0], None),
        (None, None),
    ],
)
def test_the_bytes_of_a_token_are_bytes_or_unknown(
    sent: list[int] | None, data: bytes | None
) -> None:
    token = Logprob(token="a", logprob=-1.0, bytes=sent)
    assert logprobs_delta([token], 0) == LogprobsDelta((TokenLogprob("a", -1.0, data),))


def test_beside_a_token_stand_as_many_others_as_were_asked_for() -> None:
    others = [Logprob(token=name, logprob=-2.0, top_logprobs=[]) for name in "bcd"]
    others[0].top_logprobs = others[1:]
    token = Logprob(token="a", logprob=-1.0, top_logprobs=others)
    for most in range(5):
        told = tuple(TokenLogprob(name, -2.0) for name in "bcd"[:most])
        assert logprobs_delta([token], most).tokens == (TokenLogprob("a", -1.0, None, told),)


@pytest.mark.parametrize(
    ("logprobs", "asked", "most"), [(False, None, None), (True, None, 0), (True, 3, 3)]
)
def test_other_tokens_are_told_where_probabilities_were_asked_for(
    asked: int | None, most: int | None, *, logprobs: bool
) -> None:
    request = CompletionRequest("m", "Hi", logprobs=logprobs, top_logprobs=asked)
    assert most_logprobs(request) == most


def vectors(rows: list[list[float]], count: int) -> Any:  # noqa: ANN401
    return embedding_response(rows, count=count, model="m", usage=Usage(prompt_tokens=3))


@pytest.mark.parametrize(
    ("rows", "normalized"),
    [([[0.6, 0.8], [1.0, 0.0]], True), ([[0.6, 0.8], [2.0, 0.0]], False), ([[0.0, 0.0]], False)],
)
def test_vectors_tell_whether_their_length_is_one(
    rows: list[list[float]], *, normalized: bool
) -> None:
    response = vectors(rows, len(rows))
    assert (response.model, response.usage) == ("m", Usage(prompt_tokens=3))
    assert response.normalized is normalized
    assert [[round(number, 6) for number in row] for row in response.embeddings] == rows


@pytest.mark.parametrize(
    ("rows", "count", "why"),
    [
        ([[1.0]], 2, "1 vectors for 2 texts"),
        ([[1.0], [2.0]], 1, "2 vectors for 1 texts"),
        ([[1.0], [1.0, 2.0]], 2, "no matrix: rows of 1 to 2"),
        ([[], []], 2, "empty vectors"),
        ([[float("nan")]], 1, "infinite or none"),
        ([[1.0], [1e39]], 2, "infinite or none"),
    ],
)
def test_vectors_that_cannot_be_used_break_the_contract(
    rows: list[list[float]], count: int, why: str
) -> None:
    with pytest.raises(ParseError, match=why):
        vectors(rows, count)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FLOATS = base64.b64encode(struct.pack("<2f", 1, 2)).decode()
EMBEDDED = st.fixed_dictionaries(
    {},
    optional={
        "embeddings": st.just([[1.0]]) | JSON,
        "data": st.just([{"embedding": FLOATS}])
        | st.lists(
            st.fixed_dictionaries({"embedding": st.just(FLOATS) | JSON, "index": JSON}), max_size=2
        ),
        "usage": JSON,
        "model": JSON,
    },
)


@settings(max_examples=150)
@given(st.sampled_from([OLLAMA, OPENAI]), EMBEDDED.map(json.dumps).map(str.encode) | st.binary())
def test_any_reply_gives_vectors_or_an_error_of_ours(dialect: Dialect, body: bytes) -> None:
    reply = HTTPReply(status=200, headers={}, body=body)
    try:
        response = dialect.parse_embed(reply, count=1)
    except ParseError:
        return
    assert len(response.embeddings) == 1
