"""The same request in each dialect's words: sampling, tools, schemas, pictures, thinking, texts."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from patinox.provider.assemble import Assembler
from patinox.provider.errors import InvalidRequest
from patinox.provider.images import Image
from patinox.provider.local.dialects.base import SAMPLING, Dialect
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.dialects.ollama import OllamaDialect
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    LMStudioOptions,
    OllamaOptions,
    StreamEvent,
    TextCompletionRequest,
    TokenLogprob,
    ToolCall,
)

OLLAMA, OPENAI = OllamaDialect(), OpenAIDialect()
DIALECTS: dict[str, Dialect] = {"ollama": OLLAMA, "openai": OPENAI, "llamacpp": LLAMACPP}
EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
LIKE_OPENAI = pytest.mark.parametrize("dialect", [OPENAI, LLAMACPP], ids=["openai", "llamacpp"])
PNG = Image(b"\x89PNG\r\n\x1a\n" + bytes(8))
SCHEMA = {"type": "array", "items": {"type": "integer"}}
HOW: dict[str, Any] = {
    "temperature": 0.5,
    "max_tokens": 7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "repeat_penalty": 1.1,
    "stop": ("END",),
    "seed": 3,
}


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def now() -> str:
    """Tell the time."""
    return "12:00"


def chat(dialect: Dialect, *messages: CompletionMessage, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    request = CompletionRequest("m", messages or "Hi", **fields)
    return _sent(dialect, request, request.words_for("ollama"))


def text(dialect: Dialect, *said: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    request = TextCompletionRequest("m", *said, **fields)
    return _sent(dialect, request, request.words_for("ollama"))


def _sent(
    dialect: Dialect, request: CompletionRequest | TextCompletionRequest, words: Mapping[str, Any]
) -> dict[str, Any]:
    if isinstance(request, CompletionRequest):
        http = dialect.render_chat(request, model="m", stream=True, words=words)
    else:
        http = dialect.render_text(request, model="m", stream=True, words=words)
    assert http.method == "POST"
    assert not http.repeatable
    sent: dict[str, Any] = json.loads(http.body or b"")
    return {**sent, "path": http.path}


def names(tools: list[dict[str, Any]]) -> list[str]:
    return [tool["function"]["name"] for tool in tools]


# How tokens are chosen.


def test_every_way_to_choose_tokens_is_looked_at() -> None:
    assert set(HOW) == set(SAMPLING)


@pytest.mark.parametrize("field", SAMPLING)
@LIKE_OPENAI
def test_how_tokens_are_chosen_has_openais_names(dialect: Dialect, field: str) -> None:
    value = list(HOW[field]) if field == "stop" else HOW[field]
    plain, sent = chat(dialect), chat(dialect, **{field: HOW[field]})
    assert sent == {**plain, field: value}
    assert text(dialect, "Hi", **{field: HOW[field]})[field] == value


@pytest.mark.parametrize("field", SAMPLING)
def test_how_tokens_are_chosen_is_an_option_of_ollama(field: str) -> None:
    value = list(HOW[field]) if field == "stop" else HOW[field]
    name = "num_predict" if field == "max_tokens" else field
    for sent in (chat(OLLAMA, **{field: HOW[field]}), text(OLLAMA, "Hi", **{field: HOW[field]})):
        assert sent["options"] == {name: value}


@pytest.mark.parametrize(
    ("options", "beside", "within"),
    [
        (
            OllamaOptions(num_ctx=8, num_gpu=0, draft_num_predict=4),
            {},
            {"num_ctx": 8, "num_gpu": 0},
        ),
        (OllamaOptions(keep_alive=0.5, truncate=True), {"keep_alive": 0.5, "truncate": True}, None),
    ],
)
def test_what_ollama_alone_can_be_told_stands_where_it_looks_for_it(
    options: OllamaOptions, beside: dict[str, Any], within: dict[str, Any] | None
) -> None:
    for sent in (chat(OLLAMA, service_options=options), text(OLLAMA, "a", service_options=options)):
        assert sent.items() >= beside.items()
        assert (within is None) == ("options" not in sent)
        assert sent.get("options", {}).items() >= (within or {}).items()


def test_what_lm_studio_alone_can_be_told_stands_beside_the_rest() -> None:
    options = LMStudioOptions(ttl=60, draft_model="small")
    request = CompletionRequest("m", "Hi", service_options=options)
    assert _sent(OPENAI, request, request.words_for("lmstudio")).items() >= options.words().items()


@pytest.mark.parametrize("truncate", [None, True])
def test_ollama_is_told_to_refuse_what_it_would_cut_in_silence(*, truncate: bool | None) -> None:
    options = OllamaOptions(truncate=truncate)
    for said, cut in (("refuse", False), ("warn", truncate), ("ignore", truncate)):
        fields: dict[str, Any] = {"on_overflow": said, "service_options": options}
        assert chat(OLLAMA, **fields).get("truncate") is cut
        assert text(OLLAMA, "Hi", **fields).get("truncate") is cut


# Tools.


@pytest.mark.parametrize("choice", [None, "auto", "required"])
@LIKE_OPENAI
def test_tools_are_offered_with_how_to_choose(dialect: Dialect, choice: str | None) -> None:
    sent = chat(dialect, tools=[add, now], tool_choice=choice)
    assert names(sent["tools"]) == ["add", "now"]
    assert sent.get("tool_choice") == choice


@LIKE_OPENAI
def test_a_tool_that_must_be_called_is_the_only_one_offered(dialect: Dialect) -> None:
    sent = chat(dialect, tools=[add, now], tool_choice="now")
    assert (names(sent["tools"]), sent["tool_choice"]) == (["now"], "required")


@pytest.mark.parametrize("choice", [None, "auto"])
def test_ollama_is_offered_tools_and_nothing_about_choosing(choice: str | None) -> None:
    sent = chat(OLLAMA, tools=[add, now], tool_choice=choice)
    assert names(sent["tools"]) == ["add", "now"]
    assert "tool_choice" not in sent


@EVERY
def test_of_tools_that_shall_not_be_called_nothing_is_said(dialect: Dialect) -> None:
    assert chat(dialect, tools=[add], tool_choice="none") == chat(dialect)


@EVERY
def test_a_tool_is_described_the_same_everywhere(dialect: Dialect) -> None:
    (tool,) = chat(dialect, tools=[add])["tools"]
    assert tool == {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"left": {"type": "integer"}, "right": {"type": "integer"}},
                "required": ["left", "right"],
                "additionalProperties": False,
            },
        },
    }


@EVERY
def test_a_call_without_arguments_is_repeated_with_none(dialect: Dialect) -> None:
    turn = CompletionMessage(role="assistant", tool_calls=(ToolCall("c", "now", ""),))
    (message,) = chat(dialect, turn)["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] in ({}, "{}")


@EVERY
@pytest.mark.parametrize("arguments", ["{", "[1]", '"{}"', "x", '{"a": "\ud800"}'])
def test_a_history_with_arguments_that_are_no_object_is_refused(
    dialect: Dialect, arguments: str
) -> None:
    turn = CompletionMessage(role="assistant", tool_calls=(ToolCall("c", "f", arguments),))
    with pytest.raises(InvalidRequest, match="arguments of the call of tool 'f' are not a JSON"):
        chat(dialect, turn)


# What the answer looks like.


def test_a_schema_is_the_format_of_ollama() -> None:
    sent = chat(OLLAMA, schema=list[int], options={"format": "json"})
    assert sent["format"] == SCHEMA
    assert "options" not in sent


@LIKE_OPENAI
def test_a_schema_is_the_format_of_the_response(dialect: Dialect) -> None:
    assert chat(dialect, schema=list[int])["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }


# Pictures.


def test_ollama_takes_pictures_beside_the_text() -> None:
    (message,) = chat(OLLAMA, CompletionMessage.user(["What", PNG, "is this?", PNG]))["messages"]
    encoded = base64.b64encode(PNG.data).decode()
    assert message == {"role": "user", "content": "What\nis this?", "images": [encoded, encoded]}


@LIKE_OPENAI
def test_pictures_are_parts_of_the_content_in_their_order(dialect: Dialect) -> None:
    (message,) = chat(dialect, CompletionMessage.user(["What", PNG, "is this?"]))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "What"},
        {"type": "image_url", "image_url": {"url": PNG.data_url}},
        {"type": "text", "text": "is this?"},
    ]
    assert PNG.data_url.startswith("data:image/png;base64,")


# Thinking.


@pytest.mark.parametrize("think", [True, False, "low", "max"])
def test_ollama_is_told_whether_and_how_much_to_think(think: Any) -> None:  # noqa: ANN401
    assert chat(OLLAMA, think=think)["think"] == think


@pytest.mark.parametrize(
    ("think", "said"),
    [
        (True, {}),
        (False, {"reasoning_effort": "none"}),
        ("high", {"reasoning_effort": "high"}),
    ],
)
def test_openais_language_knows_efforts(think: Any, said: dict[str, Any]) -> None:  # noqa: ANN401
    assert chat(OPENAI, think=think) == {**chat(OPENAI), **said}


@EVERY
def test_nothing_is_said_of_thinking_unless_it_is_asked_for(dialect: Dialect) -> None:
    assert not {"think", "reasoning_effort", "chat_template_kwargs"} & set(chat(dialect))


# Texts.


def test_ollama_goes_on_with_a_text_as_it_stands_and_without_thinking() -> None:
    sent = text(OLLAMA, "Once")
    assert sent["path"] == "/api/generate"
    assert (sent["prompt"], sent["raw"], sent["think"]) == ("Once", True, False)
    assert "suffix" not in sent
    assert text(OLLAMA, "Once", options={"think": True})["think"] is True


def test_ollama_fills_in_the_middle_in_the_form_of_the_model() -> None:
    sent = text(OLLAMA, "Once", "end")
    assert (sent["prompt"], sent["suffix"]) == ("Once", "end")
    assert "raw" not in sent


def test_openais_language_has_a_suffix_too() -> None:
    assert text(OPENAI, "Once", "end")["suffix"] == "end"
    assert "suffix" not in text(OPENAI, "Once")


@LIKE_OPENAI
def test_a_text_is_completed_without_a_conversation(dialect: Dialect) -> None:
    sent = text(dialect, "Once")
    assert (sent["path"], sent["prompt"]) == ("/v1/completions", "Once")
    assert sent["stream_options"] == {"include_usage": True}
    assert "messages" not in sent


# Probabilities.


@pytest.mark.parametrize(("asked", "sent"), [(None, 0), (0, 0), (5, 5)])
def test_ollama_is_asked_for_probabilities_with_two_fields(asked: int | None, sent: int) -> None:
    for said in (
        chat(OLLAMA, logprobs=True, top_logprobs=asked),
        text(OLLAMA, "Hi", logprobs=True, top_logprobs=asked),
    ):
        assert (said["logprobs"], said["top_logprobs"]) == (True, sent)


@pytest.mark.parametrize(("asked", "sent"), [(None, 1), (0, 1), (5, 5)])
@LIKE_OPENAI
def test_of_a_text_one_number_asks_for_probabilities(
    dialect: Dialect, asked: int | None, sent: int
) -> None:
    said = text(dialect, "Hi", logprobs=True, top_logprobs=asked)
    assert said["logprobs"] == sent
    assert "top_logprobs" not in said


@pytest.mark.parametrize(("asked", "sent"), [(None, 1), (0, 1), (5, 5)])
@LIKE_OPENAI
def test_of_a_chat_two_fields_ask_for_probabilities(
    dialect: Dialect, asked: int | None, sent: int
) -> None:
    said = chat(dialect, logprobs=True, top_logprobs=asked)
    assert (said["logprobs"], said["top_logprobs"]) == (True, sent)


TOKENS = [
    {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [
            {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
            {"token": "Ho", "logprob": -1.5, "bytes": None},
        ],
    },
    {"token": "�", "logprob": -2.0, "bytes": [0xF0, 0x9F]},
    {"token": "?", "logprob": -3.0, "bytes": [999]},
]
TOP = (TokenLogprob("Hi", -0.5, b"Hi"), TokenLogprob("Ho", -1.5))
OLLAMAS = {"model": "m", "message": {"content": "Hi"}, "logprobs": TOKENS}
CHOICE = {"index": 0, "logprobs": {"content": TOKENS}, "finish_reason": "stop"}
ANSWERS: dict[str, tuple[Dialect, bool, list[dict[str, Any]]]] = {
    "ollama": (OLLAMA, True, [OLLAMAS, {"done": True, "done_reason": "stop"}]),
    "ollama's text": (OLLAMA, False, [{"response": "Hi", "logprobs": TOKENS, "done": True}]),
    "chat": (OPENAI, True, [{"choices": [{**CHOICE, "message": {"content": "Hi"}}]}]),
    "text": (LLAMACPP, False, [{"choices": [{**CHOICE, "text": "Hi"}]}]),
}


@pytest.mark.parametrize("asked", [None, 0, 1, 2, 20])
@pytest.mark.parametrize(("dialect", "chats", "lines"), ANSWERS.values(), ids=ANSWERS)
def test_as_many_other_tokens_are_told_as_were_asked_for(
    dialect: Dialect, lines: list[dict[str, Any]], asked: int | None, *, chats: bool
) -> None:
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": asked}
    request = (
        CompletionRequest("m", "Hi", **fields)
        if chats
        else TextCompletionRequest("m", "a", **fields)
    )
    decoder, events = dialect.decoder(request), list[StreamEvent]()
    decoder.feed("".join(f"{json.dumps(line)}\n" for line in lines).encode(), events)
    decoder.close(events)
    assembler = Assembler()
    assembler.extend(events)
    assert assembler.response().logprobs == (
        TokenLogprob("Hi", -0.5, b"Hi", TOP[: asked or 0]),
        TokenLogprob("�", -2.0, b"\xf0\x9f"),
        TokenLogprob("?", -3.0),  # bytes that cannot be are not told
    )
    assert assembler.text == "Hi"
