"""Vectors of many texts: sent in batches, put together in order, in the smallest form there is."""

import contextlib
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import ModelMismatch
from patinox.provider.local.config import OllamaConfig
from patinox.provider.local.errors import ParseError
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.vectors import MAX_TEXT, in_batches, joined
from patinox.provider.types import EmbeddingRequest, EmbeddingResponse, Usage
from patinox.testing import Exchange, LMStudioEmulator, LMStudioModel, OllamaEmulator, OllamaModel

NOMIC = "nomic-embed-text:latest"
LOADED = OllamaModel(name="e:1", capabilities=("embedding",), loaded=True, context_length=64)


def embedding(rows: list[list[float]], tokens: int | None = 1) -> EmbeddingResponse:
    usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
    return EmbeddingResponse(model="m", embeddings=EmbeddingMatrix.from_rows(rows), usage=usage)


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 5))
def test_batches_hold_every_text_in_order(texts: list[str], size: int) -> None:
    batches = list(in_batches(texts, size))
    assert [text for batch in batches for text in batch] == texts
    assert all(1 <= len(batch) <= size for batch in batches)


def test_long_texts_make_small_batches_and_one_that_is_too_long_its_own() -> None:
    texts = ["a" * MAX_TEXT, "b", "c" * (MAX_TEXT - 1), "d"]
    assert [len(batch) for batch in in_batches(texts, 64)] == [1, 2, 1]


def test_what_is_counted_is_added_unless_a_part_was_not() -> None:
    both = joined([embedding([[1.0]], 3), embedding([[2.0], [3.0]], 4)])
    assert (both.embeddings.tolist(), both.usage.prompt_tokens) == ([[1.0], [2.0], [3.0]], 7)
    assert joined([embedding([[1.0]], 3), embedding([[2.0]], None)]).usage == Usage()
    with pytest.raises(ParseError, match="different lengths: rows of 1, 2"):
        joined([embedding([[1.0]]), embedding([[1.0, 2.0]])])


async def test_many_texts_are_sent_in_several_requests_to_one_server() -> None:
    texts = [f"text {number}" for number in range(10)]
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        at_once = await ollama.embed(EmbeddingRequest(NOMIC, texts))
        server.requests.clear()
        in_parts = await ollama.embed(EmbeddingRequest(NOMIC, texts, batch_size=4))
    sent = [seen.json["input"] for seen in server.requests if "embed" in seen.path]
    assert sent == [texts[:4], texts[4:8], texts[8:]]
    assert in_parts.embeddings == at_once.embeddings
    assert in_parts.usage == at_once.usage


async def test_what_surely_fits_is_asked_for_in_base64_and_is_the_same() -> None:
    async with OllamaEmulator(models=[LOADED]) as server, OllamaProvider(server.url) as ollama:
        short = await ollama.embed(EmbeddingRequest("e:1", ["a", "b"]))
        assert server.requests[-1].path == "/v1/embeddings"
        assert server.requests[-1].json["encoding_format"] == "base64"
        await ollama.embed(EmbeddingRequest("e:1", ["a", "b" * 60]))
        assert server.requests[-1].path == "/api/embed"
        assert server.requests[-1].json["truncate"] is False
    config = OllamaConfig(custom_params={"num_thread": 2, "keep_alive": 60})
    async with (
        OllamaEmulator(models=[LOADED]) as server,
        OllamaProvider(server.url, config) as ollama,
    ):
        same = await ollama.embed(EmbeddingRequest("e:1", ["a", "b"]))
        assert server.requests[-1].path == "/api/embed"
        assert server.requests[-1].json["options"] == {"num_thread": 2}
        assert server.requests[-1].json["keep_alive"] == 60
    assert [round(x, 5) for row in short.embeddings for x in row] == [
        round(x, 5) for row in same.embeddings for x in row
    ]


@contextlib.asynccontextmanager
async def replying(body: dict[str, object]) -> AsyncGenerator[OllamaProvider]:
    """Run an Ollama that replies so to a request for vectors."""

    async def lie(exchange: Exchange) -> bool:
        if exchange.path != "/api/embed":
            return False
        await exchange.reply(200, json.dumps(body).encode())
        return True

    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        server.faults.append(lie)
        yield ollama


async def test_vectors_of_another_model_are_refused() -> None:
    async with replying({"model": "other", "embeddings": [[1.0, 2.0]]}) as ollama:
        with pytest.raises(ModelMismatch, match=f"answered with 'other' instead of '{NOMIC}'"):
            await ollama.embed(EmbeddingRequest(NOMIC, "a"))


async def test_vectors_of_another_length_than_was_asked_for_are_told_of() -> None:
    async with replying({"model": NOMIC, "embeddings": [[1.0, 2.0]]}) as ollama:
        made = await ollama.embed(EmbeddingRequest(NOMIC, "a", dimensions=256))
        assert made.warnings == ("Ollama made vectors of 2 numbers instead of 256.",)
        same = await ollama.embed(EmbeddingRequest(NOMIC, "a", dimensions=2))
        assert same.warnings == ()


async def test_a_text_that_lm_studio_may_have_cut_is_told_of() -> None:
    model = LMStudioModel(key="e", kind="embedding", max_context_length=512)
    async with LMStudioEmulator([model]) as server, LMStudioProvider(server.url) as studio:
        request = EmbeddingRequest("e", ["short", "long " * 1000])
        assert (await studio.embed(request)).warnings == ()
        await studio._catalog.get(fresh=True)  # noqa: SLF001 - now it is in memory
        (warning,) = (await studio.embed(request)).warnings
    assert warning == (
        "1 of 2 texts seem longer than the context of 512 tokens, in which case LM Studio cut them."
    )
