"""Downloads of the emulated Ollama: layers, what is there already, and what goes wrong."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest

from patinox.testing import OllamaModel, OllamaPullFault

Serving = Callable[..., AbstractAsyncContextManager[Any]]
TINY = OllamaModel(name="tiny")
NEW = OllamaModel(name="new:1b", size=1003, layers=(2, 1))


async def test_each_layer_is_told_by_its_digest(serving: Serving) -> None:
    async with serving(TINY, pullable=[NEW]) as client:
        lines = (await client.post("/api/pull", model="new:1b")).lines
        (entry,) = [
            entry
            for entry in (await client.get("/api/tags")).json["models"]
            if entry["name"] == "new:1b"
        ]
    layers = [line for line in lines if "digest" in line]
    totals = {line["digest"]: line["total"] for line in layers}
    assert list(totals.values()) == [1000, 2, 1]
    assert entry["size"] == 1003
    for line in layers:
        assert line["status"] == f"pulling {line['digest'].removeprefix('sha256:')[:12]}"
    assert [line.get("completed") for line in layers] == [
        *[None, 250, 500, 750, 1000],
        *[None, 1, 2],
        *[None, 1],
    ]


async def test_what_is_there_is_told_in_one_line_each(serving: Serving) -> None:
    async with serving(TINY, NEW) as client:
        lines = (await client.post("/api/pull", model="new:1b")).lines
    assert [line.get("completed") for line in lines if "digest" in line] == [1000, 2, 1]
    assert lines[-1] == {"status": "success"}


async def test_a_download_that_breaks_off_is_taken_up_again(serving: Serving) -> None:
    async with serving(TINY, pullable=[NEW]) as client:
        client.server.pull_faults.append(OllamaPullFault(after=4))
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.post("/api/pull", model="new:1b")
        assert len((await client.get("/api/tags")).json["models"]) == 1
        lines = (await client.post("/api/pull", model="new:1b")).lines
    assert lines[1]["completed"] == 500
    assert lines[-1] == {"status": "success"}


async def test_an_error_is_a_line_or_a_status(serving: Serving) -> None:
    said = {"error": "max retries exceeded: EOF"}
    async with serving(TINY, pullable=[NEW]) as client:
        client.server.pull_faults += [OllamaPullFault(after=2, error=said["error"])] * 2
        streamed = await client.post("/api/pull", model="new:1b")
        whole = await client.post("/api/pull", model="new:1b", stream=False)
    assert streamed.status == 200
    assert len(streamed.lines) == 3
    assert streamed.lines[-1] == said
    assert (whole.status, whole.json) == (500, said)


async def test_what_was_deleted_is_fetched_anew(serving: Serving) -> None:
    async with serving(TINY, pullable=[NEW]) as client:
        await client.post("/api/pull", model="new:1b")
        await client.call("DELETE", "/api/delete", {"model": "new:1b"})
        lines = (await client.post("/api/pull", model="new:1b")).lines
    assert "completed" not in lines[1]
