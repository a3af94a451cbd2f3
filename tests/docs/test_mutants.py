"""docs/mutants.md quotes lines that are there, and gives each survivor a reason."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LOCAL = ROOT / "src" / "patinox" / "provider" / "local"
PAGE = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w/]+\.py)` \| (\d+) \| (\d+) \|", PAGE, flags=re.MULTILINE)
SURVIVORS = re.findall(r"^- `([\w/]+\.py)`: `(.+?)`: .+\. \w.+$", PAGE, flags=re.MULTILINE)


def test_nine_in_ten_changes_of_each_file_are_seen() -> None:
    assert {*("health.py", "routing.py")} < {file for file, _, _ in ROWS}
    assert all(int(killed) >= 0.9 * int(changes) for _, changes, killed in ROWS)


def test_every_survivor_is_listed_with_its_reason() -> None:
    listed = [file for file, _ in SURVIVORS]
    for file, changes, killed in ROWS:
        assert listed.count(file) == int(changes) - int(killed), file


@pytest.mark.parametrize(("file", "line"), sorted({*SURVIVORS}))
def test_the_line_of_a_survivor_is_there(file: str, line: str) -> None:
    lines = (LOCAL / file).read_text(encoding="utf-8").splitlines()
    assert line in {each.strip() for each in lines}
