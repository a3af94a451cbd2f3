"""The fixtures that ship, and the public names."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import patinox.testing

PLUGIN_TEST = """
import urllib.request, json

def test_blocking(ollama_emulator, lmstudio_emulator, llamacpp_emulator):
    for emulator, path in (
        (ollama_emulator, "/api/tags"),
        (lmstudio_emulator, "/v1/models"),
        (llamacpp_emulator, "/v1/models"),
    ):
        with urllib.request.urlopen(emulator.url + path) as reply:
            assert json.load(reply)
        assert [seen.path for seen in emulator.requests] == [path]
"""


@pytest.mark.slow
def test_the_fixtures_work_in_a_project_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PLUGIN_TEST)
    found = any(point.name == "patinox" for point in entry_points(group="pytest11"))
    plugin = [] if found else ["-p", "patinox.testing.pytest_plugin"]
    options = ["-q", "-p", "no:cacheprovider", *plugin]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_no_emulator_until_a_fixture_is_used() -> None:
    code = (
        "import sys, patinox.testing.pytest_plugin as p\n"
        "print([m for m in sys.modules if m.startswith('patinox.') or m in ('aiohttp', 'msgspec')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert loaded == {"patinox._version", "patinox.testing", "patinox.testing.pytest_plugin"}


def test_every_public_name_is_there() -> None:
    assert all(getattr(patinox.testing, name) for name in patinox.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'VLLMEmulator'"):
        _ = patinox.testing.VLLMEmulator
