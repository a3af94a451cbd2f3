import doctest
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from patinox.cli import screen
from patinox.cli.screen import loading, summary, waiting_for
from patinox.provider.types import (
    CompletionChoice,
    CompletionMessage,
    CompletionResponse,
    LoadProgress,
    ModelInfo,
    Timings,
    Usage,
)
from patinox.testing import (
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
)
from patinox.testing.lmstudio import MODEL_CRASHED

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    answer = OllamaAnswer(text="a\x1b[2Jb\r\n\tc\x9b [red]d", thinking="\x1b]0;title\x07")
    model = OllamaModel(name="evil", capabilities=("completion", "thinking"), reply=answer)
    with OllamaEmulator(models=[model]).run_in_thread() as emulator:
        monkeypatch.setenv("OLLAMA_ENDPOINT", emulator.url)
        yield emulator


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[LMStudioEmulator]:
    model = LMStudioModel(
        key="broken",
        loaded_context_length=99,
        reply=LMStudioAnswer("half of it", error=MODEL_CRASHED),
    )
    with LMStudioEmulator([model]).run_in_thread() as emulator:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", emulator.url)
        yield emulator


def asked(server: OllamaEmulator | LMStudioEmulator) -> dict[str, object]:
    body = next(seen.body for seen in reversed(server.requests) if b"messages" in seen.body)
    request: dict[str, object] = json.loads(body)
    return request


def prompt(server: OllamaEmulator | LMStudioEmulator) -> object:
    messages = asked(server)["messages"]
    assert isinstance(messages, list)
    return messages[-1]["content"]


def test_the_answer_is_on_stdout_and_all_about_it_on_stderr(
    run: Run, ollama: OllamaEmulator
) -> None:
    result = run("chat", "qwen3:4b", "Which", "colour?")
    assert result.code == 0
    assert result.out == "Blue, mostly.\n"
    assert result.err.startswith("qwen3:4b on Ollama · ")
    assert "tokens/s · first token" in result.err
    assert prompt(ollama) == "Which colour?"


def test_a_first_word_that_names_no_model_is_part_of_the_prompt(
    run: Run, ollama: OllamaEmulator
) -> None:
    result = run("chat", "Which", "colour?")
    assert result.err.splitlines()[0] == "qwen3:4b on Ollama (in memory)"
    assert prompt(ollama) == "Which colour?"


@pytest.mark.parametrize("first", ["3+4=?", "10:30", "a b", "foo/bar1"])
def test_what_is_like_no_model_here_is_a_prompt(
    run: Run, ollama: OllamaEmulator, first: str
) -> None:
    assert run("chat", first).code == 0
    assert prompt(ollama) == first


