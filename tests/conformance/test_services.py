"""Every behaviour of `behaviours.py` and `beyond_text.py`, of every service in `conftest.py`."""

from collections.abc import Awaitable, Callable
from typing import Any


async def test_a_service_behaves(
    subject: Any,  # noqa: ANN401 - a `Subject`, of a module that is loaded by its path
    behaviour: Callable[[Any], Awaitable[None]],
) -> None:
    await behaviour(subject)
