import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from patinox.cli.repl import transcript
from patinox.provider.types import CompletionMessage
from patinox.testing import Exchange, LMStudioEmulator, OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


Hold: TypeAlias = Callable[..., Any]
Asked: TypeAlias = Callable[[], list[list[dict[str, str]]]]


@pytest.fixture
def hold(run_on_terminal: Run, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Hold a conversation of these lines; an exception among them is raised by the keyboard."""

    def call(
        *said: str | type[BaseException],
        lines: Iterator[str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Any:  # noqa: ANN401 - a `Result`
        keys = lines or iter(said)

        def read(_: str) -> str:
            line = next(keys, EOFError)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr("builtins.input", read)
        return run_on_terminal("chat", *arguments)

    return call


@pytest.fixture
def asked(ollama: OllamaEmulator) -> Asked:
    def conversations() -> list[list[dict[str, str]]]:
        return [seen.json["messages"] for seen in ollama.requests if seen.path == "/api/chat"]

    return conversations


def contents(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def test_a_conversation_remembers_what_was_said(hold: Hold, asked: Asked) -> None:
    result = hold("one", "", "two", arguments=("qwen3:4b",))
    assert result.code == 0
    assert result.out == "Blue, mostly.\n" * 2
    assert "qwen3:4b on Ollama. /help lists the commands, Ctrl-D leaves." in result.err
    assert [contents(each) for each in asked()] == [["one"], ["one", "Blue, mostly.", "two"]]


@pytest.mark.usefixtures("ollama")
def test_whoever_answers_is_said_once_before_the_first_question(hold: Hold) -> None:
    for arguments in ((), ("qwen3:4b",)):
        said = hold("/exit", arguments=arguments).err
        assert said.count("qwen3:4b on Ollama") == 1
        assert "/help lists the commands, Ctrl-D leaves." in said


def test_exit_leaves(hold: Hold, asked: Asked) -> None:
    assert hold("/exit", "one").code == 0
    assert asked() == []


def test_ctrl_c_at_the_prompt_says_how_to_leave(hold: Hold, asked: Asked) -> None:
    result = hold(KeyboardInterrupt, "one")
    assert "Ctrl-D or /exit leaves." in result.err
    assert len(asked()) == 1


def test_the_model_can_be_changed(hold: Hold, asked: Asked, ollama: OllamaEmulator) -> None:
    result = hold("/model", "/model llama3.2:3b", "/model nope:1b", "hi")
    assert "qwen3:4b on Ollama\x1b" in result.err
    assert "llama3.2:3b on Ollama (from now on)" in result.err
    assert "No model 'nope:1b' on any service." in result.err
    assert ollama.requests[-1].json["model"] == "llama3.2:3b"
    assert len(asked()) == 1


def test_an_instruction_holds_until_it_is_taken_back(hold: Hold, asked: Asked) -> None:
    hold("/system Be brief.", "one", "/system", "two", arguments=("--system", "At first."))
    first, second = asked()
    assert first[0] == {"role": "system", "content": "Be brief."}
    assert second[0] == {"role": "user", "content": "one"}


def test_retry_asks_the_last_question_again_as_if_it_were_the_first_time(
    hold: Hold, asked: Asked
) -> None:
    result = hold("/retry", "one", "/retry")
    assert "There is no question yet." in result.err
    assert [contents(each) for each in asked()] == [["one"], ["one"]]


def test_an_answer_outlives_a_retry_that_fails(hold: Hold, ollama: OllamaEmulator) -> None:
    fail_from_now = False

    async def fail(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat" or not fail_from_now:
            return False
        await exchange.reply(400, b'{"error": "no"}')
        return True

    def lines() -> Iterator[str]:
        nonlocal fail_from_now
        yield "one"
        fail_from_now = True
        yield "/retry"
        fail_from_now = False
        yield "two"

    ollama.faults.append(fail)
    hold(lines=lines())
    last = ollama.requests[-1].json["messages"]
    assert contents(last) == ["one", "Blue, mostly.", "two"]


def test_a_question_that_failed_is_asked_again_after_what_was_answered(
    hold: Hold, ollama: OllamaEmulator
) -> None:
    async def fail(exchange: Exchange) -> bool:
        if (
            exchange.path != "/api/chat"
            or contents(json.loads(exchange.body)["messages"])[-1] != "two"
        ):
            return False
        ollama.faults.clear()
        await exchange.reply(400, b'{"error": "no"}')
        return True

    ollama.faults.append(fail)
    hold("one", "two", "/retry")
    assert contents(ollama.requests[-1].json["messages"]) == ["one", "Blue, mostly.", "two"]


def test_a_conversation_is_saved_to_a_new_file_only(hold: Hold, asked: Asked) -> None:
    result = hold("/save", "/system Be brief.", "one", "/save talk.md", "/save talk.md")
    assert asked()
    assert Path("talk.md").read_text(encoding="utf-8") == (
        "## system\n\nBe brief.\n\n## user\n\none\n\n## assistant\n\nBlue, mostly.\n"
    )
    assert "Say where: /save FILE" in result.err
    assert "Saved to talk.md." in result.err
    assert "talk.md was not written: File exists." in result.err


def test_help_lists_the_commands_and_an_unknown_one_is_said(hold: Hold, asked: Asked) -> None:
    result = hold("/help", "/nope")
    for command in ("/model", "/system", "/image", "/save", "/retry", "/help", "/exit"):
        assert command in result.out
    assert "There is no command /nope." in result.err
    assert asked() == []


def test_a_picture_goes_with_the_next_question_only(
    hold: Hold, seeing: OllamaEmulator, picture: str
) -> None:
    result = hold(
        "one", f"/image {picture}", f"/image {picture}", "two", "/retry", "three", "/save said.md"
    )
    assert "It goes with the next question." in result.err
    assert "2 pictures go with the next question." in result.err
    asked = [seen.json["messages"] for seen in seeing.requests if seen.path == "/api/chat"]
    pictures = [[len(each.get("images", ())) for each in messages] for messages in asked]
    assert pictures == [[0], [0, 0, 2], [0, 0, 2], [0, 0, 2, 0, 0]]
    assert "## user\n\ntwo\n\n(image/png)\n\n(image/png)\n" in Path("said.md").read_text("utf-8")


def test_pictures_can_be_taken_back_and_a_wrong_one_is_said(
    hold: Hold, seeing: OllamaEmulator, picture: str
) -> None:
    result = hold("/image nope.png", "/image", "one", arguments=("--image", picture))
    assert "There is no file 'nope.png'." in result.err
    assert "No picture." in result.err
    (question,) = [seen.json["messages"][0] for seen in seeing.requests if seen.path == "/api/chat"]
    assert not question.get("images")


def test_the_picture_of_the_command_goes_with_the_first_question(
    hold: Hold, seeing: OllamaEmulator, picture: str
) -> None:
    hold("one", "two", arguments=("--image", picture))
    last = [seen.json["messages"] for seen in seeing.requests if seen.path == "/api/chat"][-1]
    assert [len(each.get("images", ())) for each in last] == [1, 0, 0]


def test_a_path_is_no_command(hold: Hold, asked: Asked) -> None:
    hold("/etc/hosts is what?")
    assert contents(asked()[0]) == ["/etc/hosts is what?"]


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[LMStudioEmulator]:
    with LMStudioEmulator().run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        yield server


def test_a_failure_ends_the_answer_and_not_the_conversation(
    hold: Hold, crashing: LMStudioEmulator
) -> None:
    result = hold("hi", arguments=("-t", "9"))
    assert result.code == 0
    assert "`temperature` is 9;" in result.err
    assert not any(seen.path.endswith("/chat/completions") for seen in crashing.requests)


def test_a_transcript_has_a_heading_for_each_turn() -> None:
    messages = [CompletionMessage.user("a"), CompletionMessage.assistant("b")]
    assert transcript(None, messages) == "## user\n\na\n\n## assistant\n\nb\n"
