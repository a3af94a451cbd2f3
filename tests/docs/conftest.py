"""A machine with an Ollama and an LM Studio on it, and nothing else."""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points

import pytest

from patinox.testing import LMStudioEmulator, OllamaEmulator

PLUGIN = "patinox.testing.pytest_plugin"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Start both; return the environment that leads to them, which is that of the test too."""
    with (
        OllamaEmulator().run_in_thread() as ollama,
        LMStudioEmulator().run_in_thread() as lmstudio,
    ):
        environ = {
            "OLLAMA_ENDPOINT": ollama.url,
            "LMSTUDIO_ENDPOINT": lmstudio.url,
            "LOCAL_AUTO_DISCOVER": "false",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield environ


@pytest.fixture
def fixture_plugin() -> list[str]:
    """Return what makes a pytest of our own have the fixtures, as that of a user has them."""
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    return ["-p", "no:cacheprovider", *([] if installed else ["-p", PLUGIN])]
