"""The guide's table of what each server does with its models is what the code says."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from patinox import (
    EmbeddedProvider,
    LlamaCppProvider,
    LMStudioProvider,
    OllamaProvider,
    ServiceProvider,
)
from patinox.provider.local.lifecycle import NOTHING_OFFERED
from patinox.testing import EmulatedServer, LlamaCppEmulator, LMStudioEmulator, OllamaEmulator

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide.md"
ROWS = [
    [cell.strip(" `") for cell in line.strip("|").split("|")]
    for line in re.findall(
        r"^\|.*\|$",
        GUIDE.read_text().partition("## Loading, pulling")[2].partition("\n## ")[0],
        re.MULTILINE,
    )
]
COLUMNS = ROWS[0][1:]
SERVERS: dict[str, tuple[EmulatedServer, type[ServiceProvider]]] = {
    "Ollama": (OllamaEmulator(), OllamaProvider),
    "LM Studio 0.4": (LMStudioEmulator(), LMStudioProvider),
    "LM Studio 0.3": (LMStudioEmulator(generation="0.3"), LMStudioProvider),
    "llama.cpp, router": (LlamaCppEmulator(), LlamaCppProvider),
    "llama.cpp, one model": (LlamaCppEmulator(router=False), LlamaCppProvider),
}


@asynccontextmanager
async def provider(column: str) -> AsyncGenerator[ServiceProvider]:
    if column == "engine inside":
        async with EmbeddedProvider() as inside:
            yield inside
        return
    server, kind = SERVERS[column]
    async with server, kind(server.url) as service:
        yield service


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_column_says_what_the_service_refuses(column: str) -> None:
    said = {row[0]: row[1 + COLUMNS.index(column)] for row in ROWS[2:]}
    async with provider(column) as service:
        told = {
            what: "yes" if await service.refused(what) is None else "-" for what in NOTHING_OFFERED
        }
    assert said == told
