from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from patinox.cli.models import abilities, context, copies, description, listing
from patinox.cli.render import Canvas
from patinox.provider.types import ModelCapabilities, ModelInfo, Source
from patinox.testing import LMStudioEmulator, OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


GUESSED = ModelInfo(
    id="some-embedder",
    service="llamacpp",
    capabilities=ModelCapabilities(
        supports_embeddings=True, sources={"supports_embeddings": Source.NAME}
    ),
)
PLACES = {"ollama": "Ollama", "llamacpp": "llama.cpp"}


def test_a_row_tells_what_a_model_can_its_context_its_size_and_where_it_is(
    run: Run, ollama: OllamaEmulator
) -> None:
    result = run("models")
    rows = {line[5:].split()[0]: line for line in result.out.splitlines() if line[5:].strip()}
    assert ollama.requests
    assert rows["qwen3:4b"].startswith("  *  qwen3:4b  ")
    assert "chat tools thinking  4k of 256k  2.6 GB  Ollama" in rows["qwen3:4b"]
    assert rows["llama3.2:3b"].startswith("     llama3.2:3b  ")
    assert "  * in memory" in result.out.splitlines()


@pytest.mark.usefixtures("ollama")
def test_cloud_models_stand_apart_and_say_what_they_are(run: Run) -> None:
    lines = run("models").out.splitlines()
    (heading,) = (number for number, line in enumerate(lines) if "In the cloud" in line)
    assert "gpt-oss:120b-cloud" in lines[heading + 1]
    assert not any("cloud" in line for line in lines[:heading])
    assert "PATINOX_ALLOW_CLOUD" in lines[heading]


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_json_is_an_array_with_an_entry_for_each_model_and_service(run: Run) -> None:
    found = run("models", "--json").json
    names = [model["name"] for model in found]
    (qwen,) = (model for model in found if model["id"] == "qwen3:4b")
    assert len(names) == len(set(names)) == 8
    assert qwen["name"] == "ollama::qwen3:4b"
    assert qwen["service"] == "ollama"
    assert qwen["loaded"] is True
    assert qwen["context_length"] == 262144
    assert qwen["capabilities"]["supports_thinking"] is True
    assert qwen["capabilities"]["sources"]["supports_thinking"] == "server"


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_only_what_is_in_memory_can_be_asked_for(run: Run) -> None:
    found = run("models", "--loaded", "--service", "ollama", "--json").json
    assert [model["id"] for model in found] == ["qwen3:4b"]


def test_no_model_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with OllamaEmulator(models=()).run_in_thread() as empty:
        monkeypatch.setenv("OLLAMA_ENDPOINT", empty.url)
        assert run("models", "-s", "ollama") == (0, "  There are no models.\n", "")
        assert run("models", "-s", "ollama", "--loaded").out == "  No model is in memory.\n"
        assert run("models", "-s", "ollama", "--json").json == []


@pytest.mark.usefixtures("ollama")
def test_a_service_whose_models_are_missing_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMStudioEmulator(token="key").run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        result = run("models")
    assert result.code == 0
    assert "LM Studio is unauthorized: its models may be missing." in result.err


@pytest.mark.usefixtures("twins")
def test_an_id_shows_that_service_alone(run: Run) -> None:
    for name in ("ollama", "attic"):
        found = run("models", "-s", name, "--json").json
        assert {info["service"] for info in found} == {name}
        status = run("status", "-s", name, "--json").json
        assert [info["id"] for info in status["services"]] == [name]


@pytest.mark.usefixtures("nothing_inside")
def test_without_any_service_there_is_nothing_to_list(run: Run) -> None:
    result = run("models", "--json")
    assert result.code == 3
    assert result.json["error"]["type"] == "ServiceNotFound"


def test_what_was_guessed_from_the_name_is_marked_and_the_mark_explained() -> None:
    assert abilities(GUESSED) == "embed?"
    lines = listing(Canvas(), [GUESSED], PLACES, loaded=False)
    assert lines[-2] == "  ? guessed from the name"


def test_a_toy_is_called_one() -> None:
    lines = listing(Canvas(), [ModelInfo(id="toy", service="x", demo=True)], {}, loaded=False)
    assert lines[-2] == "  toy is a 1 MB toy that proves the path, not a useful assistant."


