"""The names that are told where a model is not there."""

import itertools
import time

import pytest

from patinox.provider.local.nearest import model_not_found, nearest_names
from patinox.provider.types import ModelId, ModelInfo

NAMES = ("llava:7b", "llama3.2:3b", "qwen/qwen3-4b", "nomic-embed-text:latest", "x\n# y\x1b[2J")
MODELS = [ModelInfo(id=name, service="ollama") for name in NAMES]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("llama3.2", ["llama3.2:3b"]),
        ("llama3.3:7b", ["llama3.2:3b"]),
        ("lama3.2", ["llama3.2:3b"]),
        ("LLaVA", ["llava:7b"]),
        ("qwen3", ["qwen/qwen3-4b"]),
        ("nomic", ["nomic-embed-text:latest"]),
        ("mistral", []),
        (":", []),
    ],
)
def test_only_names_that_look_like_it_are_told(written: str, meant: list[str]) -> None:
    assert list(nearest_names(written, MODELS)) == [f"ollama::{name}" for name in meant]


def test_a_name_of_several_lines_is_told_in_one() -> None:
    error = model_not_found(ModelId("x\n#"), MODELS, where="ollama")
    assert str(error) == (
        "No model 'x\\n#' on ollama. Did you mean ollama::x?# y?[2J? All: patinox models"
    )
    assert error.nearest == ("ollama::x\n# y\x1b[2J",)


def test_the_nearest_of_very_many_long_names_are_found_at_once() -> None:
    names = ["".join(letters) * 28 for letters in itertools.product("ab", repeat=14)]
    models = [ModelInfo(id=name, service="ollama") for name in [*names, "llama3.2:3b"]]
    began = time.thread_time()
    for written, meant in ((names[4321][:-1] + "c", True), ("lama3.2", True), ("zzz", False)):
        assert bool(nearest_names(written, models)) == meant
    assert time.thread_time() - began < 0.5  # comparing all takes many times that


def test_a_slip_in_the_first_letter_is_seen_among_many_others() -> None:
    others = [ModelInfo(id=f"other-model-{number}:1b", service="ollama") for number in range(500)]
    assert nearest_names("klama3.2", [*others, *MODELS]) == ("ollama::llama3.2:3b",)


def test_where_only_the_demo_model_is_here_that_is_said() -> None:
    toy = ModelInfo(id="patinox-tiny", service="embedded", demo=True)
    wanted = ModelId("llama3.2:3b")
    assert "No model server answers" in str(model_not_found(wanted, [toy], where="any service"))
    both = [toy, ModelInfo(id="qwen3:4b", service="ollama")]
    assert "All: patinox models" in str(model_not_found(wanted, both, where="any service"))