def test_a_first_word_with_which_a_model_begins_is_no_prompt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OllamaModel(name="gpt-oss:20b")
    with OllamaEmulator(models=[model]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        result = run("chat", "gpt-oss", "hello")
        assert result.code == 3
        assert "Did you mean ollama::gpt-oss:20b?" in result.err
        for words in (("gpt-os", "hello"), ("gpt", "hello"), ("gpt-oss hello",)):
            assert run("chat", *words).code == 0
            assert prompt(server) == " ".join(words)


def test_with_an_option_for_the_model_all_words_are_the_prompt(
    run: Run, ollama: OllamaEmulator
) -> None:
    assert run("chat", "-m", "qwen3:4b", "llama3.2:3b", "is?").code == 0
    assert prompt(ollama) == "llama3.2:3b is?"


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("first", ["lama3.2", "llama9:7b", "ollama::nope", "ollama::foo/bar"])
def test_a_first_word_that_can_only_be_a_model_is_no_prompt(run: Run, first: str) -> None:
    result = run("chat", first, "hello")
    assert result.code == 3
    assert f"No model '{first.rpartition('::')[2]}'" in result.err
    assert "--model" in result.err


@pytest.mark.usefixtures("ollama")
def test_a_service_before_a_slash_names_a_model_as_well(run: Run) -> None:
    result = run("chat", "ollama/lama3.2", "hello")
    assert result.code == 3
    assert result.err.splitlines()[0] == "  No model 'lama3.2' on ollama."
    assert "Did you mean ollama::llama3.2:3b?" in result.err
    assert run("chat", "embedded/nope", "hello").code == 3


@pytest.mark.usefixtures("ollama")
def test_json_tells_why_this_model_where_none_was_named(run: Run) -> None:
    assert run("chat", "hello", "--json").json["reason"] == "in memory"
    named = run("chat", "qwen3:4b", "hello", "--json").json["reason"]
    assert named == "the only service that has the model"


@pytest.mark.parametrize("words", [("qwen3:4b",), ("--model", "qwen3:4b")])
def test_a_prompt_can_be_piped_in(run: Run, ollama: OllamaEmulator, words: tuple[str, ...]) -> None:
    assert run("chat", *words, stdin="from a pipe\n").code == 0
    assert prompt(ollama) == "from a pipe"


def test_words_and_what_is_piped_in_are_one_prompt(run: Run, ollama: OllamaEmulator) -> None:
    run("chat", "qwen3:4b", "Sum up:", stdin="a\nb\n")
    assert prompt(ollama) == "Sum up:\n\na\nb"


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize(
    "command", [["chat"], ["complete"], ["chat", "--json"], ["chat", "qwen3:4b"]]
)
def test_no_prompt_is_wrong_usage(run: Run, command: list[str]) -> None:
    result = run(*command)
    assert result.code == 2
    assert "There is no prompt." in result.out + result.err
    assert f"patinox {command[0]}" in result.out + result.err


def test_options_reach_the_server(run: Run, ollama: OllamaEmulator) -> None:
    options = ("--system", "Be brief.", "--temperature", "0.5", "--max-tokens", "7")
    run("chat", "qwen3:4b", "hi", *options, "--num-ctx", "2048", "--seed", "1", "--timeout", "9")
    request = asked(ollama)
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert request["options"] == {
        "temperature": 0.5,
        "num_predict": 7,
        "num_ctx": 2048,
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("level", "sent"), [("on", True), ("off", False), ("high", "high"), (None, None)]
)
@pytest.mark.parametrize("command", ["chat", "complete"])
def test_how_much_is_thought_reaches_the_server(
    run: Run, ollama: OllamaEmulator, command: str, level: str | None, sent: object
) -> None:
    options = () if level is None else ("--reasoning", level)
    run(command, "qwen3:4b", "hi", *options)
    assert asked(ollama).get("think") == sent


def test_reasoning_that_is_not_said_how_is_refused(run: Run, ollama: OllamaEmulator) -> None:
    result = run("chat", "qwen3:4b", "hi", "--reasoning", "")
    assert result.code == 2
    assert "`think` is empty" in result.err
    assert not [seen for seen in ollama.requests if seen.path == "/api/chat"]


def test_an_option_for_ollama_is_said_to_be_ignored_elsewhere(
    run: Run, lmstudio: LMStudioEmulator
) -> None:
    result = run("chat", "--num-ctx", "2048", "hi")
    assert "--num-ctx is ignored: it is for Ollama, and LM Studio answers." in result.err
    assert "num_ctx" not in asked(lmstudio)


@pytest.mark.usefixtures("ollama")
def test_a_wrong_value_is_wrong_usage(run: Run) -> None:
    result = run("chat", "-t", "9", "hi", "--json")
    assert result.code == 2
    assert "`temperature` is 9;" in result.json["error"]["message"]


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_the_service_can_be_chosen(run: Run) -> None:
    result = run("chat", "--service", "lmstudio", "hi")
    assert "qwen/qwen3-4b-2507 on LM Studio (in memory)" in result.err
    assert run("chat", "-s", "lmstudio", "qwen3:4b", "hi").code == 3


def test_a_service_without_a_chat_model_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaEmulator(models=()).run_in_thread() as empty:
        monkeypatch.setenv("OLLAMA_ENDPOINT", empty.url)
        result = run("chat", "-s", "ollama", "hi")
    assert result.code == 3
    assert "No model on ollama can chat." in result.err


@pytest.mark.usefixtures("ollama")
def test_reasoning_goes_to_stderr_where_it_is_asked_for(run: Run) -> None:
    shown = run("chat", "qwen3:4b", "hi", "--think")
    assert shown.out == "Blue, mostly.\n"
    assert shown.err.startswith("The sky.\n\nqwen3:4b on Ollama")
    assert "The sky." not in run("chat", "qwen3:4b", "hi").err


@pytest.mark.usefixtures("ollama")
def test_json_is_the_whole_response_and_its_text(run: Run) -> None:
    answer = run("chat", "qwen3:4b", "hi", "--json").json
    assert answer["text"] == "Blue, mostly."
    assert answer["service"] == "ollama"
    assert answer["choices"][0]["message"]["content"] == "Blue, mostly."
    assert answer["choices"][0]["message"]["reasoning"] == "The sky."
    assert answer["usage"]["completion_tokens"] > 0
    assert answer["timings"]["total_seconds"] > 0


@pytest.mark.usefixtures("ollama")
def test_complete_writes_the_text_and_nothing_else(run: Run) -> None:
    assert run("complete", "qwen3:4b", "hi") == (0, "Blue, mostly.\n", "")
    assert run("complete", "qwen3:4b", "hi", "--json").json["text"] == "Blue, mostly."


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("command", [["chat", "--think"], ["complete"], ["chat", "--json"]])
def test_an_answer_cannot_write_on_the_terminal(run: Run, command: list[str]) -> None:
    result = run(*command, "evil", "hi")
    said = (result.out + result.err).replace("\n", "").replace("\t", "")
    assert said.isprintable()
    if "--json" not in command:
        assert result.out == "a\\x1b[2Jb\n\tc\\x9b [red]d\n"


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("command", ["chat", "complete"])
def test_an_answer_that_breaks_off_keeps_what_arrived(run: Run, command: str) -> None:
    result = run(command, "broken", "hi")
    assert result.code == 1
    # What is shown as it comes is there already; a whole answer is the output, half of one is not.
    assert result.out == ("half of it\n" if command == "chat" else "")
    assert ("half of it" in result.err) is (command == "complete")
    assert "10 characters had arrived; they are above." in result.err
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("broken")
def test_an_answer_that_breaks_off_is_a_document_with_its_text(run: Run) -> None:
    result = run("chat", "broken", "hi", "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "StreamInterrupted"
    assert result.json["error"]["text"] == "half of it"


def test_who_failed_before_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = LMStudioModel(key="twice", load_error="out of memory", tools=False)
    good = OllamaModel(name="twice", reply="Here.")
    with (
        LMStudioEmulator([bad]).run_in_thread() as first,
        OllamaEmulator(models=[good]).run_in_thread() as second,
    ):
        monkeypatch.setenv("OLLAMA_ENDPOINT", second.url)
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", first.url)
        monkeypatch.setenv("LOCAL_PROVIDER_PREFERENCE", "lmstudio")
        streamed, whole = run("chat", "twice", "hi"), run("complete", "twice", "hi")
    assert streamed.out == whole.out == "Here.\n"
    assert "Not answered by lmstudio: " in streamed.err
    assert "Not answered by lmstudio: " in whole.err
    assert "twice on Ollama" in streamed.err


def test_a_cloud_model_is_refused(run: Run, ollama: OllamaEmulator) -> None:
    result = run("chat", "gpt-oss:120b-cloud", "hi")
    assert result.code == 1
    assert "PATINOX_ALLOW_CLOUD" in result.err
    assert not any(b"messages" in seen.body for seen in ollama.requests)


@pytest.mark.usefixtures("ollama")
def test_the_configured_model_is_the_default(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATINOX_MODEL_DEFAULT", "llama3.2:3b")
    assert "llama3.2:3b on Ollama (configured)" in run("chat", "hi").err


@pytest.mark.engine
def test_without_a_server_the_toy_inside_answers_and_is_called_one(run: Run) -> None:
    result = run("chat", "What is 3 + 4?")
    assert result.code == 0
    assert result.out.strip()
    first, second, *_ = result.err.splitlines()
    assert first == "patinox-tiny on embedded (only the demo model is here)"
    assert second == "patinox-tiny is a 1 MB toy that proves the path, not a useful assistant"


@pytest.mark.usefixtures("ollama")
@pytest.mark.engine
def test_what_is_inside_can_be_named_beside_a_server(run: Run) -> None:
    for words in (["show", "patinox-tiny"], ["models", "--service", "embedded"]):
        result = run(*words)
        assert result.code == 0
        assert "toy" in result.out


def test_a_terminal_shows_reasoning_dimmed_and_what_is_waited_for(
    run_on_terminal: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OllamaModel(
        name="qwen3:4b",
        capabilities=("completion", "thinking"),
        loaded=True,
        reply=OllamaAnswer(text="Blue, mostly.", thinking="The sky."),
    )
    with OllamaEmulator(models=[model], chunk_delay=0.02).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        monkeypatch.setattr("patinox.cli.screen._AT_FIRST", 0.0)
        shown = run_on_terminal("chat", "qwen3:4b", "hi")
        hidden = run_on_terminal("chat", "qwen3:4b", "hi", "--no-think")
        plain = run_on_terminal("chat", "qwen3:4b", "hi", term="dumb")
    assert shown.out == hidden.out == plain.out == "Blue, mostly.\n"
    assert "\x1b[2mThe\x1b[0m" in shown.err
    assert "\x1b[2m\rwaiting for qwen3:4b ...\x1b[0m\r" in shown.err
    assert "The" not in hidden.err
    assert "\x1b" not in plain.err
    assert "\r" not in plain.err


@pytest.mark.slow
def test_a_wait_names_what_is_loaded_and_counts_the_seconds(
    run_on_terminal: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMStudioEmulator(load_seconds=1.1).run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        result = run_on_terminal("chat", "openai/gpt-oss-20b", "hi")
    assert "\rloading openai/gpt-oss-20b ...\x1b" in result.err
    assert "\rloading openai/gpt-oss-20b ... 1 s\x1b" in result.err


def test_the_line_of_a_wait_keeps_its_seconds_where_there_is_no_room() -> None:
    assert doctest.testmod(screen).failed == 0


def test_what_is_waited_for_depends_on_what_is_known() -> None:
    assert waiting_for(ModelInfo(id="m", service="s", loaded=False)) == "loading m"
    assert waiting_for(ModelInfo(id="m", service="s", loaded=True)) == "waiting for m"
    assert waiting_for(ModelInfo(id="m", service="s")) == "waiting for m"


@pytest.mark.parametrize(
    ("usage", "timings", "reason", "line"),
    [
        (Usage(), Timings(), "stop", "m on Ollama"),
        (
            Usage(completion_tokens=214),
            Timings(tokens_per_second=38.2, time_to_first_token=0.4),
            "stop",
            "m on Ollama · 214 tokens · 38 tokens/s · first token 0.4 s",
        ),
        (
            Usage(completion_tokens=1),
            Timings(),
            "length",
            "m on Ollama · 1 token · cut off at the limit of tokens",
        ),
    ],
)
def test_the_quiet_line_has_what_is_known(
    usage: Usage, timings: Timings, reason: str, line: str
) -> None:
    choice = CompletionChoice(message=CompletionMessage.assistant("x"), finish_reason=reason)
    response = CompletionResponse(model="m", choices=(choice,), usage=usage, timings=timings)
    assert summary(response, "m", "Ollama") == line


SCHEMA = json.dumps(
    {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
)


@pytest.mark.parametrize("command", ["chat", "complete"])
def test_an_answer_by_a_schema_is_json_and_nothing_else(
    run: Run, ollama: OllamaEmulator, tmp_path: Path, command: str
) -> None:
    (tmp_path / "schema.json").write_text(SCHEMA, encoding="utf-8")
    result = run(command, "llama3.2:3b", "hello", "--schema", "schema.json")
    assert result.code == 0
    assert result.json == {"said": "You said: hello"}
    assert result.err.count("\n") <= 1
    assert asked(ollama)["format"] == json.loads(SCHEMA)
    document = run(command, "llama3.2:3b", "hello", "--schema", "schema.json", "--json").json
    assert document["parsed"] == {"said": "You said: hello"}


@pytest.mark.usefixtures("ollama")
def test_a_schema_may_come_from_standard_input(run: Run) -> None:
    result = run("chat", "llama3.2:3b", "hello", "--schema", "-", stdin=SCHEMA)
    assert result.json == {"said": "You said: hello"}


@pytest.mark.usefixtures("ollama")
def test_an_answer_that_breaks_the_schema_is_shown_and_is_a_failure(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "schema.json").write_text(SCHEMA, encoding="utf-8")
    result = run("chat", "qwen3:4b", "hello", "--schema", "schema.json")
    assert result.code == 1
    assert result.out == ""
    assert "It answered:\nBlue, mostly.\n" in result.err
    assert "The answer does not fit the schema 'answer': JSON is malformed" in result.err
    failed = run("chat", "qwen3:4b", "hello", "--schema", "schema.json", "--json")
    assert failed.json["error"]["text"] == "Blue, mostly."


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("hello", "--schema", "nope.json"), "The JSON schema 'nope.json' cannot be read"),
        (("hello", "--image", "nope.png"), "There is no file 'nope.png'."),
        (("--schema", "-"), "There is no prompt."),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_asked(
    run: Run, ollama: OllamaEmulator, arguments: tuple[str, ...], why: str
) -> None:
    result = run("chat", *arguments, stdin="{}")
    assert result.code == 2
    assert why in result.err
    assert not [seen for seen in ollama.requests if seen.path == "/api/chat"]


def test_pictures_go_with_the_prompt(run: Run, seeing: OllamaEmulator, picture: str) -> None:
    result = run("chat", "-m", "llava:7b", "What", "is?", "--image", picture, "--image", picture)
    assert result.code == 0
    messages: Any = asked(seeing)["messages"]
    assert messages[0]["content"] == "What is?"
    assert len(messages[0]["images"]) == 2


@pytest.mark.parametrize("service", [(), ("--service", "ollama")])
def test_where_no_model_is_named_pictures_go_to_one_that_sees(
    run: Run, seeing: OllamaEmulator, picture: str, service: tuple[str, ...]
) -> None:
    result = run("chat", "What is?", "--image", picture, *service)
    assert result.code == 0
    assert asked(seeing)["model"] == "llava:7b"
    assert "llava:7b on Ollama (the smallest that sees pictures)" in result.err


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("service", [(), ("--service", "ollama")])
def test_where_no_model_sees_pictures_go_to_none(
    run: Run, picture: str, service: tuple[str, ...]
) -> None:
    result = run("chat", "What is?", "--image", picture, *service)
    assert result.code == 3
    assert "is known to see pictures." in result.err


@pytest.mark.usefixtures("ollama")
def test_a_model_that_sees_nothing_is_not_shown_a_picture(run: Run, picture: str) -> None:
    result = run("chat", "-m", "llama3.2:3b", "What?", "--image", picture)
    assert result.code == 1
    assert "does not see pictures" in result.err


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("command", ["chat", "complete"])
def test_what_is_not_as_it_was_asked_for_is_said(run: Run, command: str) -> None:
    result = run(command, "llama3.2:3b", "a long word " * 40, "--num-ctx", "64")
    assert result.code == 0
    assert "has a context of 64: the server may cut it." in " ".join(result.err.split())


def test_text_that_turns_out_to_be_reasoning_is_said_to_be(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = OllamaAnswer(text="3 and 4 are\n</think>\n\nSeven.")
    model = OllamaModel(name="m:1", capabilities=("completion", "thinking"), reply=reply)
    with OllamaEmulator(models=[model]).run_in_thread() as emulator:
        monkeypatch.setenv("OLLAMA_ENDPOINT", emulator.url)
        result = run("chat", "m:1", "3 + 4?")
        whole = run("complete", "m:1", "3 + 4?")
    assert result.out == "3 and 4 are\nSeven.\n"
    assert "All of this was reasoning; the answer:" in result.err
    assert whole.out == "Seven.\n"


def test_how_far_a_model_is_loaded_is_told_where_the_server_does() -> None:
    assert loading(LoadProgress(model="m", fraction=0.5)) == "loading m, 50 %"
    assert loading(LoadProgress(model="m")) == "loading m"
