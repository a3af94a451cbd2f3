"""docs/configuration.md says what is so: its tables come from the code, its example is read."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from patinox import Deadlines, LocalProviderConfig
from patinox.provider.local.configfile import Document
from patinox.provider.local.environment import default_files, load_settings

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
GENERATOR = runpy.run_path(str(ROOT / "scripts" / "config_docs"))
# Read by `load_settings`, and told in the text of the page.
CLOUDS = {"provider.openrouter", "provider.anthropic"}


def test_the_tables_are_those_that_the_generator_writes() -> None:
    assert GENERATOR["render"](PAGE) == PAGE, "stale: run scripts/config_docs"


def test_the_page_has_every_table_once() -> None:
    assert re.findall(r"<!-- table: (\w+) -->", PAGE) == list(GENERATOR["TABLES"])


def test_every_reason_belongs_to_a_setting() -> None:
    assert all(reason in PAGE for reason in GENERATOR["REASONS"].values())


def example() -> str:
    (found,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def keys(shape: type[msgspec.Struct], at: str = "") -> set[str]:
    """The keys that a file may have, written in full."""
    found = set[str]()
    for field in msgspec.structs.fields(shape):
        inner = [kind for kind in (field.type, *get_args(field.type)) if is_table(kind)]
        found |= keys(inner[0], f"{at}{field.name}.") if inner else {at + field.name}
    return found


def is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def given(table: dict[str, Any], at: str = "") -> set[str]:
    found = set[str]()
    for key, value in table.items():
        inner = [
            each
            for each in (value if isinstance(value, list) else [value])
            if isinstance(each, dict)
        ]
        table_here = inner and key != "custom_params"
        found |= given(inner[0], f"{at}{key}.") if table_here else {at + key}
    return found


def test_the_example_has_every_key() -> None:
    shown = given(tomllib.loads(example()))
    assert shown <= keys(Document)
    # The four services share most keys; they are shown for Ollama.
    shared = {key.partition(".")[2] for key in shown if key.startswith("ollama.")}
    services = {f"{name}.{key}" for name in ("lmstudio", "llamacpp", "embedded") for key in shared}
    left = keys(Document) - shown - services
    assert {key for key in left if key.rpartition(".")[0] not in CLOUDS} == set()


def test_the_example_is_read_as_the_page_says(tmp_path: Path) -> None:
    file = tmp_path / "patinox.toml"
    file.write_text(example(), encoding="utf-8")
    file.chmod(0o600)
    config = load_settings({"HOME": str(tmp_path)}, file=file).config
    assert [str(each.endpoint) for each in config.endpoints] == [
        "http://192.168.1.5:11434",
        "http://127.0.0.1:1234",
        "http://127.0.0.1:8080",
        "http://10.0.0.7:8000",
    ]
    assert config.ollama.custom_params == {"num_ctx": 16384}
    assert config.ollama.deadlines == Deadlines(first_token=900)
    assert (
        config.discovery_config.health_check == LocalProviderConfig().discovery_config.health_check
    )
    assert config.model_paths == (tmp_path / "models",)
    assert config.embedded.home == tmp_path
    assert (config.ollama.timeout, config.lmstudio.timeout) == (600, 900)


@pytest.mark.parametrize(
    ("platform", "environ"),
    [
        ("linux", {"HOME": "~"}),
        ("darwin", {"HOME": "~"}),
        ("win32", {"APPDATA": "%APPDATA%"}),
    ],
)
def test_the_page_tells_where_the_file_is(platform: str, environ: dict[str, str]) -> None:
    for path in default_files(environ, platform):
        assert f"{path}".replace("\\", "/") in PAGE.replace("\\", "/")


def test_the_guide_tells_the_deadlines_as_they_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+)", GUIDE, flags=re.MULTILINE)
    assert {name: float(seconds) for name, seconds in rows} == msgspec.structs.asdict(Deadlines())
