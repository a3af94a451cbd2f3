"""Each complaint of docs/complaints.md has a test, and the test is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROWS = re.findall(
    r"^\| (\d+) \|.*\| (`.*`) \|$",
    (ROOT / "docs" / "complaints.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


def test_all_twenty_five_are_there() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 26))


@pytest.mark.parametrize(("number", "shown"), ROWS, ids=[number for number, _ in ROWS])
def test_what_shows_it_is_there(number: str, shown: str) -> None:
    named = re.findall(r"`([\w./]+)::(\w+)`", shown)
    assert number.isdigit()
    assert named
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", source, flags=re.MULTILINE), (file, test)
