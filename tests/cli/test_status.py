from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from patinox.cli.render import Canvas
from patinox.cli.status import report
from patinox.provider.local.types import ServiceInfo, ServiceMetrics, ServiceStatus
from patinox.provider.types import ModelInfo
from patinox.testing import LMStudioEmulator, OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


OLLAMA = ServiceInfo(
    id="ollama",
    service_type="ollama",
    label="Ollama",
    endpoint="http://127.0.0.1:11434",
    version="0.33.0",
    models=("qwen3:4b",),
    loaded=("qwen3:4b",),
    status=ServiceStatus.AVAILABLE,
    metrics=ServiceMetrics(avg_response_time=0.004),
)
WARMING = ServiceInfo(
    id="llamacpp@127.0.0.1:9931",
    service_type="llamacpp",
    label="llama.cpp",
    endpoint="http://127.0.0.1:9931",
    status=ServiceStatus.WARMING,
    detail="loading its model",
)
QWEN = ModelInfo(
    id="qwen3:4b",
    service="ollama",
    context_length=262144,
    loaded_context_length=4096,
    loaded=True,
    size_bytes=1,
)


def test_the_table_tells_who_where_which_version_and_how(
    run: Run, ollama: OllamaEmulator, lmstudio: LMStudioEmulator
) -> None:
    result = run()
    header, first, second, *rest = [line for line in result.out.splitlines() if line]
    assert result.code == 0
    assert header.split() == ["SERVICE", "ADDRESS", "VERSION", "HEALTH", "MODELS", "LOADED"]
    assert first.split()[:4] == ["Ollama", ollama.url[7:], "0.33.0", "available"]
    assert "qwen3:4b (4k of 256k context)" in first
    assert second.split()[:5] == ["LM", "Studio", lmstudio.url[7:], "0.4.25", "available"]
    assert rest[-1].startswith("  Chat: patinox chat ")


def test_json_has_one_entry_for_each_service(
    run: Run, ollama: OllamaEmulator, lmstudio: LMStudioEmulator
) -> None:
    result = run("status", "--json")
    first, second = result.json["services"]
    assert first | {"response_time_seconds": 0} == {
        "id": "ollama",
        "service_type": "ollama",
        "label": "Ollama",
        "endpoint": ollama.url,
        "version": "0.33.0",
        "version_inferred": False,
        "status": "available",
        "detail": None,
        "models": ["qwen3:4b", "llama3.2:3b", "nomic-embed-text:latest", "gpt-oss:120b-cloud"],
        "model_count": 4,
        "loaded": ["qwen3:4b"],
        "response_time_seconds": 0,
        "consecutive_failures": 0,
    }
    assert first["response_time_seconds"] > 0
    assert second["id"] == "lmstudio"
    assert second["endpoint"] == lmstudio.url
    assert result.err == ""


@pytest.mark.usefixtures("ollama", "lmstudio")
@pytest.mark.parametrize(
    "place", [("--service", "lmstudio", "status"), ("status", "-s", "lmstudio")]
)
def test_one_service_can_be_asked_for(run: Run, place: tuple[str, ...]) -> None:
    result = run(*place, "--json")
    assert [info["id"] for info in result.json["services"]] == ["lmstudio"]


def test_a_version_that_was_concluded_is_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with LMStudioEmulator(lms_status=False).run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        assert " 0.4.x " in run("status").out
        assert run("status", "--json").json["services"][0]["version_inferred"] is True


@pytest.mark.usefixtures("nothing_inside")
def test_nothing_at_all_is_said_and_has_an_exit_code(run: Run) -> None:
    result = run("status")
    assert result.code == 3
    assert result.out.splitlines() == [
        "  No model server answers on this machine.",
        "  Next: patinox doctor",
    ]
    assert run("status", "--json") == (3, '{"services": [], "unanswered": []}\n', "")


