"""The command line called with arguments, and emulated servers for it to find."""

import io
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import PIL.Image
import pytest

from patinox.cli import main
from patinox.testing import LMStudioEmulator, OllamaAnswer, OllamaEmulator, OllamaModel

QWEN = OllamaModel(
    name="qwen3:4b",
    capabilities=("completion", "tools", "thinking"),
    family="qwen3",
    parameter_size="4.0B",
    context_length=262144,
    size=2_620_788_019,
    loaded=True,
    reply=OllamaAnswer(text="Blue, mostly.", thinking="The sky."),
)
LLAMA = OllamaModel(name="llama3.2:3b", capabilities=("completion", "tools"))
NOMIC = OllamaModel(
    name="nomic-embed-text:latest",
    capabilities=("embedding",),
    embedding_length=8,
    context_length=2048,
    size=274_302_450,
)
LLAVA = OllamaModel(name="llava:7b", capabilities=("completion", "vision"))
CLOUD = OllamaModel(
    name="gpt-oss:120b-cloud", remote_model="gpt-oss:120b", size=384, context_length=131072
)


class Result(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command wrote
        return json.loads(self.out)


Run: TypeAlias = Callable[..., Result]


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "false")
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line with these arguments; without `stdin`, nothing is piped in."""

    def call(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return call


@pytest.fixture
def run_on_terminal(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call it with a terminal on all three streams, `columns` wide."""

    def call(*arguments: str, columns: int = 80, term: str = "xterm", stdin: str = "") -> Result:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", term)
        out, err = FakeTerminal(), FakeTerminal()
        monkeypatch.setattr(sys, "stdin", FakeTerminal(stdin))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return Result(main(arguments), out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    with OllamaEmulator(models=(QWEN, LLAMA, NOMIC, CLOUD)).run_in_thread() as emulator:
        monkeypatch.setenv("OLLAMA_ENDPOINT", emulator.url)
        yield emulator


@pytest.fixture
def twins(
    ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, OllamaEmulator]]:
    """Two Ollamas with one model, by their ids."""
    with OllamaEmulator(models=(QWEN,)).run_in_thread() as second:
        servers = {"ollama": ollama, "attic": second}
        tables = (
            f'[[endpoints]]\nurl = "{server.url}"\nname = "{name}"\n'
            for name, server in servers.items()
        )
        file = tmp_path / "patinox.toml"
        file.write_text("".join(tables), encoding="utf-8")
        file.chmod(0o600)
        monkeypatch.setenv("PATINOX_CONFIG", str(file))
        monkeypatch.delenv("OLLAMA_ENDPOINT")
        yield servers


@pytest.fixture
def lmstudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[LMStudioEmulator]:
    with LMStudioEmulator().run_in_thread() as emulator:
        monkeypatch.setenv("LMSTUDIO_ENDPOINT", emulator.url)
        yield emulator


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound, so that nobody else gets it, but not listening
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def nothing_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the engine inside away, as if the extra `embedded` were not installed."""
    monkeypatch.setattr("patinox.embedded.engine.find_spec", lambda _: None)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """Draw a small picture; return its name in the working directory."""
    PIL.Image.new("RGB", (8, 6)).save(tmp_path / "picture.png")
    return "picture.png"


@pytest.fixture
def seeing(ollama: OllamaEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaEmulator]:
    """Replace Ollama by one whose only model sees."""
    del ollama
    with OllamaEmulator(models=(LLAVA,)).run_in_thread() as emulator:
        monkeypatch.setenv("OLLAMA_ENDPOINT", emulator.url)
        yield emulator
