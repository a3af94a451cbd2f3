"""The behaviours of `tests/conformance`, shown of real servers."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.live


async def test_a_real_service_behaves(
    subject: Any,  # noqa: ANN401 - a `Subject`, of a module that is loaded by its path
    behaviour: Callable[[Any], Awaitable[None]],
) -> None:
    await behaviour(subject)
