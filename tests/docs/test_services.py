"""docs/services.md says what is so: its tables come from what the services declare."""

import re
import runpy
from pathlib import Path

import pytest

from patinox.provider.local.features import Feature

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
GENERATOR = runpy.run_path(str(ROOT / "scripts" / "services_docs"))


def test_the_tables_are_those_that_the_generator_writes() -> None:
    assert GENERATOR["render"](PAGE) == PAGE, "stale: run scripts/services_docs"


def test_the_page_has_every_table_once() -> None:
    assert re.findall(r"<!-- table: (\w+) -->", PAGE) == list(GENERATOR["TABLES"])


@pytest.mark.parametrize("feature", Feature)
def test_of_every_feature_it_is_told_how_it_is_asked_for(feature: Feature) -> None:
    assert f"| {feature.value} | {GENERATOR['ASKED'][feature]} |" in PAGE


@pytest.mark.parametrize("spec", GENERATOR["SPECS"], ids=lambda spec: str(spec.name))
def test_every_service_says_what_its_tests_rest_on(spec: object) -> None:
    assert spec.shown_of  # type: ignore[attr-defined]
    assert not set(spec.since) & set(spec.provider.lacks)  # type: ignore[attr-defined]
