"""What holds for every service that gets, loads and removes models, and for one that does not."""

from typing import ClassVar

import pytest

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest
from patinox.provider.lifecycle import Operation
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.errors import ModelNotFound
from patinox.provider.local.lifecycle import NOTHING_OFFERED
from patinox.provider.local.service import ServiceProvider
from patinox.provider.types import ModelInfo


class Plain(ServiceProvider):
    """A service of somebody else's that only lists its models."""

    service_type: ClassVar[str] = "plain"
    label: ClassVar[str] = "Plain"
    dialect: ClassVar[Dialect] = OpenAIDialect()

    async def fetch_models(self) -> list[ModelInfo]:
        return [
            ModelInfo(id="warm", service="plain", loaded=True, loaded_context_length=4096),
            ModelInfo(id="cold", service="plain", loaded=False),
        ]


async def test_a_service_that_says_nothing_refuses_everything() -> None:
    async with Plain() as plain:
        for what in NOTHING_OFFERED:
            refusal = await plain.refused(what)
            assert refusal is not None
            assert refusal.service == "plain"
            assert refusal.hint == "Use the server's own tools for its models."
        for work in (
            plain.load("warm"),
            plain.unload("warm"),
            plain.delete("warm"),
            plain.copy("warm", "other"),
            plain.running(),
            plain.ensure_loaded("cold"),
            plain.ensure_loaded("warm", keep_alive=60),
        ):
            with pytest.raises(CapabilityNotSupported, match="only answers requests"):
                await work
        with pytest.raises(CapabilityNotSupported):
            async with plain.pull("new") as download:
                await download.wait()
        assert await plain.load_progress("cold") is None


async def test_what_it_has_in_memory_is_there_all_the_same() -> None:
    async with Plain() as plain:
        loaded = await plain.ensure_loaded("warm", 2048)
    assert (loaded.already, loaded.context_length, loaded.fits) == (True, 4096, True)


async def test_what_cannot_be_asked_is_refused_before_anything_else() -> None:
    async with Plain() as plain:
        for act in (plain.load, plain.ensure_loaded):
            with pytest.raises(InvalidRequest, match="`context_length` is 0"):
                await act("nothing", 0)
            with pytest.raises(InvalidRequest, match="`keep_alive` is 0"):
                await act("nothing", keep_alive=0)
        with pytest.raises(ModelNotFound):
            await plain.ensure_loaded("nothing")


def test_every_operation_has_a_refusal() -> None:
    assert {*Operation} < set(NOTHING_OFFERED)
