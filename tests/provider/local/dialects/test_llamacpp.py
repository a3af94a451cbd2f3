"""What is particular about llama.cpp: filling in the middle, thinking, grammars, probabilities."""

import json
from typing import Any

import pytest

from patinox.provider.assemble import Assembler
from patinox.provider.errors import CapabilityNotSupported, InvalidRequest
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.errors import ServiceError, StreamInterrupted
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    LlamaCppOptions,
    ResponseStarted,
    StreamEvent,
    TextCompletionRequest,
    TokenLogprob,
    Usage,
)

MIDDLE = TextCompletionRequest("m", "def f():", "\n", max_tokens=2, top_logprobs=1)
# Frames of `/completion`, whose reply `/infill` gives, as a server of build 11541 sent them.
PROBABILITIES = [
    {
        "id": 669,
        "token": "ves",
        "bytes": [118, 101, 115],
        "logprob": -0.84,
        "top_logprobs": [{"id": 669, "token": "ves", "bytes": [118, 101, 115], "logprob": -0.84}],
    }
]
PIECE = {"index": 0, "content": "ves", "tokens": [669], "stop": False, "id_slot": -1}
TIMINGS = {"prompt_n": 3, "prompt_ms": 27.5, "predicted_n": 2, "predicted_ms": 100.0}
LAST = {
    "index": 0,
    "content": "",
    "stop": True,
    "model": "patinox-tiny",
    "tokens_predicted": 2,
    "tokens_evaluated": 3,
    "truncated": False,
    "stop_type": "limit",
    "stopping_word": "",
    "timings": TIMINGS,
}


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def body(http: HTTPRequest) -> dict[str, Any]:
    assert http.body is not None
    decoded: dict[str, Any] = json.loads(http.body)
    return decoded


def chat(
    *,
    stream: bool = True,
    words: dict[str, Any] | None = None,
    **fields: Any,  # noqa: ANN401
) -> dict[str, Any]:
    request = CompletionRequest("m", "Hi", **fields)
    return body(LLAMACPP.render_chat(request, model="m", stream=stream, words=words or {}))


def decoded(
    *frames: dict[str, Any], whole: bool = False, request: TextCompletionRequest = MIDDLE
) -> CompletionResponse:
    decoder, events = LLAMACPP.decoder(request), list[StreamEvent]()
    if whole:
        decoder.feed(json.dumps(frames[0]).encode(), events)
    else:
        for frame in frames:
            decoder.feed(f"data: {json.dumps(frame)}\n\n".encode(), events)
    decoder.close(events)
    assembler = Assembler()
    assembler.extend(events)
    return assembler.response()


def test_a_middle_is_asked_for_in_the_native_words() -> None:
    http = LLAMACPP.render_text(MIDDLE, model="m", stream=True, words={"id_slot": 1})
    assert http.path == "/infill"
    sent = body(http)
    assert (sent["input_prefix"], sent["input_suffix"]) == ("def f():", "\n")
    assert (sent["max_tokens"], sent["n_probs"], sent["id_slot"]) == (2, 1, 1)
    assert "top_logprobs" not in sent
    plain = TextCompletionRequest("m", "a", "b")
    assert "n_probs" not in body(LLAMACPP.render_text(plain, model="m", stream=True, words={}))


def test_vectors_are_asked_for_in_base64() -> None:
    http = LLAMACPP.render_embed(EmbeddingRequest("m", ["a"]), model="m", words={}, room=None)
    assert body(http)["encoding_format"] == "base64"


def test_a_text_without_an_end_is_an_ordinary_completion() -> None:
    request = TextCompletionRequest("m", "Once")
    http = LLAMACPP.render_text(request, model="m", stream=False, words={})
    assert (http.path, body(http)["prompt"]) == ("/v1/completions", "Once")


def test_a_stream_of_a_middle_is_the_same_as_the_whole() -> None:
    streamed = decoded({**PIECE, "completion_probabilities": PROBABILITIES}, LAST)
    whole = decoded(
        {**LAST, "content": "ves", "completion_probabilities": PROBABILITIES}, whole=True
    )
    assert streamed == whole
    assert (whole.text, whole.finish_reason, whole.model) == ("ves", "length", "patinox-tiny")
    assert whole.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    assert (whole.timings.tokens_per_second, whole.timings.prompt_seconds) == (20.0, 0.0275)
    (token,) = whole.logprobs
    assert token == TokenLogprob("ves", -0.84, b"ves", (TokenLogprob("ves", -0.84, b"ves"),))


