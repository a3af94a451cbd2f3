"""`patinox pull`: what is shown of a download, on a terminal and elsewhere."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from rich.cells import cell_len

from patinox.cli.pull import progress_line
from patinox.provider.lifecycle import PullProgress
from patinox.testing import LMStudioEmulator, OllamaEmulator, OllamaModel, OllamaPullFault

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`
NEW = OllamaModel(name="new:1b", size=4_000_000_000, layers=(1000, 300))
HALF = PullProgress(
    status="pulling a1b2c3",
    digest="sha256:a1b2c3",
    completed_bytes=10**9,
    total_bytes=2 * 10**9,
    bytes_per_second=5e7,
    eta_seconds=20.0,
)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    """Serve an Ollama that has nothing and can get `new:1b`."""
    with OllamaEmulator(models=(), pullable=[NEW]).run_in_thread() as server:
        monkeypatch.setenv("OLLAMA_ENDPOINT", server.url)
        yield server


def pulls(server: OllamaEmulator) -> list[Any]:
    return [seen.json for seen in server.requests if seen.path == "/api/pull"]


def test_a_download_is_told_now_and_then_and_its_end_on_stdout(
    run: Run, registry: OllamaEmulator
) -> None:
    result = run("pull", "new:1b")
    assert result.code == 0
    assert result.out.startswith("  new:1b is on Ollama · 4.0 GB · ")
    lines = result.err.splitlines()
    assert lines[0] == "pulling manifest"
    assert [line.split("  ")[1] for line in lines[1:]] == [
        *["0 %", "25 %", "50 %", "75 %", "100 %"],
        *["100 %"] * 3,
    ]
    assert [line.split("  ")[0] for line in lines[-3:]] == [
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert pulls(registry) == [{"model": "new:1b", "stream": True}]


@pytest.mark.usefixtures("registry")
def test_with_json_there_is_one_document_and_nothing_else(run: Run) -> None:
    result = run("pull", "new:1b", "--json")
    assert result.err == ""
    seconds = result.json.pop("seconds")
    assert 0 < seconds < 60
    assert result.json | {"seconds": None} == {
        "model": "new:1b",
        "service": "ollama",
        "status": "success",
        "total_bytes": 4_000_000_000,
        "seconds": None,
    }


@pytest.mark.usefixtures("registry")
def test_on_a_terminal_one_line_is_written_over_and_wiped_away(run_on_terminal: Run) -> None:
    result = run_on_terminal("pull", "new:1b", columns=100)
    shown = result.err.replace("\x1b[2m", "").replace("\x1b[0m", "").split("\r")
    assert any("50 %  2.0 GB of 4.0 GB" in line and "━━━───" in line for line in shown)
    assert all(cell_len(line) < 100 for line in shown)
    assert shown[-2].strip() == shown[-1] == ""
    assert "\n" not in result.err
    assert "new:1b is on Ollama" in result.out


@pytest.mark.usefixtures("registry")
def test_a_terminal_that_cannot_write_over_a_line_gets_lines(run_on_terminal: Run) -> None:
    result = run_on_terminal("pull", "new:1b", term="dumb")
    assert "\r" not in result.err
    assert "pulling manifest\n" in result.err


def test_a_download_that_broke_off_says_how_to_go_on(run: Run, registry: OllamaEmulator) -> None:
    registry.pull_faults.append(OllamaPullFault(after=4))
    broken = run("pull", "new:1b")
    again = run("pull", "new:1b")
    assert broken.code == 1
    assert "  The download of 'new:1b' broke off before its end.\n" in broken.err
    assert "  Pull it again: what is there already is not fetched twice.\n" in broken.err
    assert again.code == 0
    assert again.err.splitlines()[1].split("  ")[1] == "50 %"


@pytest.mark.usefixtures("registry")
def test_what_is_nowhere_is_not_found(run: Run) -> None:
    result = run("pull", "nope")
    assert result.code == 3
    assert "There is no model 'nope' to download." in result.err


def test_a_model_in_the_cloud_is_not_pulled(run: Run, registry: OllamaEmulator) -> None:
    result = run("pull", "gpt-oss:120b-cloud")
    assert result.code == 1
    assert "PATINOX_ALLOW_CLOUD" in result.err
    assert pulls(registry) == []


def test_a_service_can_be_named(
    run: Run, registry: OllamaEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LMStudioEmulator(download_steps=1).run_in_thread() as server:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", server.url)
        by_option = run("pull", "acme/one", "--service", "lmstudio")
        by_name = run("pull", "lmstudio::acme/two", "--json")
    assert by_option.out.startswith("  acme/one is on LM Studio · 2.5 GB · ")
    assert (by_name.json["service"], by_name.json["status"]) == ("lmstudio", "completed")
    assert pulls(registry) == []


def test_a_line_is_cut_to_the_width_there_is() -> None:
    rest = "50 %  1.0 GB of 2.0 GB  50 MB/s  20 s left"
    assert progress_line(HALF, 100) == f"  pulling a1b2c3  {'━' * 15}{'─' * 15}  {rest}"
    assert progress_line(HALF, 75) == f"  pulling a1b2c3  {'━' * 6}{'─' * 6}  {rest}"
    assert progress_line(HALF, 66) == f"  pulling a1b2c3  {rest}"
    assert progress_line(HALF, 30) == f"  pulling a1b2c3  {rest}"[:29]


def test_what_is_not_known_is_left_out() -> None:
    assert progress_line(PullProgress(status="pulling\x1b[2J"), None) == "pulling\\x1b[2J"
    slow = PullProgress(status="a", total_bytes=10, completed_bytes=1, bytes_per_second=0.0)
    assert progress_line(slow, None) == "a  10 %  1 B of 10 B"
