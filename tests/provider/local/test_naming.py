"""Which services a name means."""

import pytest

from patinox.provider.local.naming import ID, KIND, NEITHER, meant, nearness
from patinox.provider.local.types import ServiceInfo


def service(name: str, kind: str | None = None) -> ServiceInfo:
    kind = kind or name.partition("@")[0]
    return ServiceInfo(id=name, service_type=kind, label=name, endpoint="http://x")


TWINS = [service("ollama@b"), service("ollama"), service("lmstudio")]
CALLED = [service("attic", "ollama"), service("cellar", "ollama"), service("lmstudio")]
CROSSED = [service("ollama", "lmstudio"), service("ollama@b")]


@pytest.mark.parametrize(
    ("services", "name", "expected"),
    [
        (TWINS, "ollama", ["ollama"]),
        (TWINS, "ollama@b", ["ollama@b"]),
        (TWINS, "llamacpp", []),
        (TWINS, "auto", []),
        (TWINS, None, ["ollama@b", "ollama", "lmstudio"]),
        (CALLED, "ollama", ["attic", "cellar"]),
        (CALLED, "cellar", ["cellar"]),
        (CROSSED, "ollama", ["ollama"]),
        ([], "ollama", []),
        ([], None, []),
    ],
)
def test_an_exact_id_wins_over_a_kind(
    services: list[ServiceInfo], name: str | None, expected: list[str]
) -> None:
    assert [each.id for each in meant(name, services)] == expected


def test_an_id_is_nearer_than_a_kind() -> None:
    attic = service("attic", "ollama")
    told = [nearness(attic, name) for name in ("attic", "ollama", "lmstudio")]
    assert told == [ID, KIND, NEITHER] == sorted(told)
