"""What a request and a piece of an answer cost in work, counted: it is the same on every machine.

A count above its limit means that something was added to the way of every request, or of every
piece. The message lists the functions that were called most; if what came in is worth it, raise
the limit by what it costs. How long things take beside other clients: `make bench`.
"""

import base64
import gc
import sys
import tracemalloc
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec
import pytest

import patinox
from patinox import (
    CompletionRequest,
    EmbeddingRequest,
    EndpointConfig,
    LocalProvider,
    LocalProviderConfig,
    OllamaProvider,
)
from patinox.provider.local.dialects.base import ChatDecoder
from patinox.provider.local.dialects.ollama_reply import OllamaDecoder
from patinox.provider.local.dialects.openai_reply import OpenAIDecoder, parse_vectors
from patinox.provider.local.wire.http import HTTPReply
from patinox.provider.stream import StreamEvent
from patinox.testing import Exchange, LMStudioEmulator, OllamaEmulator

PACKAGE = str(Path(patinox.__file__).parent)
TESTING = str(Path(PACKAGE) / "testing")

LINE = b'{"model":"llama3.2:3b","message":{"role":"assistant","content":" word"},"done":false}\n'
END = b'{"model":"llama3.2:3b","message":{"content":""},"done":true,"done_reason":"stop"}\n'
EVENT = (
    b'data: {"id":"1","created":1,"model":"qwen/qwen3-4b-2507",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"1","created":1,"model":"qwen/qwen3-4b-2507",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
MODELS = {"ollama": "llama3.2:3b", "lmstudio": "qwen/qwen3-4b-2507"}

# Calls of functions of ours, by language: for a whole request with two services to choose from,
# and for each piece of its answer, joined or handed out one by one.
A_REQUEST = {"ollama": 425, "lmstudio": 435}
A_PIECE_JOINED = {"ollama": 2.2, "lmstudio": 3.2}
A_PIECE_STREAMED = {"ollama": 4.2, "lmstudio": 5.2}
AN_EMBEDDING_REQUEST = 500
# Memory that reading vectors takes at its peak, as a multiple of the reply that holds them.
READING_VECTORS = 5.0


class Calls:
    """Counts calls of the package's own functions while it is entered."""

    def __init__(self) -> None:
        self.by_function: Counter[str] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            if code.co_filename.startswith(TESTING):
                return
            place = code.co_filename.removeprefix(PACKAGE + "/")
            self.by_function[f"{place}:{code.co_firstlineno} {code.co_name}"] += 1

    @property
    def count(self) -> int:
        return sum(self.by_function.values())

    def told(self) -> str:
        most = self.by_function.most_common(40)
        return "\n" + "\n".join(f"{count:6} {name}" for name, count in most)


@asynccontextmanager
async def two_services(pieces: int) -> AsyncGenerator[LocalProvider]:
    """A provider between two emulators, whose next answers have so many pieces, in one write each.

    Each has its model in memory.
    """

    async def answers(exchange: Exchange) -> bool:
        if exchange.path == "/api/chat":
            await exchange.reply(200, LINE * pieces + END)
        elif exchange.path == "/v1/chat/completions":
            headers = {"Content-Type": "text/event-stream"}
            await exchange.reply(200, EVENT * pieces + LAST, headers=headers)
        else:
            return False
        return True

    async with OllamaEmulator() as ollama, LMStudioEmulator() as lmstudio:
        endpoints = tuple(EndpointConfig.parse(server.url) for server in (ollama, lmstudio))
        config = LocalProviderConfig(endpoints=endpoints, auto_discover=False, monitor=False)
        async with LocalProvider(config) as local:
            for model in MODELS.values():
                await local.complete(CompletionRequest(model, "Hello"))
            ollama.faults.append(answers)
            lmstudio.faults.append(answers)
            yield local


async def joined(local: LocalProvider, model: str) -> str:
    return (await local.complete(CompletionRequest(model, "Hello"))).text


async def streamed(local: LocalProvider, model: str) -> str:
    pieces: list[str] = []
    async with local.stream_completion(CompletionRequest(model, "Hello")) as stream:
        async for event in stream:
            pieces.append(event.text)  # noqa: PERF401 - what a user's loop does
    return "".join(pieces)


Ask = Callable[[LocalProvider, str], Awaitable[str]]


async def calls_of(ask: Ask, service: str, pieces: int) -> Calls:
    async with two_services(pieces) as local:
        await ask(local, MODELS[service])  # looks at what is in memory now
        with Calls() as calls:
            text = await ask(local, MODELS[service])
        assert text == " word" * pieces
        return calls


@pytest.mark.parametrize("service", MODELS)
async def test_the_calls_of_a_whole_request_are_few(service: str) -> None:
    calls = await calls_of(joined, service, 1)
    assert 50 < calls.count <= A_REQUEST[service], calls.told()


@pytest.mark.parametrize(
    ("ask", "limits"),
    [(joined, A_PIECE_JOINED), (streamed, A_PIECE_STREAMED)],
    ids=["joined", "streamed"],
)
@pytest.mark.parametrize("service", MODELS)
async def test_the_calls_of_a_piece_are_few(
    ask: Ask, limits: dict[str, float], service: str
) -> None:
    few, many = await calls_of(ask, service, 20), await calls_of(ask, service, 220)
    for_each = (many.count - few.count) / 200
    assert 0 < for_each <= limits[service], many.told()


@pytest.mark.parametrize(
    ("decoder", "piece"), [(OllamaDecoder(plain=False), LINE), (OpenAIDecoder(), EVENT)], ids=MODELS
)
def test_a_piece_is_two_objects_its_event_and_its_text(decoder: ChatDecoder, piece: bytes) -> None:
    events: list[StreamEvent] = []
    decoder.feed(piece * 10, events)
    data, count = piece * 1_000, len(events)
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        decoder.feed(data, events)
        taken = sys.getallocatedblocks() - before
    finally:
        gc.enable()
    assert len(events) == count + 1_000
    assert taken / 1_000 <= 2.1


@pytest.mark.parametrize("ask", [joined, streamed])
@pytest.mark.parametrize("service", MODELS)
async def test_a_request_leaves_nothing_to_the_garbage_collector(ask: Ask, service: str) -> None:
    async with two_services(5) as local:
        await ask(local, MODELS[service])
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await ask(local, MODELS[service])
            gc.collect()
            left = [thing for thing in gc.garbage if _is_ours(thing)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not left


def _is_ours(thing: object) -> bool:
    module = type(thing).__module__
    return module.startswith("patinox.") and not module.startswith("patinox.testing")


async def test_the_calls_of_a_request_for_vectors_do_not_grow_with_their_numbers() -> None:
    async def calls_for(dimensions: int) -> Calls:
        row = b"[" + b",".join([b"0.5"] * dimensions) + b"]"

        async def embeds(exchange: Exchange) -> bool:
            if exchange.path == "/api/embed":
                await exchange.reply(200, b'{"embeddings":[' + row + b"]}")
            return exchange.path == "/api/embed"

        async with OllamaEmulator() as server:
            server.faults.append(embeds)
            async with OllamaProvider(server.url) as ollama:
                request = EmbeddingRequest("nomic-embed-text", ["Hello"])
                await ollama.embed(request)
                with Calls() as calls:
                    response = await ollama.embed(request)
                assert response.embeddings.dimensions == dimensions
                return calls

    few, many = await calls_for(8), await calls_for(800)
    assert few.count <= AN_EMBEDDING_REQUEST, few.told()
    assert many.count - few.count <= 5, many.told()


def test_vectors_in_base64_become_no_number_each() -> None:
    numbers = array("f", [0.5]) * 768
    row = base64.b64encode(numbers.tobytes()).decode()
    entries = [{"index": index, "embedding": row} for index in range(32)]
    body = msgspec.json.encode({"data": entries, "model": "m"})
    tracemalloc.start()
    try:
        response = parse_vectors(
            HTTPReply(status=200, headers={}, body=body), count=32, counted=True
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(response.embeddings) == 32
    assert peak <= READING_VECTORS * len(body)
