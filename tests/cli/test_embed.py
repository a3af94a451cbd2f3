from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from patinox.cli.embed import vector_lines
from patinox.cli.render import Canvas
from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.types import EmbeddingResponse
from patinox.testing import OllamaEmulator, OllamaModel

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


@pytest.mark.usefixtures("ollama")
def test_each_text_becomes_a_line_of_numbers(run: Run) -> None:
    result = run("embed", "one", "two")
    lines = [[float(number) for number in line.split()] for line in result.out.splitlines()]
    assert result.code == 0
    assert [len(line) for line in lines] == [8, 8]
    assert lines[0] != lines[1]
    assert result.err.splitlines() == [
        "nomic-embed-text:latest on Ollama (the smallest that makes vectors)",
        "nomic-embed-text:latest on Ollama · 2 texts · 8 dimensions · 2 tokens",
    ]


@pytest.mark.usefixtures("ollama")
def test_each_line_of_standard_input_is_a_text(run: Run) -> None:
    result = run(
        "embed", "--model", "nomic-embed-text:latest", "--json", stdin="one\ntwo words\n\n"
    )
    assert result.json["dimensions"] == 8
    assert [len(row) for row in result.json["embeddings"]] == [8, 8]
    assert result.json["embeddings"][0] == run("embed", "one", "--json").json["embeddings"][0]
    assert result.json["model"] == "nomic-embed-text:latest"
    assert result.json["service"] == "ollama"
    assert result.json["normalized"] is True
    assert result.json["usage"]["prompt_tokens"] == 3


def test_an_empty_line_between_others_is_refused_for_vectors_belong_to_lines(
    run: Run, ollama: OllamaEmulator
) -> None:
    result = run("embed", stdin="one\n \ntwo\n")
    assert result.code == 2
    assert "Line 2 of standard input is empty" in result.err
    assert not [seen for seen in ollama.requests if seen.path == "/api/embed"]


@pytest.mark.usefixtures("ollama")
def test_no_text_is_wrong_usage(run: Run) -> None:
    result = run("embed")
    assert result.code == 2
    assert "There is no text." in result.err


@pytest.mark.usefixtures("ollama")
def test_a_model_that_makes_no_vectors_is_an_error(run: Run) -> None:
    result = run("embed", "-m", "qwen3:4b", "x", "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "CapabilityNotSupported"


def test_without_a_model_for_vectors_one_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OllamaEmulator(models=[OllamaModel(name="chat")]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        result = run("embed", "x")
    assert result.code == 3
    assert "ollama pull" in result.err


def test_one_in_memory_is_preferred(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = OllamaModel(name="small", capabilities=("embedding",), size=1)
    loaded = OllamaModel(name="big", capabilities=("embedding",), size=10**10, loaded=True)
    with OllamaEmulator(models=[small, loaded]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        assert "big:latest on Ollama (in memory)" in run("embed", "x").err


def test_a_person_sees_the_beginning_of_each_vector() -> None:
    matrix = EmbeddingMatrix.from_rows([[0.5] * 100])
    response = EmbeddingResponse(model="m", embeddings=matrix)
    for width in (80, 40, 5):
        (line,) = vector_lines(Canvas(width=width), response)
        assert line.startswith("    0.500 ")
        assert line.endswith("...")
        assert len(line) <= max(width, 13)
