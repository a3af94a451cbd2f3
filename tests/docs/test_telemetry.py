"""docs/telemetry.md says what is so: its tables come from the code, its blocks are run."""

import ast
import asyncio
import json
import logging
import re
import runpy
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from patinox.provider.local import events

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
GENERATOR = runpy.run_path(str(ROOT / "scripts" / "telemetry_docs"))


def test_the_tables_are_those_that_the_generator_writes() -> None:
    assert GENERATOR["render"](PAGE) == PAGE, "stale: run scripts/telemetry_docs"


def test_the_page_has_every_table_once() -> None:
    assert re.findall(r"<!-- table: (\w+) -->", PAGE) == list(GENERATOR["TABLES"])


def test_the_page_lists_its_sections() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    assert re.findall(r"^- \[(.+)\]\(#.+\)$", PAGE, flags=re.MULTILINE) == headings


def test_every_event_is_explained() -> None:
    assert all(f"`{kind.__name__}`" in PAGE for kind in events.Event.__subclasses__())


def test_the_queries_name_metrics_that_are_there() -> None:
    asked = set(re.findall(r"patinox_\w+", PAGE.partition("| Question |")[2].partition("## ")[0]))
    shown = set(re.findall(r"\| `(patinox_\w+)`", PAGE))
    assert {name.removesuffix("_bucket") for name in asked} <= shown


def test_a_query_of_what_has_not_happened_yet_gives_zero() -> None:
    rows = PAGE.partition("| Question |")[2].partition("## ")[0]
    rare = [row for row in rows.splitlines() if 'outcome="error"' in row or "fallbacks" in row]
    assert rare
    assert all("or vector(0)" in row for row in rare)


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("patinox")
    before = (root.handlers[:], ours.handlers[:], ours.level)
    yield
    root.handlers, ours.handlers = before[0], before[1]
    ours.setLevel(before[2])


def blocks() -> Mapping[str, str]:
    """Each block of Python, by the heading above it."""
    return {
        section.partition("\n")[0]: code
        for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)
        for code in re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    }


def run(place: str) -> None:
    """Run a block as a notebook would, on a port that is free."""
    text = blocks()[place].replace("PORT = 9464", "PORT = 0")
    code = compile(text, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, Any] = {"__name__": place}
    asyncio.run(cast("Coroutine[None, None, None]", eval(code, names)))  # noqa: S307  our page


@pytest.mark.usefixtures("servers", "_logging_as_it_was")
def test_requests_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="patinox"):
        run("Watching")
    assert re.search(r"chat lmstudio::qwen/\S+ by lmstudio: success after \d+\.\d+ s", caplog.text)


@pytest.mark.usefixtures("servers", "_logging_as_it_was")
def test_requests_are_logged_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("Logging")
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-1]["event"] == "CallFinished"
    assert said[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("place", "printed"),
    [
        ("Prometheus", r'patinox_requests_total\{error="none",model="qwen/qwen3-4b-2507",\S+ 1\.0'),
        ("OpenTelemetry", r"You said: Hello"),
        ("An observer of your own", r"\d+ tokens"),
    ],
)
def test_each_other_block_works_as_written(
    place: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(place)
    assert re.search(printed, capsys.readouterr().out)


def test_every_block_is_run() -> None:
    assert list(blocks()) == [
        "Watching",
        "Logging",
        "Prometheus",
        "OpenTelemetry",
        "An observer of your own",
    ]
