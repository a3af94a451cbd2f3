"""Complaints of people who use models on their own machines, which must not be heard again here.

Those that have a test beside what they are about are listed in docs/complaints.md; these go across.
"""

from dataclasses import dataclass

import pytest

from patinox.provider.local.config import Deadlines, LMStudioConfig
from patinox.provider.local.errors import ServiceTimeout
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.types import CompletionRequest, OllamaOptions
from patinox.testing import LMStudioEmulator, LMStudioModel, OllamaEmulator, OllamaModel

QWEN = "qwen/qwen3-4b-2507"
COLD = [LMStudioModel(key=QWEN)]


async def test_the_context_that_is_asked_for_is_what_ollama_is_asked_for_and_gives() -> None:
    async with OllamaEmulator() as server, OllamaProvider(server.url) as ollama:
        small = OllamaOptions(num_ctx=2048)
        answer = await ollama.complete(
            CompletionRequest("llama3.2:3b", "Hello", service_options=small)
        )
        asked = server.requests[-1]
        loaded = await ollama.running()
    assert (asked.path, asked.json["options"]["num_ctx"]) == ("/api/chat", 2048)
    assert [item.context_length for item in loaded] == [2048]
    assert answer.warnings == ()


async def test_any_json_object_may_be_asked_of_lm_studio_which_refuses_json_object() -> None:
    model = LMStudioModel(key=QWEN, loaded_context_length=4096, reply='{"answer": 7}')
    async with LMStudioEmulator([model]) as server, LMStudioProvider(server.url) as studio:
        answer = await studio.complete(CompletionRequest(QWEN, "3 + 4, in JSON?", schema=dict))
        sent = server.requests[-1].json["response_format"]
    assert sent["type"] == "json_schema"
    assert answer.parsed == {"answer": 7}


@dataclass
class Sum:
    answer: int


async def test_a_small_model_keeps_to_a_schema_by_its_grammar_and_is_sent_no_tool() -> None:
    model = OllamaModel(name="small:1", reply='{"answer": 7}')
    async with OllamaEmulator(models=[model]) as server, OllamaProvider(server.url) as ollama:
        answer = await ollama.complete(CompletionRequest("small:1", "3 + 4?", schema=Sum))
        sent = server.requests[-1].json
    assert sent["format"]["properties"] == {"answer": {"type": "integer"}}
    assert "tools" not in sent
    assert answer.parsed == Sum(7)


async def test_a_cold_load_may_take_longer_than_any_other_wait() -> None:
    deadlines = Deadlines(connect=0.2, listing=0.2, idle=0.2, first_token=30.0)
    async with (
        LMStudioEmulator(COLD, load_seconds=0.5) as server,
        LMStudioProvider(server.url, LMStudioConfig(deadlines=deadlines)) as studio,
    ):
        answer = await studio.complete(CompletionRequest(QWEN, "Hello"))
    assert answer.timings.time_to_first_token is not None
    assert answer.timings.time_to_first_token >= 0.5


async def test_a_server_that_never_answers_is_not_waited_for_without_end() -> None:
    assert (Deadlines().first_token, Deadlines().idle) == (300, 120)
    async with (
        LMStudioEmulator(COLD, load_seconds=30) as server,
        LMStudioProvider(
            server.url, LMStudioConfig(deadlines=Deadlines(first_token=0.1))
        ) as studio,
    ):
        with pytest.raises(ServiceTimeout) as caught:
            await studio.complete(CompletionRequest(QWEN, "Hello"))
    assert (caught.value.phase, caught.value.seconds) == ("first_token", 0.1)


async def test_facts_are_asked_of_the_server_that_was_named_and_of_no_other() -> None:
    async with (
        OllamaEmulator(models=[OllamaModel(name="m:1", context_length=1024)]) as near,
        OllamaEmulator(models=[OllamaModel(name="m:1", context_length=8192)]) as far,
        OllamaProvider(far.url) as ollama,
    ):
        (info,) = await ollama.list_models()
    assert info.context_length == 8192
    assert near.requests == []
