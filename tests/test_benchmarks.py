"""The benchmark as far as it can be checked without measuring: what it installs and plans."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
REQUIREMENTS = sorted((BENCHMARKS / "requirements").glob("*.txt"))
FILES = ("plan", "report")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield __import__("plan")
    for name in FILES:
        sys.modules.pop(name, None)


@pytest.fixture
def report(plan: ModuleType) -> ModuleType:  # noqa: ARG001 - by which it can be imported
    return __import__("report")


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.stem)
def test_peers_are_pinned_by_hash_and_no_place_is_named(file: Path) -> None:
    pin = r"[\w-]+==[\w.]+( ; [^/@]+)? \\"
    for line in file.read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(rf"#.*|{pin}|    --hash=sha256:[0-9a-f]{{64}}( \\)?", line)


def test_patinox_is_measured_with_all_that_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    pinned = (BENCHMARKS / "requirements" / "patinox.txt").read_text(encoding="utf-8")
    found = set(re.findall(r"^([\w-]+)==", pinned, flags=re.MULTILINE))
    assert asked <= found, "benchmarks/lock"


def test_every_client_has_its_file_and_its_environment(plan: ModuleType) -> None:
    for candidate in plan.CANDIDATES:
        assert (BENCHMARKS / "clients" / f"{candidate.module}.py").is_file()
        assert (BENCHMARKS / "requirements" / f"{candidate.environment}.txt").is_file()


def test_every_target_is_about_work_that_both_do(plan: ModuleType) -> None:
    candidates = {candidate.key: candidate for candidate in plan.CANDIDATES}
    works = {work.key: work for work in plan.WORKS}
    for target in plan.TARGETS:
        assert plan.does(candidates[target.ours], works[target.work])
        # Ollama's client has no base64: it is compared with what it does instead.
        instead = "embed_float" if target.work == "embed_base64" else target.work
        assert plan.does(candidates[target.theirs], works[instead])


def test_a_ratio_is_that_of_the_middle_round_not_of_the_middles(report: ModuleType) -> None:
    rounds = {"ours": {"cpu": [2.0, 30.0, 4.0]}, "theirs": {"cpu": [1.0, 10.0, 4.0]}}
    spread = report.ratio({"works": {"w": rounds}}, "w", "cpu", "ours", "theirs")
    assert spread.middle == 2.0
    assert (spread.low, spread.high) == (1.5, 2.5)
    assert str(spread) == "2.00 (1.50-2.50)"


def test_the_page_has_a_place_for_what_is_measured(report: ModuleType) -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)
