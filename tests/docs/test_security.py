"""The threat model names a test for each row, and that test exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = re.search(r"<!-- table: threats -->(.*)<!-- end -->", TEXT, re.DOTALL)
assert ROWS
TABLE = [line for line in ROWS[1].strip().splitlines() if line.startswith("|")][2:]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", ROWS[1])))


@pytest.mark.parametrize("row", TABLE)
def test_each_threat_has_a_letter_an_answer_and_a_test(row: str) -> None:
    kind, threat, answer, shown = (cell.strip() for cell in row.strip("|").split("|"))
    assert kind in "STRIDE"
    assert threat
    assert answer
    assert re.fullmatch(r"`[\w/]+\.py::\w+`", shown)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_the_test_that_is_named_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert test in {function.name for function in functions}


@pytest.mark.parametrize("page", ["SECURITY.md", "README.md"])
def test_the_threat_model_is_found(page: str) -> None:
    assert "docs/security.md" in (ROOT / page).read_text(encoding="utf-8")
