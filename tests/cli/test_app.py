import builtins
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from patinox import __version__
from patinox.cli import main
from patinox.testing import OllamaEmulator

Run: TypeAlias = Callable[..., Any]  # what `conftest.py` makes: arguments to a `Result`


ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("arguments", [["--version"], ["--json", "--version"]])
def test_the_version_is_told(run: Run, arguments: list[str]) -> None:
    assert run(*arguments) == (0, f"patinox {__version__}\n", "")


def test_the_version_needs_nothing_heavy() -> None:
    code = (
        "import sys; from patinox.cli import main; main(['--version']);"
        "print(sorted({'typer', 'rich', 'aiohttp', 'msgspec', 'asyncio'} & {*sys.modules}))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert said.stdout.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
        original: object = builtins.__import__,
    ) -> object:
        if name == "patinox.cli.app":
            raise ModuleNotFoundError(name=missing)
        assert callable(original)
        return original(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["status"]) == 2
    assert capsys.readouterr().err == (
        f'The command line needs {missing}: pip install "patinox[cli]"\n'
    )
    missing = "something.else"
    with pytest.raises(ModuleNotFoundError):
        main(["status"])


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["models", "--nope"], "No such option: --nope", "Next: patinox models --help"),
        (["modles"], "No such command 'modles'. Did you mean 'models'?", "Next: patinox --help"),
        (["show"], "Missing argument 'MODEL'.", "Next: patinox show --help"),
    ],
)
def test_wrong_usage_says_what_and_where_it_is_described(
    run: Run, arguments: list[str], what: str, hint: str
) -> None:
    assert run(*arguments) == (2, "", f"  {what}\n  {hint}\n")
    document = run(*arguments, "--json")
    assert document.code == 2
    assert document.json["error"]["message"] == what


def test_help_lists_every_command(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for command in ("status", "models", "show", "chat", "complete", "embed", "doctor"):
        assert f"\n  {command} " in result.out


def test_options_before_the_command_hold_for_it(run: Run, ollama: OllamaEmulator) -> None:
    assert run("--json", "--service", "ollama", "models").json[0]["service"] == "ollama"
    assert run("--json").json["services"][0]["endpoint"] == ollama.url


def test_a_file_that_is_not_there_is_a_wrong_setting(run: Run) -> None:
    for arguments in (["--config", "no.toml"], ["chat", "hi", "--config", "no.toml"]):
        result = run(*arguments)
        assert result.code == 2
        assert "The configuration file no.toml is not there." in result.err


def test_warnings_of_the_configuration_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('model_paths = ["/nowhere/at/all"]\n', encoding="utf-8")
    assert "There is no /nowhere/at/all" in run("--config", str(file)).err


def test_a_provider_in_the_cloud_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATINOX_MODEL_PROVIDER", "openai")
    result = run("models", "--json")
    assert result.code == 2
    assert result.json["error"]["type"] == "InvalidConfiguration"


@pytest.mark.usefixtures("ollama", "lmstudio")
def test_the_configured_provider_is_preferred_and_the_others_are_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATINOX_MODEL_PROVIDER", "lmstudio")
    assert len(run("status", "--json").json["services"]) == 2


def test_the_help_in_the_documentation_is_that_of_the_program() -> None:
    script = ROOT / "scripts" / "cli_docs"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


@pytest.mark.usefixtures("ollama")
@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["models"],
        ["chat", "qwen3:4b", "hi"],
        ["embed", "x"],
        ["doctor"],
        ["show", "nope:1b"],
    ],
)
def test_every_field_of_json_is_documented(run: Run, command: list[str]) -> None:
    docs = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    fields = set(names_in(run(*command, "--json").json))
    assert fields
    assert [field for field in sorted(fields) if f"`{field}`" not in docs] == []


def names_in(value: object, inside: str = "") -> list[str]:
    if isinstance(value, list):
        return [name for item in value[:1] for name in names_in(item, inside)]
    if not isinstance(value, dict) or inside == "proxies":
        return []
    if inside == "sources":
        return []
    return [name for key, item in value.items() for name in (key, *names_in(item, key))]