def test_an_address_that_was_given_and_does_not_answer_is_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("OLLAMA_ENDPOINT", f"127.0.0.1:{closed_port}")
    result = run("status")
    address, reason = f"127.0.0.1:{closed_port}", "could not be reached: nothing listens there"
    assert f"  OLLAMA_ENDPOINT {address}: {reason}" in result.out.splitlines()
    assert "  No model server answers; the engine inside stands in." in result.out.splitlines()
    assert result.err == ""
    assert run("status", "--json").json["unanswered"] == [
        {"address": address, "setting": "OLLAMA_ENDPOINT", "reason": reason}
    ]
    for command in (["chat", "hi"], ["complete", "hi"], ["embed", "hi"], ["models"]):
        result = run(*command)
        assert result.err.splitlines()[0] == f"OLLAMA_ENDPOINT {address}: {reason}"
        assert result.code == (0 if command == ["models"] else 3)


@pytest.mark.usefixtures("ollama")
def test_an_address_of_another_service_is_not_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("LMSTUDIO_ENDPOINT", f"127.0.0.1:{closed_port}")
    assert "LMSTUDIO_ENDPOINT" in run("models").err
    assert run("models", "-s", "ollama").err == ""
    assert "stands in" not in run("status").out


def test_localhost_is_answered_by_one_of_its_two_addresses(
    run: Run, monkeypatch: pytest.MonkeyPatch, ollama: OllamaEmulator
) -> None:
    monkeypatch.setenv("OLLAMA_ENDPOINT", f"localhost:{ollama.port}")
    assert run("status", "--json").json["unanswered"] == []
    assert run("doctor", "--json").json["advice"] == ["Nothing is amiss. Chat: patinox chat"]


def test_a_server_that_cannot_list_its_models_is_shown_as_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMStudioEmulator(token="key").run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        result = run("status")
    assert result.code == 0
    assert "unauthorized" in result.out


@pytest.mark.usefixtures("ollama")
def test_what_a_slow_server_does_not_tell_in_time_is_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patinox.cli.status.PATIENCE", 0.0)
    assert run("status").out.splitlines()[2].endswith("  qwen3:4b")


def test_what_is_tried_is_told_where_nothing_answers() -> None:
    assert "  Tried: a:1, b:2." in report(Canvas(), [], [], ["a:1", "b:2"])


def test_the_table_has_a_name_for_a_second_service_and_why_it_is_not_ready() -> None:
    lines = report(Canvas(), [OLLAMA, WARMING], [QWEN], [])
    assert "qwen3:4b (4k of 256k context)" in lines[2]
    assert lines[3].split()[0] == "llamacpp@127.0.0.1:9931"
    assert "warming: loading its model" in lines[3]
    assert lines[-2] == "  Chat: patinox chat qwen3:4b    Something missing? patinox doctor"


def test_what_is_in_memory_goes_below_a_table_that_is_too_wide() -> None:
    lines = report(Canvas(width=70), [OLLAMA], [QWEN], [])
    assert lines[1].split()[-1] == "MODELS"
    assert "    Ollama: qwen3:4b (4k of 256k context)" in lines


def test_a_narrow_table_without_anything_in_memory_has_no_such_section() -> None:
    lines = report(Canvas(width=110), [WARMING], [], [])
    assert not any("In memory" in line for line in report(Canvas(width=90), [WARMING], [], []))
    assert lines[1].split()[-1] == "LOADED"


def test_forty_columns_get_a_list() -> None:
    lines = report(Canvas(width=40), [OLLAMA, WARMING], [QWEN], [])
    assert "  Ollama: available  4 ms" in lines
    assert "    0.33.0 · 1 model" in lines
    assert "    0 models" in lines
    assert all(len(line) <= 40 for line in lines)


def test_names_of_servers_cannot_write_on_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from patinox.testing import LMStudioModel

    evil = LMStudioModel(key="evil\x1b[2J[red]\n\u202e", loaded_context_length=99)
    with LMStudioEmulator([evil]).run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        for command in ("status", "models", "doctor", "chat"):
            result = run(command, *(["hi"] if command == "chat" else []))
            assert r"evil\x1b[2J[red]\n\u202e" in result.out + result.err
            assert not set("\x1b\u202e") & set(result.out + result.err)
