"""What is sent and what is expected, shown of emulated servers: pictures, lengths, other models."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from patinox.provider.errors import (
    CapabilityNotSupported,
    ContextLengthExceeded,
    InvalidRequest,
    ModelMismatch,
)
from patinox.provider.images import Image
from patinox.provider.local.config import LMStudioConfig, OllamaConfig
from patinox.provider.local.llamacpp import LlamaCppProvider
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.prepare import prepare
from patinox.provider.local.service import ServiceProvider
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    LMStudioOptions,
    OllamaOptions,
    ResponseStarted,
    TextCompletionRequest,
)
from patinox.testing import (
    EmulatedServer,
    LlamaCppEmulator,
    LMStudioAnswer,
    LMStudioEmulator,
    LMStudioModel,
    LMStudioToolCall,
    OllamaAnswer,
    OllamaEmulator,
    OllamaModel,
    OllamaToolCall,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TALE = "word " * 400  # 500 tokens by its bytes, 400 for the emulators


def picture(kind: str) -> Image:
    """A picture of a kind, made of the smallest PNG."""
    from PIL import Image as pillow  # noqa: N813  a class of ours has the name

    file = io.BytesIO()
    with pillow.open(io.BytesIO(PNG)) as opened:
        opened.convert("RGB").save(file, kind)
    return Image(file.getvalue())


def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


def sent(server: EmulatedServer) -> dict[str, Any]:
    """The body of the last request for an answer."""
    paths = ("chat", "completions", "generate")
    bodies = [seen.body for seen in server.requests if seen.path.endswith(paths)]
    decoded: dict[str, Any] = json.loads(bodies[-1])
    return decoded


def asked(server: EmulatedServer) -> bool:
    return any(seen.path.endswith(("chat", "completions", "generate")) for seen in server.requests)


@asynccontextmanager
async def ollama(
    *models: OllamaModel,
    **switches: Any,  # noqa: ANN401 - those of the emulator
) -> AsyncGenerator[tuple[OllamaEmulator, OllamaProvider]]:
    server = OllamaEmulator(models=models, **switches)
    async with server, OllamaProvider(server.url, OllamaConfig()) as provider:
        yield server, provider


@asynccontextmanager
async def lmstudio(
    *models: LMStudioModel,
    **switches: Any,  # noqa: ANN401 - those of the emulator
) -> AsyncGenerator[tuple[LMStudioEmulator, LMStudioProvider]]:
    server = LMStudioEmulator(models, **switches)
    async with server, LMStudioProvider(server.url, LMStudioConfig()) as provider:
        yield server, provider


async def streamed(provider: ServiceProvider, request: CompletionRequest) -> CompletionResponse:
    async with provider.stream_completion(request) as stream:
        return await stream.collect()


# Pictures.

SEES = OllamaModel(name="eye:1", capabilities=("completion", "vision"))
BLIND = OllamaModel(name="blind:1")
STUDIO_SEES = LMStudioModel(key="eye", kind="vlm", loaded_context_length=8192)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_ollama_gets_the_pictures_it_takes_as_they_are(kind: str) -> None:
    shown = picture(kind)
    async with ollama(SEES) as (server, provider):
        message = CompletionMessage.user(["What is this?", shown])
        await provider.complete(CompletionRequest("eye:1", [message]))
        assert sent(server)["messages"][0]["images"] == [shown.base64]


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
async def test_ollama_gets_other_pictures_as_png(kind: str) -> None:
    async with ollama(SEES) as (server, provider):
        message = CompletionMessage.user(["What is this?", picture(kind)])
        request = CompletionRequest("eye:1", ["Before", message])
        await provider.complete(request)
        (encoded,) = sent(server)["messages"][1]["images"]
        assert Image(base64.b64decode(encoded)).media_type == "image/png"
        assert request.messages[1].images == message.images


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP"])
async def test_lm_studio_gets_png_in_the_place_of_what_it_refuses(kind: str) -> None:
    async with lmstudio(STUDIO_SEES) as (server, provider):
        message = CompletionMessage.user([picture("JPEG"), "or", picture(kind)])
        answer = await provider.complete(CompletionRequest("eye", [message]))
        parts = sent(server)["messages"][0]["content"]
        assert [part["type"] for part in parts] == ["image_url", "text", "image_url"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        assert [url.partition(";")[0] for url in urls] == ["data:image/jpeg", "data:image/png"]
        assert answer.text == "You said: or"


async def test_pictures_are_converted_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[int]()
    convert = Image.as_one_of

    def noted(image: Image, kinds: Any) -> Image:  # noqa: ANN401
        threads.append(threading.get_ident())
        return convert(image, kinds)

    monkeypatch.setattr(Image, "as_one_of", noted)
    async with ollama(SEES) as (_, provider):
        message = CompletionMessage.user([picture("GIF")])
        await provider.complete(CompletionRequest("eye:1", [message]))
    assert threads
    assert threading.get_ident() not in threads


async def test_a_broken_picture_is_refused_before_anything_is_asked() -> None:
    async with ollama(SEES) as (server, provider):
        broken = CompletionMessage.user([Image(b"GIF89a but no more")])
        with pytest.raises(InvalidRequest, match="The picture is broken"):
            await provider.complete(CompletionRequest("eye:1", [broken]))
        assert not asked(server)


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
async def test_a_model_that_is_known_not_to_see_is_shown_nothing(version: str) -> None:
    async with ollama(BLIND, version=version) as (server, provider):
        message = CompletionMessage.user([Image(PNG)])
        with pytest.raises(CapabilityNotSupported, match="'blind:1' on Ollama does not see"):
            await provider.complete(CompletionRequest("blind:1", [message]))
        assert not asked(server)


# The length of the prompt.

TERSE = OllamaModel(name="m:1", reply="Long.")


async def test_a_prompt_is_compared_with_the_context_that_is_loaded() -> None:
    model = OllamaModel(name="m:1", loaded=True, parameters={"num_ctx": 256}, reply="Long.")
    async with ollama(model) as (_, provider):
        for request in (CompletionRequest("m:1", TALE), TextCompletionRequest("m:1", TALE)):
            answer = await provider._whole(request)  # noqa: SLF001 - both kinds alike
            assert answer.warnings[0].startswith("The prompt has about 50")
            assert "'m:1' on Ollama has a context of 256" in answer.warnings[0]
            assert "it seems to have cut it" in answer.warnings[1]
            assert answer.usage.prompt_tokens is not None
            assert answer.usage.prompt_tokens < 256


async def test_a_prompt_is_compared_with_the_context_that_is_asked_for() -> None:
    options = OllamaOptions(num_ctx=256)
    request = CompletionRequest("m:1", TALE, service_options=options)
    async with ollama(TERSE) as (server, provider):
        unknown = await provider.complete(replace(request, service_options=()))
        assert unknown.warnings == ()
        warned = await provider.complete(request)
        assert [text.partition(" ")[0] for text in warned.warnings] == ["The", "The"]
        assert sent(server)["options"] == {"num_ctx": 256}
        async with provider.stream_completion(request) as stream:
            events = [event async for event in stream if isinstance(event, ResponseStarted)]
            assert events[0].warnings == warned.warnings[:1]
            assert stream.response.warnings == warned.warnings


async def test_a_prompt_that_seems_too_long_is_not_sent_if_that_is_wished() -> None:
    options = OllamaOptions(num_ctx=256)
    request = CompletionRequest("m:1", TALE, service_options=options, on_overflow="refuse")
    async with ollama(OllamaModel(name="m:1")) as (server, provider):
        with pytest.raises(ContextLengthExceeded, match="a context of 256") as caught:
            await provider.complete(request)
        assert caught.value.service == "ollama"
        assert not asked(server)


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
async def test_what_an_estimate_lets_pass_ollama_refuses_by_itself(version: str) -> None:
    words = "a " * 300  # 150 tokens by its bytes, 300 for the emulator
    request = CompletionRequest("m:1", words, service_options=OllamaOptions(num_ctx=256))
    async with ollama(TERSE, version=version) as (_, provider):
        assert (await provider.complete(request)).usage.prompt_tokens is not None
        with pytest.raises(ContextLengthExceeded):
            await provider.complete(replace(request, on_overflow="refuse"))


async def test_a_prompt_is_let_pass_without_a_word_if_that_is_wished() -> None:
    options = OllamaOptions(num_ctx=256)
    request = CompletionRequest("m:1", TALE, service_options=options, on_overflow="ignore")
    async with ollama(TERSE) as (_, provider):
        (after,) = (await provider.complete(request)).warnings
        assert after.endswith("it seems to have cut it.")


async def test_nothing_is_warned_of_where_the_server_was_told_not_to_cut() -> None:
    options = OllamaOptions(num_ctx=450, truncate=False)
    request = CompletionRequest("m:1", TALE, service_options=options)
    async with ollama(TERSE) as (_, provider):
        assert (await provider.complete(request)).warnings == ()


async def test_lm_studio_is_compared_with_the_context_that_is_loaded() -> None:
    model = LMStudioModel(key="m", loaded_context_length=450)
    request = CompletionRequest("m", TALE)
    for generation in ("0.3", "0.4"):
        async with lmstudio(model, generation=generation) as (server, provider):
            warned = await provider.complete(request)
            assert "'m' on LM Studio has a context of 450" in warned.warnings[0]
            server.requests.clear()
            with pytest.raises(ContextLengthExceeded, match="a context of 450"):
                await provider.complete(replace(request, on_overflow="refuse"))
            assert not asked(server)


async def test_llama_cpp_refuses_what_is_too_long_and_so_is_left_to_judge() -> None:
    request = CompletionRequest("qwen3-0.6b", "word " * 7000, on_overflow="refuse")
    async with LlamaCppEmulator() as server, LlamaCppProvider(server.url) as provider:
        assert (await provider.complete(request)).warnings == ()
        with pytest.raises(ContextLengthExceeded) as caught:
            await provider.complete(replace(request, messages="word " * 8192))
        assert caught.value.context_tokens == 8192


# Another model.


@pytest.mark.parametrize("ask", [LMStudioProvider.complete, streamed])
async def test_an_answer_of_another_model_is_refused_or_labelled(
    ask: Callable[[LMStudioProvider, CompletionRequest], Awaitable[CompletionResponse]],
) -> None:
    models = (LMStudioModel(key="a", loaded_context_length=4096), LMStudioModel(key="b"))
    request = CompletionRequest("b", "Hi")
    async with lmstudio(*models) as (server, provider):
        await provider.list_models()
        server._studio.models.pop()  # noqa: SLF001 - deleted behind our back
        with pytest.raises(ModelMismatch, match="answered with 'a' instead of 'b'"):
            await ask(provider, request)
        answer = await ask(provider, replace(request, on_mismatch="label"))
        assert answer.model == "a"
        assert answer.warnings == ("LM Studio answered with 'a' instead of 'b'.",)


async def test_of_another_models_name_only_so_much_is_shown() -> None:
    async with lmstudio(LMStudioModel(key="b" * 300, loaded_context_length=4096)) as (_, provider):
        info = replace((await provider.list_models())[0], id="a", aliases=())
        prepared = await prepare(provider, CompletionRequest("a", "Hi"), info, streaming=True)
        with pytest.raises(ModelMismatch, match=f"answered with '{'b' * 100}…' instead of"):
            prepared.accept(ResponseStarted(model="b" * 300))


# Typed options.


async def test_options_of_another_service_are_not_sent() -> None:
    both = (OllamaOptions(num_ctx=512), LMStudioOptions(ttl=60))
    async with ollama(OllamaModel(name="m:1")) as (server, provider):
        await provider.complete(CompletionRequest("m:1", "Hi", service_options=both))
        assert sent(server)["options"] == {"num_ctx": 512}
        assert "ttl" not in sent(server)
    async with lmstudio(LMStudioModel(key="m")) as (studio, other):
        await other.complete(CompletionRequest("m", "Hi", service_options=both))
        assert sent(studio)["ttl"] == 60
        assert not {"num_ctx", "options"} & set(sent(studio))


# Tools.

CALLS = LMStudioAnswer(tool_calls=(LMStudioToolCall("add", '{"left": 3, "right": 4}'),))


@pytest.mark.parametrize("choice", ["required", "add"])
async def test_a_tool_that_was_to_be_called_and_was_not_is_warned_of(choice: str) -> None:
    request = CompletionRequest("m", "Hi", tools=[add], tool_choice=choice)
    async with lmstudio(LMStudioModel(key="m", tools=True, reply="7")) as (_, provider):
        for answer in (await provider.complete(request), await streamed(provider, request)):
            assert answer.warnings == ("The server was told to have a tool called, but did not.",)
        free = await provider.complete(replace(request, tool_choice="auto"))
        assert free.warnings == ()
    async with lmstudio(LMStudioModel(key="m", tools=True, reply=CALLS)) as (_, provider):
        called = await provider.complete(request)
        assert called.warnings == ()
        assert called.tool_calls[0].name == "add"


@pytest.mark.parametrize("choice", ["required", "add"])
async def test_ollama_cannot_be_made_to_call_a_tool_and_is_not_asked(choice: str) -> None:
    model = OllamaModel(name="m:1", capabilities=("completion", "tools"))
    request = CompletionRequest("m:1", "Hi", tools=[add], tool_choice=choice)
    async with ollama(model) as (server, provider):
        with pytest.raises(CapabilityNotSupported, match="Ollama cannot be made to call a tool"):
            await provider.complete(request)
        assert not asked(server)


@pytest.mark.parametrize("path", ["rendered", "native"])
async def test_calls_on_either_path_of_ollama_are_the_same_whole_and_streamed(path: Any) -> None:  # noqa: ANN401
    calls = tuple(OllamaToolCall("add", {"left": number, "right": 4}) for number in (3, 5))
    model = OllamaModel(
        name="m:1",
        capabilities=("completion", "tools"),
        path=path,
        reply=OllamaAnswer(text="Adding.", tool_calls=calls),
    )
    request = CompletionRequest("m:1", "Hi", tools=[add])
    async with ollama(model) as (_, provider):
        pieces, whole = await asyncio.gather(
            streamed(provider, request), provider.complete(request)
        )
        for answer in (pieces, whole):
            assert [call.name for call in answer.tool_calls] == ["add", "add"]
            decoded = [json.loads(call.arguments) for call in answer.tool_calls]
            assert decoded == [{"left": 3, "right": 4}, {"left": 5, "right": 4}]
            assert len({call.id for call in answer.tool_calls}) == 2
            assert (answer.text, answer.finish_reason) == ("Adding.", "tool_calls")


# Reasoning.


@pytest.mark.parametrize("reasoning_key", ["reasoning_content", "reasoning", "inline"])
async def test_reasoning_is_the_same_wherever_lm_studio_puts_it(reasoning_key: str) -> None:
    thought = LMStudioAnswer(("Close it with ", "</th", "ink>."), reasoning=("h", "m", " <b>"))
    model = LMStudioModel(key="m", reasoning=("on",), loaded_context_length=4096, reply=thought)
    async with lmstudio(model, reasoning_key=reasoning_key) as (_, provider):
        request = CompletionRequest("m", "Hi")
        for answer in (await provider.complete(request), await streamed(provider, request)):
            assert answer.reasoning == "hm <b>"
            assert answer.text == "Close it with </think>."


async def test_reasoning_that_a_template_opened_unseen_is_told_apart_where_a_model_thinks() -> None:
    unseen = LMStudioAnswer(("h", "m</thi", "nk>\n", "\nYes."))
    for reasoning, expected in ((("on",), ("hm", "Yes.")), ((), ("", "hm</think>\n\nYes."))):
        model = LMStudioModel(
            key="m", reasoning=reasoning, loaded_context_length=4096, reply=unseen
        )
        async with lmstudio(model) as (_, provider):
            request = CompletionRequest("m", "Hi")
            for answer in (await provider.complete(request), await streamed(provider, request)):
                assert (answer.reasoning, answer.text) == expected
