"""What of a prompt fits into the context of an emulated model."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import pytest

from patinox.testing import OllamaModel, OllamaPrompt

Serving = Callable[..., AbstractAsyncContextManager[Any]]
JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
LONG = [{"role": "user", "content": "word" + " word" * 49}]


def overflow(tokens: int, context: int) -> str:
    said = f"request ({tokens} tokens) exceeds the available context size ({context} tokens)"
    return (
        f'{{"error":{{"code":400,"message":"{said}, try increasing it",'
        f'"type":"exceed_context_size_error","n_prompt_tokens":{tokens},"n_ctx":{context}}}}}'
    )


TOO_LONG = "the input length exceeds the context length"


@pytest.mark.parametrize(
    ("version", "path", "body", "status", "said"),
    [
        ("0.33.0", "rendered", {}, 200, (10, "stop")),
        ("0.33.0", "native", {}, 400, overflow(51, 16)),
        ("0.33.0", "rendered", {"truncate": False}, 400, overflow(51, 16)),
        ("0.33.0", "rendered", {"shift": False}, 400, "the prompt is longer than the context"),
        ("0.24.0", "rendered", {}, 200, (16, "stop")),
        ("0.24.0", "rendered", {"truncate": False}, 400, TOO_LONG),
        ("0.24.0", "rendered", {"shift": False}, 200, (16, "length")),
        ("0.24.0", "rendered", {"shift": False, "truncate": False}, 400, TOO_LONG),
    ],
)
async def test_a_prompt_beyond_the_context(
    serving: Serving,
    version: str,
    path: Literal["rendered", "native"],
    body: dict[str, object],
    status: int,
    said: str | tuple[int, str],
) -> None:
    async with serving(OllamaModel(name="m", path=path, reply="ok"), version=version) as client:
        replies = [
            await client.chat("m", messages=LONG, options={"num_ctx": 16}, stream=stream, **body)
            for stream in (True, False)
        ]
    assert [reply.status for reply in replies] == [status, status]
    if isinstance(said, str):
        assert [reply.kind for reply in replies] == [PLAIN_JSON, JSON]
        assert all(reply.json["error"].startswith(said) for reply in replies)
    else:
        whole = replies[1].json
        assert (whole["prompt_eval_count"], whole["done_reason"]) == said


async def test_before_0_30_an_answer_goes_on_beyond_the_context_unless_that_is_forbidden(
    serving: Serving,
) -> None:
    words = OllamaModel(name="m", reply="a b c d e f g h")
    async with serving(words, version="0.24.0") as client:
        options = {"num_ctx": 6}
        on = (await client.chat("m", stream=False, options=options)).json
        off = (await client.chat("m", stream=False, options=options, shift=False)).json
    assert (on["message"]["content"], on["done_reason"]) == ("a b c d e f g h", "stop")
    assert (off["message"]["content"], off["done_reason"]) == ("a b c d", "length")


async def test_the_oldest_messages_make_room_and_the_system_prompt_stays(serving: Serving) -> None:
    seen: list[OllamaPrompt] = []

    def reply(prompt: OllamaPrompt) -> str:
        seen.append(prompt)
        return "ok"

    history = [{"role": "system", "content": "s"}, *LONG, {"role": "user", "content": "last"}]
    async with serving(OllamaModel(name="m", reply=reply)) as client:
        done = (await client.chat("m", messages=history, options={"num_ctx": 16})).lines[-1]
    assert [m.content for m in seen[0].messages] == ["s", "last"]
    assert done["prompt_eval_count"] == 4


@pytest.mark.parametrize(
    ("model", "settings", "options", "context"),
    [
        ({}, {}, {}, 4096),
        ({}, {"context_length": 32768}, {}, 32768),
        ({"parameters": {"num_ctx": 2048}}, {"context_length": 32768}, {}, 2048),
        ({"parameters": {"num_ctx": 2048}}, {}, {"num_ctx": 1024}, 1024),
        ({"context_length": 512}, {}, {"num_ctx": 1024}, 512),
        ({}, {}, {"num_ctx": 1}, 4),
    ],
)
async def test_the_context_is_the_first_one_said_and_what_the_model_can(
    serving: Serving,
    model: dict[str, Any],
    settings: dict[str, Any],
    options: dict[str, int],
    context: int,
) -> None:
    async with serving(OllamaModel(name="m", **model), **settings) as client:
        await client.chat("m", messages=[], options=options)
        (run,) = (await client.get("/api/ps")).json["models"]
    assert run["context_length"] == context
