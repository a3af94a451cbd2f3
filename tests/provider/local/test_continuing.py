"""Answers that broke off and are gone on with, where that is wanted and can be done exactly."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.continuing import obstacle, shortened
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.local.errors import ServiceError, ServiceTimeout, StreamInterrupted
from patinox.provider.types import (
    AnswerContinued,
    CompletionRequest,
    ResponseStarted,
    TextCompletionRequest,
    ToolCall,
)
from patinox.testing import (
    EmulatedServer,
    Exchange,
    LlamaCppEmulator,
    LlamaCppModel,
    LMStudioEmulator,
    LMStudioModel,
    OllamaEmulator,
    OllamaModel,
    OllamaPrompt,
)

ConfigFor = Callable[..., LocalProviderConfig]
MODEL = "talker:1b"
BEGUN, REST = "One two", " three four."
CHAT = CompletionRequest(MODEL, ["Count."], continuation=True)
OLLAMA_PIECE = (
    b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
    b'"message":{"role":"assistant","content":"%s"},"done":false}\n'
)


def once(path: str, act: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Any]:
    """Have the first request of this path end in its own way."""
    acted = False

    async def fault(exchange: Exchange) -> bool:
        nonlocal acted
        if exchange.path != path or acted:
            return False
        acted = True
        await act(exchange)
        return True

    return fault


def breaks_off(*pieces: bytes, kind: str) -> Callable[[Exchange], Awaitable[None]]:
    async def act(exchange: Exchange) -> None:
        await exchange.start(200, content_type=kind)
        for piece in pieces:
            await exchange.send(piece)
        await asyncio.sleep(0.02)  # so that what was sent is read before it is lost
        exchange.abort()

    return act


OLLAMA_BREAK = breaks_off(
    *(OLLAMA_PIECE % piece for piece in (b"One", b" two")), kind="application/x-ndjson"
)
SSE_BREAK = breaks_off(
    *(
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],'
        b'"id":"c","model":"talker:1b","object":"chat.completion.chunk","created":1}\n\n' % piece
        for piece in (b"One", b" two")
    ),
    kind="text/event-stream",
)


def ollama_reply(prompt: OllamaPrompt) -> str:
    """Go on where the last message ends, as a model does whose template leaves it open."""
    last = prompt.messages[-1]
    return REST if (last.role, last.content) == ("assistant", BEGUN) else BEGUN + REST


def renders(template: str) -> Callable[[Exchange], Awaitable[bool]]:
    """Tell what is made of the messages, as Ollama does on `_debug_render_only`."""

    async def fault(exchange: Exchange) -> bool:
        if exchange.path != "/api/chat" or b"_debug_render_only" not in exchange.body:
            return False
        asked = json.loads(exchange.body)
        text = template.format(asked["messages"][-1]["content"])
        told = '{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
        told += '"message":{"role":"assistant","content":""},"done":false,'
        told += f'"_debug_info":{{"rendered_template":"{text}"}}}}'
        await exchange.reply(200, told.encode())
        return True

    return fault


def talker(**fields: Any) -> OllamaModel:  # noqa: ANN401
    return OllamaModel(name=MODEL, reply=ollama_reply, loaded=True, **fields)


def called(name: str, server: EmulatedServer) -> EndpointConfig:
    return EndpointConfig.parse(server.url, name=name)


async def test_ollama_goes_on_with_an_answer_and_the_stream_says_so(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults += [renders("<user>Count.<assistant>{}"), once("/api/chat", OLLAMA_BREAK)]
        async with LocalProvider(config_for(server)) as local:
            async with local.stream_completion(CHAT) as stream:
                events = [event async for event in stream]

            assert stream.text == BEGUN + REST
            joints = [event for event in events if isinstance(event, AnswerContinued)]
            assert joints == [
                AnswerContinued(service="ollama", reason="the same server", after_characters=7)
            ]
            assert sum(isinstance(event, ResponseStarted) for event in events) == 1
            warnings = stream.response.warnings
            assert "It broke off after 7 characters; ollama went on with it." in warnings
            # What was asked for: what is made of it, no more than a token of an answer.
            (probe,) = [seen for seen in server.requests if b"_debug_render_only" in seen.body]
            assert probe.json["options"]["num_predict"] == 1
            assert probe.json["stream"] is False


CALL = (
    b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z","message":{"role":"assistant",'
    b'"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}\n'
)
THOUGHT = (
    b'{"model":"talker:1b","created_at":"2026-11-01T00:00:00Z",'
    b'"message":{"role":"assistant","content":"","thinking":"Hm."},"done":false}\n'
)


@pytest.mark.parametrize(("last", "why"), [(CALL, "call a tool"), (THOUGHT, "had reasoned")])
async def test_where_the_rest_breaks_off_where_nobody_can_go_on_all_is_handed_over(
    config_for: ConfigFor, last: bytes, why: str
) -> None:
    kind = "application/x-ndjson"
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        for server in (one, two):  # the first of them breaks off twice, the other answers
            server.faults += [renders("{}")]
        one.faults.append(once("/api/chat", breaks_off(OLLAMA_PIECE % b" two", last, kind=kind)))
        one.faults.insert(1, once("/api/chat", breaks_off(OLLAMA_PIECE % b"One", kind=kind)))
        places = (called("a", one), called("b", two))
        config = config_for(*places, preferred_service="a", continuation=True)
        async with LocalProvider(config) as local:
            with pytest.raises(StreamInterrupted, match=why) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."]))
    assert caught.value.text == "One two"
    assert [call.name for call in caught.value.tool_calls] == (["f"] if last is CALL else [])
    assert caught.value.reasoning == ("Hm." if last is THOUGHT else "")
    assert not [seen for seen in two.requests if seen.path == "/api/chat"]


async def test_many_answers_that_break_off_are_not_all_asked_for_again(
    config_for: ConfigFor,
) -> None:
    release = asyncio.Event()
    asked = 0

    async def breaks(exchange: Exchange) -> bool:
        nonlocal asked
        if exchange.path != "/api/chat" or b"_debug_render_only" in exchange.body:
            return False
        asked += 1
        again = b'"role":"assistant"' in exchange.body.replace(b" ", b"")
        await exchange.start(200, content_type="application/x-ndjson")
        await exchange.send(OLLAMA_PIECE % b"One")
        if again:
            await release.wait()
        await asyncio.sleep(0.02)
        exchange.abort()
        return True

    async with OllamaEmulator(models=[talker()]) as server:
        server.faults += [renders("{}"), breaks]
        async with LocalProvider(config_for(server, continuation=True)) as local:
            question = CompletionRequest(MODEL, ["Count."])
            calls = [asyncio.create_task(local.complete(question)) for _ in range(10)]
            refused = []
            for call in asyncio.as_completed(calls):
                with pytest.raises(StreamInterrupted) as caught:
                    await call
                refused.append("already" in str(caught.value))
                if len(refused) == 7:
                    release.set()
    assert asked == 10 + 3
    assert refused == [True] * 7 + [False] * 3


async def test_a_whole_answer_is_gone_on_with_too(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults += [renders("{}"), once("/api/chat", OLLAMA_BREAK)]
        async with LocalProvider(config_for(server, continuation=True)) as local:
            answer = await local.complete(CompletionRequest(MODEL, ["Count."]))
            assert answer.text == BEGUN + REST
            assert answer.warnings


@pytest.mark.parametrize(
    "template", ["<assistant>{}<end><assistant>", ""], ids=["closed", "not told"]
)
async def test_a_template_that_closes_the_answer_is_a_reason_to_refuse(
    template: str, config_for: ConfigFor
) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        if template:
            server.faults.append(renders(template))
        server.faults.append(once("/api/chat", OLLAMA_BREAK))
        async with LocalProvider(config_for(server)) as local:
            with pytest.raises(StreamInterrupted, match="leaves no answer open") as caught:
                await local.complete(CHAT)
            assert caught.value.text == BEGUN


async def test_it_is_not_gone_on_with_unless_that_is_wanted(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults += [renders("{}"), once("/api/chat", OLLAMA_BREAK)]
        async with LocalProvider(config_for(server)) as local:
            with pytest.raises(StreamInterrupted) as caught:
                await local.complete(CompletionRequest(MODEL, ["Count."]))
            assert caught.value.hint is None
        server.faults[1] = once("/api/chat", OLLAMA_BREAK)
        async with LocalProvider(config_for(server, continuation=True)) as local:
            with pytest.raises(StreamInterrupted):
                await local.complete(CompletionRequest(MODEL, ["Count."], continuation=False))


async def test_a_server_of_the_same_kind_with_the_same_weights_goes_on(
    config_for: ConfigFor,
) -> None:
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[talker()]) as two:
        two.faults.append(renders("{}"))

        async def dies(exchange: Exchange) -> None:
            await OLLAMA_BREAK(exchange)
            one.die()

        one.faults.append(once("/api/chat", dies))
        async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
            async with local.stream_completion(CHAT) as stream:
                events = [event async for event in stream]
            assert stream.text == BEGUN + REST
            assert [event.service for event in events if isinstance(event, AnswerContinued)] == [
                "b"
            ]


async def test_other_weights_do_not_go_on(config_for: ConfigFor) -> None:
    other = talker(digest="ab" * 32)
    async with OllamaEmulator(models=[talker()]) as one, OllamaEmulator(models=[other]) as two:
        two.faults.append(renders("{}"))
        one.faults.append(once("/api/chat", OLLAMA_BREAK))
        async with LocalProvider(config_for(called("a", one), called("b", two))) as local:
            with pytest.raises(StreamInterrupted, match="It was not gone on with: a:"):
                await local.complete(CHAT)
            assert not [seen for seen in two.requests if seen.path == "/api/chat"]


async def test_what_breaks_off_again_keeps_all_of_its_text(config_for: ConfigFor) -> None:
    async with OllamaEmulator(models=[talker()]) as server:
        server.faults += [
            renders("{}"),
            once("/api/chat", OLLAMA_BREAK),
            once("/api/chat", OLLAMA_BREAK),
        ]
        async with LocalProvider(config_for(server)) as local:
            with pytest.raises(StreamInterrupted) as caught:
                await local.complete(CHAT)
            assert caught.value.text == BEGUN + BEGUN


@pytest.mark.slow
async def test_the_limit_of_the_whole_call_holds_for_what_asks_whether_it_can_be_gone_on_with(
    config_for: ConfigFor,
) -> None:
    async def asked(exchange: Exchange) -> bool:
        if b"_debug_render_only" in exchange.body:
            await exchange.hold()
        return False

    async with OllamaEmulator(models=[talker()]) as ollama, LocalProvider(config_for(ollama)) as it:
        ollama.faults += [asked, once("/api/chat", OLLAMA_BREAK)]
        with pytest.raises(StreamInterrupted, match="whole call") as caught:
            await it.complete(replace(CHAT, timeout=1.5))
        assert caught.value.text == BEGUN


async def test_llama_cpp_goes_on(config_for: ConfigFor) -> None:
    def reply(prompt: Any) -> str:  # noqa: ANN401
        last = prompt.body["messages"][-1]
        return REST if last == {"role": "assistant", "content": BEGUN} else BEGUN + REST

    model = LlamaCppModel(id=MODEL, reply=reply)
    async with LlamaCppEmulator([model]) as server:
        server.faults.append(once("/v1/chat/completions", SSE_BREAK))
        async with LocalProvider(config_for(server)) as local:
            answer = await local.complete(CHAT)
            assert answer.text == BEGUN + REST


async def test_lm_studio_begins_every_answer_anew_and_is_not_asked_to_go_on(
    config_for: ConfigFor,
) -> None:
    model = LMStudioModel(key=MODEL, loaded_context_length=4096, reply=BEGUN + REST)
    async with LMStudioEmulator([model]) as server:
        server.faults.append(once("/v1/chat/completions", SSE_BREAK))
        async with LocalProvider(config_for(server)) as local:
            with pytest.raises(StreamInterrupted, match="begins every answer anew") as caught:
                await local.complete(CHAT)
            assert caught.value.text == BEGUN
            chats = [seen for seen in server.requests if seen.path == "/v1/chat/completions"]
            assert len(chats) == 1


# What can be gone on with by nobody.


def broken(**fields: Any) -> StreamInterrupted:  # noqa: ANN401
    error = StreamInterrupted("It stopped.", text="One", **fields)
    error.__cause__ = ServiceError("It broke.")
    return error


def late(phase: str) -> StreamInterrupted:
    error = broken()
    error.__cause__ = ServiceTimeout("Late.", phase=phase, seconds=1, retryable=phase != "total")
    return error


@pytest.mark.parametrize(
    ("request_", "error", "reason"),
    [
        (CHAT, broken(), None),
        (CHAT, late("idle"), None),
        (CHAT, late("total"), "no failure of the server"),
        (CHAT, late("attempt"), "no failure of the server"),
        (CHAT, broken(tool_calls=(ToolCall("1", "f", "{}"),)), "begun to call a tool"),
        (CHAT, broken(reasoning="Hm."), "had reasoned"),
        (TextCompletionRequest(MODEL, "def f():"), broken(), None),
        (TextCompletionRequest(MODEL, "def f():", "return x"), broken(), "fills in the middle"),
    ],
)
def test_what_can_be_gone_on_with(
    request_: CompletionRequest | TextCompletionRequest,
    error: StreamInterrupted,
    reason: str | None,
) -> None:
    found = obstacle(request_, error)
    assert (found is None) if reason is None else (found is not None and reason in found)


@pytest.mark.parametrize(("most", "left"), [(None, None), (10, 7), (3, 1), (1, 1)])
def test_what_has_come_counts_towards_the_longest_answer(
    most: int | None, left: int | None
) -> None:
    request = CompletionRequest(MODEL, ["Count."], max_tokens=most)
    assert shortened(request, 3).max_tokens == left
