"""`patinox ps`, `load`, `unload` and `cp`."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from patinox.cli.manage import read_time, running_lines
from patinox.cli.render import Canvas
from patinox.provider.errors import InvalidRequest
from patinox.provider.lifecycle import RunningModel
from patinox.testing import LlamaCppEmulator, LMStudioEmulator, OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`
PLACES = {"ollama": "Ollama", "lmstudio": "LM Studio"}
STAYS = RunningModel(model="a", service="lmstudio", instance="a:2", context_length=8192)
LEAVES = RunningModel(
    model="b",
    service="ollama",
    size_bytes=3_000_000_000,
    vram_bytes=1_000_000_000,
    expires_at=1125.0,
    context_length=4096,
)


def orders(server: OllamaEmulator | LMStudioEmulator) -> list[Any]:
    """What was sent that changes something."""
    asked = {"/api/show"}
    return [
        seen.json for seen in server.requests if seen.method != "GET" and seen.path not in asked
    ]


# ps


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_what_is_in_memory_is_a_table(run: Run) -> None:
    lines = run("ps").out.splitlines()
    assert lines[1].split("  ")[1] == "MODEL"
    (row,) = (line for line in lines if "qwen3:4b" in line)
    assert "Ollama" in row
    assert "3.2 GB" in row
    assert "4k" in row
    assert re.search(r"  [45] min \d+ s$", row)
    (studio,) = (line for line in lines if "qwen3-4b-2507" in line)
    assert studio.endswith("it stays")


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_only_one_service_can_be_looked_at(run: Run) -> None:
    (told,) = run("ps", "--service", "ollama", "--json").json
    assert (told["name"], told["model"], told["service"]) == (
        "ollama::qwen3:4b",
        "qwen3:4b",
        "ollama",
    )
    assert told["size_bytes"] > 2_620_788_019
    assert (told["vram_bytes"], told["context_length"], told["instance"]) == (0, 4096, None)
    assert told["expires_at"] > 1_700_000_000


def test_nothing_in_memory_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaEmulator().run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        assert run("ps").out == "  No model is in memory.\n"
        assert run("ps", "--json").json == []


def test_a_copy_beside_another_has_its_own_name_in_the_table() -> None:
    lines = running_lines(Canvas(), [STAYS, LEAVES], PLACES, now=1000.0)
    assert [line.split() for line in lines[2:4]] == [
        ["a", "(a:2)", "LM", "Studio", "-", "-", "8k", "it", "stays"],
        ["b", "Ollama", "3.0", "GB", "1.0", "GB", "4k", "2", "min", "5", "s"],
    ]


def test_where_a_table_has_no_room_it_is_a_list() -> None:
    lines = running_lines(Canvas(width=40), [STAYS, LEAVES], PLACES, now=2000.0)
    assert lines == [
        "",
        "  a (a:2)",
        "    LM Studio · 8k context · it stays",
        "  b",
        "    Ollama · 3.0 GB · 4k context ·",
        "    leaves in <1 ms",
        "",
    ]


# load and unload


def test_a_model_is_loaded_and_its_context_told(run: Run, ollama: OllamaEmulator) -> None:
    result = run("load", "llama3.2:3b", "--num-ctx", "8192", "--keep-alive", "1h30m")
    assert result.code == 0
    assert result.out.startswith("  llama3.2:3b on Ollama · 8,192 tokens of context · loaded in ")
    (body,) = orders(ollama)
    assert (body["options"], body["keep_alive"]) == ({"num_ctx": 8192}, 5400)


@pytest.mark.slow
def test_on_a_terminal_a_load_says_how_far_it_is(
    run_on_terminal: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patinox.cli.screen._AT_FIRST", 0.0)
    monkeypatch.setattr("patinox.cli.manage._LOOK", 0.05)
    with LlamaCppEmulator(load_seconds=1.2).run_in_thread() as router:
        monkeypatch.setenv("LLAMACPP_ENDPOINT", router.url)
        result = run_on_terminal("load", "qwen3-0.6b")
    assert "qwen3-0.6b on llama.cpp · 8,192 tokens of context · loaded in 1." in result.out
    assert re.search(r"loading qwen3-0\.6b \d+% \.\.\. 1 s", result.err)


def test_a_model_in_memory_is_not_loaded_again(run: Run, ollama: OllamaEmulator) -> None:
    result = run("load", "qwen3:4b")
    assert result.out == "  qwen3:4b on Ollama · 4,096 tokens of context · was in memory\n"
    assert orders(ollama) == []


def test_one_with_too_short_a_context_is_loaded_anew(run: Run, ollama: OllamaEmulator) -> None:
    result = run("load", "qwen3:4b", "--num-ctx", "16384")
    assert " · 16,384 tokens of context · loaded in " in result.out
    assert len(orders(ollama)) == 1


@pytest.mark.usefixtures("ollama")
def test_a_context_that_could_not_be_is_said(run: Run) -> None:
    result = run("load", "llama3.2:3b", "--num-ctx", "200000")
    assert result.code == 0
    assert "131,072 tokens of context" in result.out
    assert result.err == (
        "Ollama gave it 131,072 tokens of context, not the 200,000 that were asked for.\n"
    )


@pytest.mark.slow
def test_nothing_stays_in_the_memory_of_the_engine_inside(run: Run) -> None:
    result = run("load", "patinox-tiny")
    assert result.code == 0
    assert result.err == "The engine inside ends with this command, and nothing stays in memory.\n"


@pytest.mark.usefixtures("ollama")
def test_a_load_in_json(run: Run) -> None:
    told = run("load", "qwen3:4b", "--json").json
    assert told == {
        "name": "ollama::qwen3:4b",
        "model": "qwen3:4b",
        "service": "ollama",
        "instance": None,
        "context_length": 4096,
        "asked_context_length": None,
        "load_seconds": 0.0,
        "already": True,
        "fits": True,
    }


@pytest.mark.usefixtures("lmstudio")
def test_what_a_service_cannot_do_is_refused_with_what_to_do(run: Run) -> None:
    result = run("load", "openai/gpt-oss-20b", "--keep-alive", "10m")
    assert result.code == 1
    assert "keeps what is loaded over HTTP until it is unloaded" in result.err
    assert "Leave `keep_alive` out" in result.err


def test_unloading_says_whether_it_was_there(run: Run, ollama: OllamaEmulator) -> None:
    assert run("unload", "qwen3:4b").out == "  qwen3:4b is out of memory.\n"
    assert run("unload", "qwen3:4b").out == "  qwen3:4b was not in memory.\n"
    assert run("unload", "qwen3:4b", "--json").json == {"model": "qwen3:4b", "unloaded": False}
    assert len(orders(ollama)) == 1


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize("command", ["load", "unload", "rm"])
def test_an_unknown_model_is_not_found(run: Run, command: str) -> None:
    result = run(command, "quen3:4b")
    assert result.code == 3
    assert "qwen3:4b" in result.err


# cp


@pytest.mark.parametrize("words", [["ollama::qwen3:4b"], ["-s", "ollama", "qwen3:4b"]])
def test_an_exact_id_is_meant_before_others_of_its_kind(
    run: Run, twins: dict[str, OllamaEmulator], words: list[str]
) -> None:
    assert run("cp", *words, "mine").code == 0
    assert run("unload", *words).out == "  qwen3:4b is out of memory.\n"
    assert run("ps", "--json").json[0]["service"] == "attic"
    assert [info["service"] for info in run("models", "--json").json if "mine" in info["id"]] == [
        "ollama"
    ]
    assert {seen.path for seen in twins["attic"].requests}.isdisjoint(
        {"/api/copy", "/api/generate"}
    )


def test_a_copy_has_a_second_name(run: Run, ollama: OllamaEmulator) -> None:
    assert run("cp", "qwen3:4b", "mine").out == "  qwen3:4b on Ollama is mine too.\n"
    again = run("cp", "qwen3:4b", "mine")
    assert again.code == 1
    assert "Ollama has a model called 'mine' already." in again.err
    told = run("cp", "qwen3:4b", "mine", "--overwrite", "--json").json
    assert told == {"source": "qwen3:4b", "destination": "mine", "service": "ollama"}
    assert len(orders(ollama)) == 2


# Times.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), ("-1", -1)],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "m", "10 m", "5x", "-5m", "1e9", "9" * 20])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no time"):
        read_time(text)


def test_what_is_no_time_is_wrong_usage(run: Run, ollama: OllamaEmulator) -> None:
    result = run("load", "qwen3:4b", "--keep-alive", "soon")
    assert result.code == 2
    assert "Write 90, 10m, 1h30m or forever." in result.err
    assert ollama.requests == []