def frame(**fields: Any) -> bytes:  # noqa: ANN401
    return f"data: {json.dumps(fields)}\n\n".encode()


def test_a_middle_ends_with_the_piece_that_says_so_and_not_with_the_connection() -> None:
    decoder, events = LLAMACPP.decoder(MIDDLE), list[StreamEvent]()
    decoder.feed(frame(content="ves"), events)
    assert not decoder.ended
    decoder.feed(frame(**LAST), events)
    assert decoder.ended


def test_a_middle_is_begun_once_however_often_its_model_is_named() -> None:
    decoder, events = LLAMACPP.decoder(MIDDLE), list[StreamEvent]()
    for piece in ({"model": "m"}, {"model": "m"}, {"content": "ves"}):
        decoder.feed(frame(**piece), events)
    assert [event for event in events if isinstance(event, ResponseStarted)] == [
        ResponseStarted(model="m")
    ]


def test_other_tokens_that_were_not_asked_for_are_left_out() -> None:
    request = TextCompletionRequest("m", "a", "b", logprobs=True)
    decoder, events = LLAMACPP.decoder(request), list[StreamEvent]()
    decoder.feed(frame(content="ves", completion_probabilities=PROBABILITIES), events)
    assembler = Assembler()
    assembler.extend(events)
    assert assembler.response().logprobs == (TokenLogprob("ves", -0.84, b"ves"),)


@pytest.mark.parametrize("stop_type", ["eos", "word", "none", None])
def test_any_end_but_a_limit_is_the_models(stop_type: str | None) -> None:
    assert decoded(PIECE, {**LAST, "stop_type": stop_type}).finish_reason == "stop"


def test_text_about_thinking_in_a_middle_is_text() -> None:
    assert decoded({**PIECE, "content": "<think>a</think>b"}, LAST).text == "<think>a</think>b"


def test_a_middle_that_breaks_off_is_no_answer() -> None:
    with pytest.raises(StreamInterrupted):
        decoded(PIECE)


def test_an_error_in_the_middle_is_the_servers() -> None:
    error = {"error": {"code": 500, "message": "Compute error.", "type": "server_error"}}
    with pytest.raises(ServiceError, match="Compute error"):
        decoded(PIECE, error)


def test_a_model_that_fills_in_no_middle_says_so() -> None:
    said = "Infill is not supported by this model: prefix token is missing. "
    error = {"error": {"code": 501, "message": said, "type": "not_supported_error"}}
    reply = HTTPReply(status=501, headers={}, body=json.dumps(error).encode())
    assert isinstance(LLAMACPP.classify(reply), CapabilityNotSupported)


@pytest.mark.parametrize(
    ("think", "said"),
    [
        (True, {"chat_template_kwargs": {"enable_thinking": True}}),
        (False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ("high", {"reasoning_effort": "high"}),
    ],
)
def test_whether_to_think_is_told_to_the_template(think: Any, said: dict[str, Any]) -> None:  # noqa: ANN401
    assert chat(think=think).items() >= said.items()


def test_probabilities_beside_calls_are_asked_for_in_one_piece() -> None:
    assert chat(tools=[add], logprobs=True)["stream"] is False
    assert chat(tools=[add], logprobs=True, tool_choice="none")["stream"] is True
    assert chat(tools=[add])["stream"] is chat(logprobs=True)["stream"] is True


def test_a_grammar_is_sent_alone() -> None:
    options = LlamaCppOptions(grammar='root ::= "a"')
    assert chat(words=options.words())["grammar"] == 'root ::= "a"'
    assert chat(words=options.words(), tools=[add], tool_choice="none")["grammar"]
    both: tuple[dict[str, Any], ...] = ({"schema": list[int]}, {"tools": [add]})
    for fields in both:
        with pytest.raises(InvalidRequest, match="`grammar` excludes `schema` and `tools`"):
            chat(words=options.words(), **fields)


def test_probabilities_that_nobody_asked_for_are_not_kept() -> None:
    unasked = TextCompletionRequest("m", "def f():", "\n")
    told = decoded({**PIECE, "completion_probabilities": PROBABILITIES}, LAST, request=unasked)
    assert (told.text, told.logprobs) == ("ves", ())
