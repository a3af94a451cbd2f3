"""Turns of a conversation: texts and pictures in their order, in every form they are written in."""

import base64
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.provider.errors import InvalidRequest
from patinox.provider.images import Image
from patinox.provider.types import (
    CompletionChoice,
    CompletionMessage,
    CompletionResponse,
    ToolCall,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PICTURE = Image(PNG)
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def test_texts_and_pictures_keep_their_order() -> None:
    message = CompletionMessage.user(["Compare", PICTURE, "with", PICTURE])
    assert message.parts == ("Compare", PICTURE, "with", PICTURE)
    assert message.images == (PICTURE, PICTURE)
    assert message.content == "Compare\nwith"


def test_texts_alone_become_one_text() -> None:
    message = CompletionMessage.user(["one", "two"])
    assert message == CompletionMessage.user("one\ntwo")
    assert message.parts == message.images == ()


@pytest.mark.parametrize("content", [[PICTURE], (PICTURE,)])
def test_a_picture_needs_no_text(content: list[Image]) -> None:
    message = CompletionMessage.user(content)
    assert (message.content, message.parts) == ("", (PICTURE,))


def test_parts_are_read_in_the_form_of_the_openai_api() -> None:
    message = CompletionMessage.of(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            ],
        }
    )
    assert message == CompletionMessage.user(["What is this?", PICTURE])


@pytest.mark.parametrize("url", ["https://example.com/a.png", "/etc/passwd", "file:///a.png", ""])
def test_nothing_is_fetched_or_read_for_a_message(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(InvalidRequest, match="nothing is fetched") as caught:
        CompletionMessage.of({"role": "user", "content": [part]})
    assert "Image.of(path)" in str(caught.value)


@pytest.mark.parametrize(
    "part", [7, None, {}, {"type": "audio"}, {"type": "text"}, {"type": "image_url"}, b"bytes"]
)
def test_a_part_of_another_kind_is_refused(part: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="A part of a message is a text or an `Image`"):
        CompletionMessage.user([part])


@pytest.mark.parametrize("content", [7, None, b"bytes", {"type": "text"}])
def test_content_of_another_kind_is_refused(content: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="The content of a message must be text"):
        CompletionMessage.user(content)


def test_a_message_that_is_changed_keeps_its_pictures() -> None:
    message = CompletionMessage.user(["a", PICTURE])
    assert replace(message, role="assistant").parts == message.parts
    other = Image(b"GIF89a")
    assert replace(message, parts=("a", other)).images == (other,)


@pytest.mark.parametrize("content", ["", "something else"])
def test_content_and_parts_cannot_say_different_things(content: str) -> None:
    with pytest.raises(InvalidRequest, match="is not what its `parts` say"):
        CompletionMessage(role="user", content=content, parts=("a", PICTURE))


@pytest.mark.parametrize("field", [{"rôle": "user"}, {"role": 7}, {"role": "user", "content": 7}])
def test_a_mapping_with_other_fields_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="A message is a string or has `role`"):
        CompletionMessage.of(field)


def test_the_result_of_a_call_names_the_call() -> None:
    call = ToolCall("call_1", "add", "{}")
    assert CompletionMessage.tool("7", call) == CompletionMessage(
        role="tool", content="7", tool_call_id="call_1", name="add"
    )


def test_a_message_shows_how_much_was_said_and_not_what() -> None:
    message = CompletionMessage.user(["a secret", PICTURE])
    assert repr(message) == "<CompletionMessage user: 8 characters, 1 pictures>"
    assert repr(CompletionMessage.user("secret")) == "<CompletionMessage user: 6 characters>"


def test_what_a_model_said_does_not_show_where_an_answer_is_printed() -> None:
    call = ToolCall("1", "weather", '{"city": "secret"}')
    message = CompletionMessage(role="assistant", content="secret", tool_calls=(call,))
    choice = CompletionChoice(message=message, finish_reason="stop")
    answer = CompletionResponse(model="m", service="ollama", choices=(choice,), parsed="secret")
    assert repr(call) == "<ToolCall weather 1: 18 characters>"
    assert repr(answer) == "<CompletionResponse of m on ollama: 6 characters, stop>"
    assert "secret" not in f"{call!r} {message!r} {answer!r} {choice!r}"
