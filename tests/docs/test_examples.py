"""The scripts in examples/ run as a user would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

# What each prints, as far as it is the same in every run.
PRINTED = {
    "blocking": r"""
(You said: Name three rivers\.\n){2}in one piece and in many, by lmstudio""",
    "continue_text": r"""
You said: Once upon a time
.+ fills? in (the|no) middle.+""",
    "defaults": r"""
sober: at most 40 tokens: You said: .+
brief: at most 10 tokens: You said: .+
wild: temperature 1\.2, at most 10 tokens""",
    "embed": r"""
ollama::nomic-embed-text:latest makes vectors of 768 numbers
(-?[01]\.\d\d  .+\n){3}""",
    "errors": r"""
'lmstudio::qwen/qwen3-4b-2507': answer: You said: Hello
.+: not here, but perhaps you meant: lmstudio::qwen/qwen3-4b-2507
'': the request is wrong: .+""",
    "hello": r"""
Asking lmstudio::qwen/qwen3-4b-2507 \(in memory\)
You said: .+
\d+ tokens, ended by stop""",
    "lifecycle": r"""
pulling manifest
(.+%\n)+success +100%
274,302,450 bytes
nomic-embed-text:latest: 1024 tokens of context, enough: True
already there: True, enough for 4096: False
in memory: nomic-embed-text:latest on ollama, leaves some time
(in memory: .+, stays\n)+""",
    "list_models": r"""
(.+\n)+ollama::gpt-oss:120b-cloud +131,072  chat tools thinking +in the cloud
(.+\n)+ollama::nomic-embed-text:latest +2,048  embeddings""",
    "long_prompts": r"""
about 6,\d\d\d tokens
warning: The prompt has about 6,\d\d\d tokens, but 'llama3\.2:3b' on Ollama has a context of 2,048.+
warning: The server read \d.+ tokens of a prompt of about .+
refused: 6,\d\d\d tokens do not fit 2,048""",
    "probabilities": r"""
(.+: LM Studio does not tell how probable tokens are\.\n)*'You' +\d+%  else \[' other1'\]""",
    "reasoning": r"""
(thinks: .+\n)+(says: .+\n)+at once: .+ \(thought 0 characters\)""",
    "several_servers": r"""
ollama: Ollama \d\S+, available \(http://.+\)
lmstudio: LM Studio \d\S+, available \(http://.+\)
.+: answered by lmstudio, because the only service that has the model
.+: answered by lmstudio, because asked for by name""",
    "stream": r"""
You said: Tell a long story about a lighthouse\.
47 characters from lmstudio""",
    "structured": r"""
You said: Review Moby Dick, with the reasons for your verdict\.: bad, 0 stars
- You said: .+""",
    "tools": r"""
calls population with \{"city":\s?"Oslo"\}
The tool said: 709000
2 answers of .+""",
    "vision": r"""
lmstudio::gemma-3-4b-it looks at <Image image/gif, 35 bytes>
You said: What is in this picture\?""",
    "telemetry": r"""
chat: success, 1 attempts, \d+ tokens
chat: error, 0 attempts, None tokens
.*not-here.*
(patinox_requests_total\{.+\} 1\.0\n){2}""",
    "testing_your_code": r"""
\.\.\.\. .*
4 passed""",
}


def test_each_example_has_its_output_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.slow
def test_an_example_runs_without_arguments(
    name: str, servers: Mapping[str, str], fixture_plugin: list[str]
) -> None:
    plugins = {"PYTEST_ADDOPTS": " ".join(fixture_plugin)}  # for the one that starts pytest
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env={**os.environ, **servers, **plugins},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(PRINTED[name].lstrip(), done.stdout), done.stdout
    assert not done.stderr


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_says_in_its_first_line_how_to_run_it(name: str) -> None:
    first = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").partition("\n")[0]
    assert f"`python examples/{name}.py`" in first
