"""Test your own code without a model: `python examples/testing_your_code.py`. It needs `pytest`.

The fixtures come with Patinox. Each starts an emulated server on a free port: it speaks the real
one's HTTP API and runs no model. Unless told otherwise it repeats what the user said.
"""

import os
import subprocess
import sys

import pytest

from patinox import CompletionRequest, ServiceError, SyncLocalProvider
from patinox.testing import LMStudioEmulator, OllamaAnswer, OllamaEmulator, OllamaModel


def summarize(text: str) -> str:
    """Stand for the code that you want to test."""
    with SyncLocalProvider() as local:
        request = CompletionRequest("llama3.2:3b", [f"Summarize: {text}"], temperature=0)
        return local.complete(request).text


@pytest.fixture(autouse=True)
def _only_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the servers of this machine out of the tests."""
    monkeypatch.setenv("LOCAL_AUTO_DISCOVER", "false")


def test_the_text_is_sent(ollama_emulator: OllamaEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at what the server received."""
    monkeypatch.setenv("OLLAMA_ENDPOINT", ollama_emulator.url)
    assert summarize("a long text") == "You said: Summarize: a long text"
    sent = next(seen.json for seen in ollama_emulator.requests if seen.path == "/api/chat")
    assert sent["options"] == {"temperature": 0}


def test_the_answer_is_yours_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose models and what they say."""
    model = OllamaModel(name="llama3.2:3b", reply="Short.")
    with OllamaEmulator(models=[model]).run_in_thread() as ollama:
        monkeypatch.setenv("OLLAMA_ENDPOINT", ollama.url)
        assert summarize("a long text") == "Short."


def test_a_failing_server_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server fail."""
    model = OllamaModel(name="llama3.2:3b", reply=OllamaAnswer(error="out of memory"))
    with OllamaEmulator(models=[model]).run_in_thread() as ollama:
        monkeypatch.setenv("OLLAMA_ENDPOINT", ollama.url)
        with pytest.raises(ServiceError, match="out of memory"):
            summarize("a long text")


def test_two_servers_at_once(
    ollama_emulator: OllamaEmulator,
    lmstudio_emulator: LMStudioEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Have several servers found."""
    monkeypatch.setenv("OLLAMA_ENDPOINT", ollama_emulator.url)
    monkeypatch.setenv("LMSTUDIO_ENDPOINT", lmstudio_emulator.url)
    with SyncLocalProvider() as local:
        assert local.available_services() == ["ollama", "lmstudio"]


if __name__ == "__main__":
    # The settings of a project around it are not for it.
    alone = ["-c", os.devnull, "-p", "no:asyncio"]
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "--quiet", *alone, __file__]))
