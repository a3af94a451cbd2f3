"""Vectors of the emulated LM Studio."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from patinox.testing.lmstudio import LMStudioEmulator, LMStudioModel

Ask = Callable[..., Awaitable[Any]]
EMBED = LMStudioModel(
    key="text-embedding-acme-v1",
    kind="embedding",
    publisher="acme",
    display_name="Acme Embed v1",
    architecture="nomic-bert",
    quantization="Q8_0",
    bits_per_weight=8,
    max_context_length=2048,
    size_bytes=146146432,
    dimensions=3,
)


@pytest.mark.parametrize("target", ["/v1/embeddings", "/api/v0/embeddings"])
async def test_embeddings_are_unit_vectors_of_the_text_and_count_nothing(
    ask: Ask, target: str
) -> None:
    body = {"model": EMBED.key, "input": ["b", "a", "b"], "dimensions": 2}
    async with LMStudioEmulator([EMBED]) as server:
        got = await ask(server, target, body)
        single = (await ask(server, target, {**body, "input": "a"})).json
    rows = got.json.pop("data")
    assert re.sub(r'"embedding":\[[^]]+\]', '"embedding":[]', got.compact) == (
        '{"object":"list","data":[{"object":"embedding","embedding":[],"index":0},'
        '{"object":"embedding","embedding":[],"index":1},{"object":"embedding","embedding":[],'
        '"index":2}],"model":"text-embedding-acme-v1",'
        '"usage":{"prompt_tokens":0,"total_tokens":0}}'
    )
    vectors = [row["embedding"] for row in rows]
    assert vectors[0] == vectors[2] != vectors[1] == single["data"][0]["embedding"]
    assert all(len(vector) == 3 and math.isclose(math.hypot(*vector), 1) for vector in vectors)


async def test_a_text_longer_than_the_context_is_cut_in_silence(ask: Ask) -> None:
    model = LMStudioModel(key="e", kind="embedding", loaded_context_length=2, dimensions=4)
    async with LMStudioEmulator([model]) as server:
        got = (await ask(server, "/v1/embeddings", {"input": ["a b c", "a b d", "a c"]})).json
    vectors = [row["embedding"] for row in got["data"]]
    assert vectors[0] == vectors[1] != vectors[2]
