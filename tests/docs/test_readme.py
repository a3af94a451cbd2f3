"""The code in README.md and in the pages of the guide is run as it stands there."""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

import patinox
from patinox import ProviderError

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"

# The guide's pages of code that runs; the first is its front.
PAGES = (GUIDE, ROOT / "docs" / "answers.md", ROOT / "docs" / "beyond-text.md")

# What each block of these pages prints, as far as it is the same in every run.
PRINTED = {
    "First steps 1": "lmstudio::qwen/qwen3-4b-2507: in memory\nYou said: Why is the sky blue?",
    "First steps 2": "You said: And a neap tide?\nstop ",
    "Choosing a model 1": "ollama::llama3.2:3b\n",
    "What a model can do 1": "tools: True by the server\ncontext: 131072 ",
    "How the next word is chosen 1": "You said: Hello",
    "Reasoning 1": "The user said something. -> You said: 3 + 4?",
    "Probabilities 1": "You -0.5 ['You', ' other1', ' other2']",
    "Going on with a text 1": "You said: Once upon a time",
    "Streaming, and leaving early 1": "You said: Count to three.\nended by stop\n",
    "Streaming, and leaving early 2": "left after: You said: Tell a story",
    "Vectors 1": "2 vectors of 768 numbers",
    "Errors 1": "did you mean: ('ollama::llama3.2:3b'",
    "Answers that break off 1": "You said: Tell a story.",
    "Deadlines 1": "You said: Hello ",
    "Several servers 1": "from ollama because the only service that has the model",
    "Several servers 2": "ollama at http://127.0.0.1:",
    "One server 1": "You said: Hello",
    "Loading, pulling, removing 1": "pulling manifest None None None\n",
    "Loading, pulling, removing 2": "LM Studio deletes no model over HTTP. Delete it in its window",
    "Keys 1": "***",
    "Privacy and the cloud 1": "runs in the cloud, although Ollama lists it",
    "The engine inside 1": "a toy",
    "Code that blocks 1": "You said: Name three rivers.\nYou said: Name three rivers.",
    "Defaults 1": "You said: What is a tide?\n800 0",
    "Tools 1": """The tool said: {"year":2025,"people":709000}
population {"city":"Oslo"} -> {"year":2025,"people":709000}
""",
    "Tools 2": "May I call delete_file? No.\nThe tool said: The user did not allow that.\n",
    "Running tools yourself 1": 'area {"width":3,"height":4}\nThe tool said: 12.0\n',
    "Structured output 1": "River(name='You said: Describe the Rhine.', length_km=0, ",
    "Pictures 1": "(<Image image/gif, 35 bytes>,)\nYou said: What colour is this?",
    "Configuration 1": "lmstudio ollama lmstudio",
}


class Block(NamedTuple):
    """A block of code on a page; its place is the heading above it and its number there."""

    place: str
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        found = re.findall(r"^```(\w*)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        numbers: dict[str, int] = {}
        for language, code in found:
            numbers[language] = numbers.get(language, 0) + 1
            yield Block(f"{heading} {numbers[language]}", language, code)


def python(page: Path) -> dict[str, str]:
    return {block.place: block.code for block in blocks(page) if block.language == "python"}


def run(source: str, name: str) -> dict[str, Any]:
    """Run a block as a notebook would; return the names it leaves."""
    names: dict[str, Any] = {"__name__": name}
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(cast("Coroutine[None, None, None]", eval(code, names)))  # noqa: S307  our page
    else:
        exec(code, names)  # noqa: S102  our page
    return names


def blocking(source: str) -> str:
    """Write the blocking twin of a block, as the README says that one does."""
    twin = re.sub(r"\b(async|await) ", "", source)
    return re.sub(r"\bLocalProvider\b", "SyncLocalProvider", twin)


@pytest.mark.parametrize("form", [str, blocking], ids=["asynchronous", "blocking"])
def test_the_code_in_the_readme_works_as_written(
    form: Callable[[str], str], servers: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert servers
    (source,) = python(README).values()
    names = run(form(source), "README.md")
    printed = capsys.readouterr().out
    assert "llama3.2:3b ModelCapabilities(max_tokens=131072, supports_chat=True" in printed
    assert "\nYou said: Hello Usage(prompt_tokens=" in printed
    assert printed.endswith(" stop\nYou said: Hello")
    assert [len(vector) for vector in names["vectors"]] == [768, 768]


BLOCKS = {place: code for page in PAGES for place, code in python(page).items()}


@pytest.mark.parametrize("place", [place for place in BLOCKS if "Testing" not in place])
def test_each_block_of_the_guide_works_as_written(
    place: str, servers: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert servers
    run(BLOCKS[place], place)
    printed = capsys.readouterr().out
    assert PRINTED[place] in printed
    assert printed.strip()


@pytest.mark.slow
def test_the_tests_in_the_guide_pass(tmp_path: Path, fixture_plugin: list[str]) -> None:
    (source,) = (code for place, code in python(GUIDE).items() if "Testing" in place)
    (tmp_path / "test_mine.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *fixture_plugin]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_the_guide_draws_the_tree_of_errors_as_it_is() -> None:
    (tree,) = (
        block.code for block in blocks(GUIDE) if block.place == "Errors 1" and not block.language
    )
    drawn: list[tuple[int, type[ProviderError]]] = []
    for line in tree.splitlines():
        branch, name = re.match(r"([| `-]*)(\w+)", line).groups()  # type: ignore[union-attr]
        error = getattr(patinox, name)
        above = [parent for depth, parent in drawn if depth < len(branch)]
        assert not above or issubclass(error, above[-1]), name
        drawn.append((len(branch), error))
    public = {getattr(patinox, name) for name in patinox.__all__}
    errors = {item for item in public if isinstance(item, type) and issubclass(item, ProviderError)}
    assert {error for _, error in drawn} == errors


@pytest.mark.parametrize(
    "page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_guide_lists_its_sections() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w-]", "", each.lower().replace(" ", "-")) for each in headings]
    assert re.findall(r"^- \[(.+)\]\(#(.+)\)$", text, flags=re.MULTILINE) == [
        *zip(headings, anchors, strict=True)
    ]