def test_one_model_in_two_places_is_one_row_if_its_weights_are_the_same() -> None:
    first = ModelInfo(id="m", service="ollama", digest="d")
    second = ModelInfo(id="m", service="llamacpp", digest="d", loaded=True)
    other = ModelInfo(id="m", service="lmstudio")
    assert copies([first, second, other]) == [[first, second], [other]]
    lines = listing(Canvas(), [first, second, other], PLACES, loaded=False)
    assert lines[2].startswith("  *  m")
    assert lines[2].endswith("Ollama, llama.cpp")


def test_forty_columns_get_a_list() -> None:
    cloud = ModelInfo(id="far", service="ollama", remote=True)
    near = ModelInfo(
        id="n" * 30, service="ollama", loaded=True, size_bytes=2_000_000, context_length=2048
    )
    lines = listing(Canvas(width=40), [near, cloud], PLACES, loaded=False)
    assert "  * " + "n" * 30 in lines
    assert "    nobody tells what it can do" in lines
    assert "    Ollama · 2.0 MB · 2k context" in lines
    assert all(len(line) <= 40 for line in lines)
    alone = listing(Canvas(width=40), [near], PLACES, loaded=False)
    assert not any("cloud" in line for line in alone)


@pytest.mark.parametrize(
    ("now", "longest", "words"),
    [(None, None, "-"), (None, 2048, "2k"), (2048, 2048, "2k"), (999, 2048, "999 of 2k")],
)
def test_context_is_told_now_and_at_most(now: int | None, longest: int, words: str) -> None:
    info = ModelInfo(id="m", service="x", context_length=longest, loaded_context_length=now)
    assert context(info) == words


@pytest.mark.usefixtures("ollama")
def test_show_tells_each_fact_and_where_it_was_learnt(run: Run) -> None:
    lines = run("show", "qwen3:4b").out.splitlines()
    facts = {line[2:].split("  ")[0]: line.split("  ")[1:] for line in lines}
    assert lines[1] == "  qwen3:4b on Ollama"
    for name, value in {
        "context at most": "262,144 tokens",
        "context now": "4,096 tokens",
        "thinking": "yes",
        "parameters": "4.0B",
    }.items():
        words = [word.strip() for word in facts[name] if word]
        assert words[1:] == [value, "server"]


@pytest.mark.usefixtures("ollama")
def test_show_as_json_is_one_model(run: Run) -> None:
    assert run("show", "qwen3:4b", "--json").json["name"] == "ollama::qwen3:4b"


def test_a_description_fits_into_forty_columns_and_calls_a_toy_one() -> None:
    toy = ModelInfo(id="toy", service="embedded", demo=True, digest="d" * 80, created=0)
    lines = description(Canvas(width=40), toy, "embedded")
    assert "  changed: 1970-01-01 00:00 UTC · model" in lines
    assert "toy that proves the path" in " ".join(lines)
    assert f"  digest: {'d' * 12} · model file" in lines
    assert all(len(line) <= 40 for line in lines)


@pytest.mark.parametrize("created", [2**62, -(2**62), 2**80])
def test_a_date_that_no_calendar_has_is_not_told(created: int) -> None:
    info = ModelInfo(id="m", service="llamacpp", created=created)
    assert not any("changed" in line for line in description(Canvas(), info, "llamacpp"))


@pytest.mark.usefixtures("ollama")
def test_an_unknown_model_ends_with_the_nearest(run: Run) -> None:
    result = run("show", "lama3.2")
    assert result.code == 3
    assert result.err.splitlines() == [
        "  No model 'lama3.2' on any service.",
        "  Did you mean ollama::llama3.2:3b? All: patinox models",
    ]
    assert run("show", "ollama::lama3.2").code == 3


@pytest.mark.usefixtures("ollama")
def test_an_unknown_service_ends_with_those_that_are_there(run: Run) -> None:
    for arguments in (("show", "nope::qwen3:4b"), ("models", "--service", "nope")):
        result = run(*arguments)
        assert result.code == 3
        assert result.err.splitlines() == [
            "  There is no service 'nope' here.",
            "  There are: ollama, embedded.",
        ]
    assert run("models", "-s", "olama").err.splitlines()[1:] == [
        "  Did you mean ollama? There are: ollama, embedded."
    ]
    assert run("models", "-s", "lmstudio").err.splitlines() == [
        "  There is no service 'lmstudio' here.",
        "  Start it: `lms server start`; more: patinox doctor",
    ]
    assert run("show", "nope", "--json").json["error"]["retryable"] is False
