import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from patinox.cli.advice import Diagnosis
from patinox.cli.doctor import page
from patinox.cli.render import Canvas
from patinox.provider.local.environment import VariableFate
from patinox.testing import LMStudioEmulator, OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


def test_the_page_tells_which_proof_held(run: Run, ollama: OllamaEmulator) -> None:
    result = run("doctor")
    assert result.code == 0
    words = " ".join(result.out.split())
    assert f"{ollama.url[7:]} OLLAMA_ENDPOINT proved to be Ollama 0.33.0 (" in words
    assert "Ollama available 0.33.0 · 4 models · loaded: qwen3:4b" in words
    assert f"OLLAMA_ENDPOINT {ollama.url} used" in words
    assert "1. Nothing is amiss. Chat: patinox chat" in words


def test_the_page_tells_which_proof_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: int, lmstudio: LMStudioEmulator
) -> None:
    monkeypatch.setenv("OLLAMA_ENDPOINT", f"127.0.0.1:{closed_port}")
    monkeypatch.setenv("LLAMACPP_ENDPOINT", lmstudio.url)
    monkeypatch.delenv("LMSTUDIO_ENDPOINT")
    words = " ".join(run("doctor").out.split())
    assert f"127.0.0.1:{closed_port} OLLAMA_ENDPOINT could not be reached" in words
    assert "proved to be LM Studio, where llamacpp was expected" in words
    assert f"OLLAMA_ENDPOINT names 127.0.0.1:{closed_port}, where nothing listens" in words
    assert "Nothing is amiss" not in words


def test_a_server_that_accepts_and_never_answers_is_not_to_be_started(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text("[discovery]\ndiscovery_timeout = 0.05\n")
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        monkeypatch.setenv("OLLAMA_ENDPOINT", f"127.0.0.1:{dumb.getsockname()[1]}")
        advice = run("doctor", "--config", "mine.toml", "--json").json["advice"]
    assert "did not answer in time" in advice[0]
    assert "start that server" not in " ".join(advice)


def test_what_answers_but_is_none_of_them_is_told_with_what_was_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OllamaEmulator(models=()).run_in_thread() as server:

        async def decline(exchange: object) -> bool:
            from patinox.testing import Exchange

            assert isinstance(exchange, Exchange)
            await exchange.reply(404)
            return True

        server.faults.append(decline)
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        words = " ".join(run("doctor").out.split())
    assert "something answers, but did not prove to be any of" in words
    assert "asked GET /api/version, GET /" in words
    assert "is taken by something else" in words


def test_json_has_everything(run: Run, ollama: OllamaEmulator) -> None:
    found = run("doctor", "--json").json
    (address,) = found["addresses"]
    assert set(found["versions"]) == {"patinox", "python", "platform", "aiohttp", "xllamacpp"}
    assert address["endpoint"] == ollama.url
    assert address["service"] == "ollama"
    assert address["answered"] is True
    assert found["services"][0]["id"] == "ollama"
    assert {"name": "OLLAMA_ENDPOINT", "value": ollama.url, "fate": "used"} in found["environment"]
    assert found["advice"] == ["Nothing is amiss. Chat: patinox chat"]


def test_keys_are_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_API_TOKEN", "sesame1")
    monkeypatch.setenv("OPENAI_API_KEY", "sesame2")
    monkeypatch.setenv("HTTP_PROXY", "http://me:sesame3@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "sesame4")
    for arguments in (["doctor"], ["doctor", "--json"]):
        result = run(*arguments)
        assert "sesame" not in result.out + result.err
        assert "LM_API_TOKEN" in result.out
        assert "http://***@proxy:3128" in result.out


def test_an_overruled_variable_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, ollama: OllamaEmulator
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    fates = {each["name"]: each for each in run("doctor", "--json").json["environment"]}
    assert fates["OLLAMA_HOST"]["fate"] == "overruled by OLLAMA_ENDPOINT"
    assert ollama.requests


def test_a_wrong_setting_is_told_and_nothing_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "perhaps")
    result = run("doctor")
    assert result.code == 2
    assert result.out.count("LOCAL_AUTO_DISCOVER is 'perhaps'") == 1
    assert "  LOCAL_AUTO_DISCOVER  perhaps  wrong\n" in result.out
    assert "1. Mend the configuration: LOCAL_AUTO_DISCOVER" in result.out
    assert run("doctor", "--json").json["config_error"].startswith("LOCAL_AUTO_DISCOVER")


def test_the_file_in_use_and_what_is_amiss_with_it_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('model_paths = ["/nowhere/at/all"]\n', encoding="utf-8")
    result = run("doctor", "--config", str(file))
    assert f"  file: {file}" in result.out
    assert result.out.count("There is no ") == 1
    assert "Nothing is amiss" not in result.out


def test_the_absence_of_the_engine_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, nothing_inside: None
) -> None:
    del nothing_inside
    monkeypatch.setattr("patinox.cli.doctor._PACKAGES", ("xllamacpp-that-is-not-there",))
    lines = run("doctor").out.splitlines()
    assert any(line.split()[1:] == ["not", "installed"] for line in lines)


def test_the_page_fits_into_forty_columns() -> None:
    found = Diagnosis(
        versions={"patinox": "1", "platform": "A system with a name that is long"},
        environment=(VariableFate("OLLAMA_ENDPOINT", "http://127.0.0.1:11434", "used"),),
        proxies={"http": "http://proxy:3128"},
    )
    lines = page(Canvas(width=40), found)
    assert all(len(line) <= 40 for line in lines)
    assert "  OLLAMA_ENDPOINT" in lines
    assert "    http://127.0.0.1:11434" in lines
