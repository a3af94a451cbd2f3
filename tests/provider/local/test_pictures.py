"""Pictures on their way to servers: as they are where the server takes them, else converted."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest
from patinox.provider.images import Image
from patinox.provider.local.config import LocalProviderConfig
from patinox.provider.local.coordinator import LocalProvider
from patinox.provider.types import CompletionMessage, CompletionRequest
from patinox.testing import EmulatedServer, LMStudioEmulator, OllamaEmulator

ConfigFor = Callable[..., LocalProviderConfig]
OLLAMA, LMSTUDIO = "ollama::llava:7b", "lmstudio::gemma-3-4b-it"


def drawn(kind: str) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), "red").save(file, kind)
    return Image.of(file.getvalue())


def last_message(server: EmulatedServer) -> Any:  # noqa: ANN401  JSON
    body = next(seen.body for seen in reversed(server.requests) if b'"messages"' in seen.body)
    return json.loads(body)["messages"][-1]


def shown(server: EmulatedServer) -> list[Image]:
    """Read back the pictures that the server was sent."""
    message = last_message(server)
    if "images" in message:
        return [Image.of(base64.b64decode(text)) for text in message["images"]]
    parts = [part for part in message["content"] if part["type"] == "image_url"]
    return [Image.of(part["image_url"]["url"]) for part in parts]


async def look(config: LocalProviderConfig, model: str, *parts: str | Image) -> str:
    async with LocalProvider(config) as local:
        request = CompletionRequest(model, [CompletionMessage.user(parts)])
        return (await local.complete(request)).text


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        (OLLAMA, {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "GIF": "png", "BMP": "png"}),
        (LMSTUDIO, {"PNG": "png", "JPEG": "jpeg", "WEBP": "png", "GIF": "png", "BMP": "png"}),
    ],
    ids=["ollama", "lmstudio"],
)
async def test_a_server_is_shown_what_it_takes(
    config_for: ConfigFor, model: str, kinds: dict[str, str]
) -> None:
    pictures = [drawn(kind) for kind in kinds]
    async with OllamaEmulator() as ollama, LMStudioEmulator() as lmstudio:
        text = await look(config_for(ollama, lmstudio), model, "What are these?", *pictures)
        sent = shown(ollama if model is OLLAMA else lmstudio)
    assert text == "You said: What are these?"
    assert [each.media_type for each in sent] == [f"image/{kind}" for kind in kinds.values()]
    for before, after in zip(pictures, sent, strict=True):
        assert (after == before) is (after.media_type == before.media_type)


async def test_texts_and_pictures_keep_their_order_where_the_server_has_one(
    config_for: ConfigFor,
) -> None:
    one, two = drawn("PNG"), drawn("JPEG")
    async with LMStudioEmulator() as server:
        await look(config_for(server), LMSTUDIO, "First", one, "then", two)
        kinds = [part["type"] for part in last_message(server)["content"]]
    assert kinds == ["text", "image_url", "text", "image_url"]


async def test_a_model_that_sees_nothing_is_not_asked(config_for: ConfigFor) -> None:
    async with OllamaEmulator() as server:
        with pytest.raises(CapabilityNotSupported, match="does not see pictures"):
            await look(config_for(server), "llama3.2:3b", "What is it?", drawn("PNG"))
        assert not [seen for seen in server.requests if seen.path == "/api/chat"]


async def test_a_broken_picture_is_refused_before_anything_is_sent(config_for: ConfigFor) -> None:
    broken = Image(drawn("GIF").data[:20])
    async with OllamaEmulator() as server:
        with pytest.raises(InvalidRequest, match="The picture is broken"):
            await look(config_for(server), OLLAMA, "What is it?", broken)
        assert not [seen for seen in server.requests if seen.path == "/api/chat"]
