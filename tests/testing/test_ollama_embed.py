"""Vectors of the emulated Ollama."""

import base64
import math
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from patinox.testing import OllamaModel

Serving = Callable[..., AbstractAsyncContextManager[Any]]
TINY = OllamaModel(name="tiny", reply="Hi")
EMBEDDER = OllamaModel(
    name="nomic-embed-text", capabilities=("embedding",), family="nomic-bert", embedding_length=768
)


def similarity(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_embeddings_are_unit_vectors_made_of_the_text(serving: Serving) -> None:
    texts = ["the red car", "the red house", "nothing shared"]
    async with serving(EMBEDDER) as client:
        reply = (await client.post("/api/embed", model="nomic-embed-text", input=texts)).json
        again = (await client.post("/api/embed", model="nomic-embed-text", input=texts[1])).json
        old = (await client.post("/api/embeddings", model="nomic-embed-text", prompt=texts[1])).json
    one, two, three = reply["embeddings"]
    assert {len(vector) for vector in (one, two, three)} == {768}
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in (one, two, three))
    assert again["embeddings"] == [two] == [old["embedding"]]
    assert similarity(one, two) > 0.5
    assert similarity(one, three) < 0.2
    assert list(reply) == [
        "model",
        "embeddings",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
    ]
    assert reply["prompt_eval_count"] == 8


async def test_embeddings_are_shortened_and_long_texts_are_cut(serving: Serving) -> None:
    async with serving(EMBEDDER) as client:
        ask = {"model": "nomic-embed-text", "input": "a b c d"}
        full = (await client.post("/api/embed", **ask)).json["embeddings"][0]
        short = (await client.post("/api/embed", **ask, dimensions=3)).json["embeddings"][0]
        large = (await client.post("/api/embed", **ask, dimensions=9999)).json["embeddings"][0]
        cut = (await client.post("/api/embed", **ask, options={"num_ctx": 4})).json
        more = (
            await client.post(
                "/api/embed", model="nomic-embed-text", input="a b c d e f", options={"num_ctx": 4}
            )
        ).json
    length = math.hypot(*full[:3])
    assert short == pytest.approx([value / length for value in full[:3]], abs=1e-6)
    assert large == full
    assert more["embeddings"] == cut["embeddings"]
    assert more["prompt_eval_count"] == 4


async def test_before_0_30_chat_models_embed_and_the_old_route_gives_raw_vectors(
    serving: Serving,
) -> None:
    chat = OllamaModel(name="tiny", embedding_length=8)
    ask = {"model": "tiny", "input": ["the sky", "a"]}
    async with serving(chat, EMBEDDER, version="0.24.0") as client:
        reply = (await client.post("/api/embed", **ask)).json
        openai = (await client.post("/v1/embeddings", **ask)).json
        old = [
            (await client.post("/api/embeddings", model=name, prompt="the sky")).json["embedding"]
            for name in ("tiny", "nomic-embed-text")
        ]
    first = reply["embeddings"][0]
    assert [item["embedding"] for item in openai["data"]] == reply["embeddings"]
    assert len(first) == 8
    assert math.hypot(*first) == pytest.approx(1, abs=1e-6)
    assert [math.hypot(*vector) for vector in old] == pytest.approx([22, 22], abs=1e-4)
    assert similarity(first, old[0]) == pytest.approx(22, abs=1e-4)


@pytest.mark.parametrize(("version", "kept"), [("0.33.0", 6), ("0.24.0", 4)])
async def test_a_text_too_long_is_cut(serving: Serving, version: str, kept: int) -> None:
    async with serving(EMBEDDER, version=version) as client:
        body = {"input": "a b c d e f g h", "options": {"num_ctx": 6}}
        reply = (await client.post("/api/embed", model="nomic-embed-text", **body)).json
    assert reply["prompt_eval_count"] == kept


@pytest.mark.parametrize("given", [None, "", []])
async def test_no_input_only_loads(serving: Serving, given: object) -> None:
    async with serving(EMBEDDER, TINY) as client:
        reply = await client.post("/api/embed", model="tiny", input=given)
        old = await client.post("/api/embeddings", model="nomic-embed-text", prompt="")
        assert len((await client.get("/api/ps")).json["models"]) == 2
    assert reply.json == {"model": "tiny", "embeddings": []}
    assert old.json == {"embedding": []}


async def test_openai_embeddings_come_as_numbers_or_as_base64(serving: Serving) -> None:
    async with serving(EMBEDDER) as client:
        ask = {"model": "nomic-embed-text", "input": ["a", "b c"], "dimensions": 5}
        plain = (await client.post("/v1/embeddings", **ask)).json
        packed = (await client.post("/v1/embeddings", **ask, encoding_format="base64")).json
        native = (await client.post("/api/embed", **ask)).json
    assert [item["embedding"] for item in plain["data"]] == native["embeddings"]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    for numbers, text in zip(plain["data"], packed["data"], strict=True):
        unpacked = struct.unpack("<5f", base64.b64decode(text["embedding"]))
        assert struct.pack("<5f", *numbers["embedding"]) == struct.pack("<5f", *unpacked)
