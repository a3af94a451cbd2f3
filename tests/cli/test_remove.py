"""`patinox rm`: nothing is deleted that was not meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from patinox.testing import LMStudioEmulator, LMStudioModel, OllamaEmulator, OllamaModel

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


def deleted(server: OllamaEmulator) -> list[str]:
    return [seen.json["model"] for seen in server.requests if seen.method == "DELETE"]


@pytest.mark.parametrize("said", ["y\n", "Yes\n"])
def test_a_model_is_deleted_after_asking(
    run_on_terminal: Run, ollama: OllamaEmulator, said: str
) -> None:
    result = run_on_terminal("rm", "qwen3:4b", stdin=said)
    assert result.code == 0
    assert "  Delete qwen3:4b on Ollama · 2.6 GB? [y/N] " in result.err
    assert "qwen3:4b is deleted from Ollama." in result.out
    assert deleted(ollama) == ["qwen3:4b"]


@pytest.mark.parametrize("said", ["\n", "n\n", "", "maybe\n"])
def test_whoever_does_not_say_yes_keeps_it(
    run_on_terminal: Run, ollama: OllamaEmulator, said: str
) -> None:
    result = run_on_terminal("rm", "qwen3:4b", stdin=said)
    assert result.code == 1
    assert "Nothing was deleted." in result.err
    assert deleted(ollama) == []


def test_with_yes_nobody_is_asked(run: Run, ollama: OllamaEmulator) -> None:
    result = run("rm", "qwen3:4b", "--yes")
    assert result == (0, "  qwen3:4b is deleted from Ollama.\n", "")
    told = run("rm", "llama3.2:3b", "-y", "--json").json
    assert told == {"model": "llama3.2:3b", "service": "ollama", "deleted": True}
    assert deleted(ollama) == ["qwen3:4b", "llama3.2:3b"]


def test_where_nobody_can_be_asked_nothing_is_deleted(run: Run, ollama: OllamaEmulator) -> None:
    result = run("rm", "qwen3:4b")
    assert result.code == 2
    assert "Say so: --yes" in result.err
    assert run("rm", "qwen3:4b", "--json").json["error"]["type"] == "InvalidRequest"
    assert deleted(ollama) == []


def test_where_several_have_it_one_must_be_named(
    run: Run, ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMStudioEmulator([LMStudioModel(key="qwen3:4b")]).run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        both = run("rm", "qwen3:4b", "--yes")
        other = run("rm", "lmstudio::qwen3:4b", "--yes")
        assert deleted(ollama) == []
        one = run("rm", "qwen3:4b", "--service", "ollama", "--yes")
    assert both.code == 2
    assert "ollama::qwen3:4b" in both.err
    assert "lmstudio::qwen3:4b" in both.err
    assert (other.code, "My Models" in other.err) == (1, True)
    assert one.code == 0
    assert deleted(ollama) == ["qwen3:4b"]


def test_a_name_that_another_service_writes_otherwise_is_not_deleted_either(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        OllamaEmulator(models=[OllamaModel(name="shared")]).run_in_thread() as ollama,
        LMStudioEmulator([LMStudioModel(key="shared")]).run_in_thread() as studio,
    ):
        monkeypatch.setenv("OLLAMA_ENDPOINT", ollama.url)
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", studio.url)
        result = run("rm", "shared", "--yes")
        assert result.code == 2
        assert "Several services have 'shared'" in result.err
        assert "ollama::shared:latest" in result.err
        assert deleted(ollama) == []


@pytest.mark.parametrize("words", [["ollama::qwen3:4b"], ["-s", "ollama", "qwen3:4b"]])
def test_an_exact_id_is_meant_before_others_of_its_kind(
    run: Run, twins: dict[str, OllamaEmulator], words: list[str]
) -> None:
    result = run("rm", "--yes", *words)
    assert (result.code, result.err) == (0, "")
    assert {name: deleted(server) for name, server in twins.items()} == {
        "ollama": ["qwen3:4b"],
        "attic": [],
    }


def test_a_kind_of_which_there_are_several_names_none(
    run: Run, twins: dict[str, OllamaEmulator], tmp_path: Path
) -> None:
    file = tmp_path / "patinox.toml"
    said = file.read_text(encoding="utf-8")
    file.write_text(said.replace('"ollama"', '"cellar"'), encoding="utf-8")
    for words in (["ollama::qwen3:4b"], ["-s", "ollama", "qwen3:4b"]):
        result = run("rm", "--yes", *words)
        assert result.code == 2
        assert "attic::qwen3:4b, cellar::qwen3:4b" in result.err
    assert not [name for server in twins.values() for name in deleted(server)]


def test_what_cannot_be_deleted_is_refused_before_anybody_is_asked(
    run_on_terminal: Run, lmstudio: LMStudioEmulator
) -> None:
    result = run_on_terminal("rm", "openai/gpt-oss-20b", stdin="y\n")
    assert result.code == 1
    assert "LM Studio deletes no model over HTTP." in result.err
    assert "[y/N]" not in result.err
    assert lmstudio.loaded
