"""Texts that the emulated llama.cpp goes on with, and middles that it fills in, frame by frame."""

import json
from typing import Any

import aiohttp
import pytest

from patinox.testing import LlamaCppEmulator, LlamaCppModel

FILLER = LlamaCppModel(id="filler", infill=True, reply="one two three", context_length=16)
PLAIN = LlamaCppModel(id="plain")


async def post(path: str, **body: Any) -> tuple[int, Any]:  # noqa: ANN401 - whatever came
    """The status and, decoded, the reply or the frames of the stream."""
    models = (FILLER, PLAIN)
    async with LlamaCppEmulator(models) as server, aiohttp.ClientSession() as session:
        data = json.dumps({"model": "filler", **body}).encode()
        async with session.post(server.url + path, data=data) as reply:
            text = await reply.text()
            if reply.content_type == "application/json":
                return reply.status, json.loads(text)
            return reply.status, [line.removeprefix("data: ") for line in text.split("\n\n")[:-1]]


async def test_a_text_is_answered_with_its_usage_in_one_piece_or_in_the_last() -> None:
    status, whole = await post("/v1/completions", prompt="a b")
    assert (status, whole["object"]) == (200, "text_completion")
    (choice,) = whole["choices"]
    assert choice == {
        "text": "one two three",
        "index": 0,
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (2, 3)
    _, frames = await post("/v1/completions", prompt="a b", stream=True, max_tokens=2)
    assert frames[-1] == "[DONE]"
    decoded = [json.loads(frame) for frame in frames[:-1]]
    assert [frame["choices"][0]["text"] for frame in decoded] == ["one", " two", ""]
    assert decoded[-1]["choices"][0]["finish_reason"] == "length"
    assert decoded[-1]["usage"]["completion_tokens"] == decoded[-1]["timings"]["predicted_n"] == 2
    assert "usage" not in decoded[0]


async def test_a_middle_is_filled_in_in_the_native_form_without_done() -> None:
    asked = {"input_prefix": "a b", "input_suffix": "c"}
    _, whole = await post("/infill", **asked)
    assert (whole["content"], whole["stop"], whole["stop_type"]) == ("one two three", True, "eos")
    assert (whole["tokens_evaluated"], whole["tokens_predicted"]) == (3, 3)
    _, frames = await post("/infill", **asked, stream=True, max_tokens=1)
    first, last = map(json.loads, frames)
    assert (first["content"], first["stop"], last["content"], last["stop"]) == (
        *("one", False),
        *("", True),
    )
    assert "model" not in first
    assert (last["model"], last["stop_type"]) == ("filler", "limit")


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/completions", {}, (400, "invalid_request_error", "key 'prompt' not found")),
        ("/v1/completions", {"prompt": "a " * 16}, (400, "exceed_context_size_error", "(16 tok")),
        ("/infill", {"model": "plain"}, (501, "not_supported_error", "prefix token is missing.")),
        ("/completions", {"prompt": "a"}, (404, "not_found_error", "File Not Found")),
    ],
)
async def test_what_is_refused(
    path: str, body: dict[str, Any], error: tuple[int, str, str]
) -> None:
    status, reply = await post(path, **body)
    told = reply["error"]
    assert (status, told["type"]) == error[:2]
    assert error[2] in told["message"]
