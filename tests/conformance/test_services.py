"""Every behaviour of `behaviours.py` and `beyond_text.py`, of every service in `conftest.py`."""

from collections.abc import Awaitable, Callable
from typing import Any

from patinox.provider.local.registry import services


async def test_a_service_behaves(
    subject: Any,  # noqa: ANN401 - a `Subject`, of a module that is loaded by its path
    behaviour: Callable[[Any], Awaitable[None]],
) -> None:
    await behaviour(subject)


def test_every_kind_of_service_in_the_registry_is_shown(kinds_shown: set[str]) -> None:
    assert kinds_shown == set(services())
