"""The public names are what they are said to be."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import patinox
from patinox import (
    EmbeddedProvider,
    LlamaCppProvider,
    LMStudioProvider,
    LocalProvider,
    ModelProvider,
    OllamaProvider,
    ServiceProvider,
)

HOMES: dict[str, list[str]] = {
    module: names.split() for module, names in vars(patinox)["_HOMES"].items()
}
SOURCE = Path(str(patinox.__file__)).read_text(encoding="utf-8")


def imported_for_types() -> Iterator[tuple[str, str]]:
    """Module and name of what type checkers import."""
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                yield from ((str(statement.module), alias.name) for alias in statement.names)


def test_what_is_imported_is_what_type_checkers_see_and_what_all_lists() -> None:
    homes = {(module, name) for module, names in HOMES.items() for name in names}
    assert set(imported_for_types()) == homes
    assert {name for _, name in homes} | {"__version__"} == set(patinox.__all__)
    assert len(homes) + 1 == len(patinox.__all__)


def test_dir_lists_the_public_names() -> None:
    assert dir(patinox) == sorted(patinox.__all__)


@pytest.mark.parametrize("name", [name for name in patinox.__all__ if name != "__version__"])
def test_a_public_name_is_imported_from_its_home_and_explained(name: str) -> None:
    value = getattr(patinox, name)
    assert value.__name__ == name
    assert name in HOMES[value.__module__]
    assert value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'RemoteProvider'"):
        _ = patinox.RemoteProvider


def test_a_star_import_gives_the_public_names() -> None:
    code = "from patinox import *; print(*sorted(set(dir()) - {'__name__'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(patinox.__all__) <= {*done.stdout.split(), "__version__"}


@pytest.mark.parametrize("name", [name for name in patinox.__all__ if name != "__version__"])
def test_what_belongs_to_a_public_class_is_explained_too(name: str) -> None:
    value = getattr(patinox, name)
    members = vars(value).items() if isinstance(value, type) else ()
    bare = [
        member
        for member, what in members
        if not member.startswith("_")
        and (inspect.isfunction(what) or isinstance(what, property | classmethod))
        and not inspect.getdoc(getattr(value, member))
    ]
    assert bare == []


@pytest.mark.parametrize(
    "provider",
    [LocalProvider, OllamaProvider, LMStudioProvider, LlamaCppProvider, EmbeddedProvider],
)
def test_each_provider_is_a_model_provider(
    provider: type[LocalProvider] | type[ServiceProvider],
) -> None:
    assert isinstance(provider(), ModelProvider)
    asked = [name for name in vars(ModelProvider) if not name.startswith("_") and name != "name"]
    assert len(asked) == 6
    for name in asked:
        method, wanted = getattr(provider, name), getattr(ModelProvider, name)
        assert inspect.signature(method) == inspect.signature(wanted), name
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(wanted), name
        assert get_type_hints(method) == get_type_hints(wanted), name


def test_the_file_for_type_checkers_uses_every_public_name() -> None:
    used = (Path(__file__).parent / "typing" / "api.py").read_text(encoding="utf-8")
    assert [name for name in patinox.__all__ if not re.search(rf"\b{name}\b", used)] == []
