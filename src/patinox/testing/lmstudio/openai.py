"""The emulated LM Studio's OpenAI routes (`/v1`) and the REST v0 beside them (`/api/v0`).

https://lmstudio.ai/docs/developer/openai-compat, https://lmstudio.ai/docs/developer/rest/endpoints
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from patinox.testing.lmstudio import errors
from patinox.testing.lmstudio.express import (
    as_count,
    as_list,
    as_object,
    as_text,
    is_list,
    reply_json,
    send_event,
    start_events,
)
from patinox.testing.lmstudio.models import LMStudioModel, LMStudioPrompt, LMStudioTurn
from patinox.testing.lmstudio.shapes import (
    ChatShape,
    Json,
    Shape,
    TextShape,
    row_v0,
    statistics,
    usage,
)
from patinox.testing.lmstudio.text import Generated, Limits, Pieces, embed

if TYPE_CHECKING:
    from patinox.testing.exchange import Exchange
    from patinox.testing.lmstudio.state import Instance, Studio

_INDENT = 4
_IMAGE = re.compile(r"data:image/(?:png|jpe?g);base64,.")


class _Call(msgspec.Struct, frozen=True):
    """A completion that was asked for: of whom, and how it is written."""

    body: Json
    instance: Instance
    shape: Shape
    v0: bool

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall tell its usage."""
        return as_object(self.body.get("stream_options")).get("include_usage") is True


class OpenAIRoutes:
    """Models, chat, completions and embeddings; `v0` is said of the routes under `/api/v0`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._switches = studio.switches

    async def models(self, exchange: Exchange) -> None:
        """`GET /v1/models`."""
        rows = [
            {"id": name, "object": "model", "owned_by": "organization_owner"}
            for name, _, _ in self._listed()
        ]
        await reply_json(exchange, {"data": rows, "object": "list"}, indent=_INDENT)

    async def models_v0(self, exchange: Exchange) -> None:
        """`GET /api/v0/models`."""
        rows = [row_v0(*listed) for listed in self._listed()]
        await reply_json(exchange, {"data": rows, "object": "list"}, indent=_INDENT)

    async def model_v0(self, exchange: Exchange, name: str) -> None:
        """`GET /api/v0/models/{model}`: the bare row."""
        row = next((row_v0(*listed) for listed in self._listed() if listed[0] == name), None)
        if row is None:
            raise self._studio.unknown(name)
        await reply_json(exchange, row, indent=_INDENT)

    def _listed(self) -> Iterator[tuple[str, LMStudioModel, Instance | None]]:
        """Each instance, and each model that a request could load."""
        for model in self._studio.models:
            instances = self._studio.instances_of(model)
            yield from ((instance.id, model, instance) for instance in instances)
            if not instances and self._switches.jit:
                yield model.key, model, None

    async def chat(self, exchange: Exchange, body: Json, *, v0: bool) -> None:
        """`POST /v1/chat/completions` and `/api/v0/chat/completions`."""
        turns = _messages(body)
        _check_options(body)
        images = _images(body)
        instance = await self._model(body)
        if images and instance.model.kind != "vlm":
            raise errors.Refused(400, errors.NO_IMAGES)
        setting = as_text(body.get("reasoning_effort")) or None
        prompt = LMStudioPrompt(instance.model.key, turns, setting, body)
        generated = self._studio.generate(instance, prompt, _limits(body, instance))
        shape = ChatShape(self._studio, older=v0 or self._switches.generation == "0.3")
        await self._answer(exchange, _Call(body, instance, shape, v0), generated)

    async def complete(self, exchange: Exchange, body: Json, *, v0: bool) -> None:
        """`POST /v1/completions` and `/api/v0/completions`: no chat, so no tools, no reasoning."""
        if "prompt" not in body:
            raise errors.field_required("prompt")
        turns = (LMStudioTurn("user", as_text(body["prompt"])),)
        instance = await self._model(body)
        prompt = LMStudioPrompt(instance.model.key, turns, None, body)
        generated = self._studio.generate(
            instance, prompt, _limits(body, instance), tools=False, reasoning=False
        )
        await self._answer(exchange, _Call(body, instance, TextShape(), v0), generated)

    async def _model(self, body: Json) -> Instance:
        return await self._studio.openai_model(body.get("model"), embeds=False, ttl=body.get("ttl"))

    async def _answer(self, exchange: Exchange, call: _Call, generated: Generated) -> None:
        if call.body.get("stream") is True:
            await self._stream(exchange, call, generated)
        elif generated.error is not None:
            raise errors.Refused(400, generated.error)
        else:
            await reply_json(exchange, self._whole(call, generated), indent=_INDENT)

    def _whole(self, call: _Call, generated: Generated) -> Json:
        reply = self._head(call.shape.id_prefix, call.shape.whole, call.instance)
        reply["choices"] = [call.shape.choice(generated)]
        if self._switches.usage:
            reply["usage"] = self._usage(generated, v0=call.v0)
        reply["stats"] = {}
        if not call.v0:
            reply["system_fingerprint"] = call.instance.id
        elif self._switches.stats:
            reply |= statistics(generated, call.instance)
        return reply

    async def _stream(self, exchange: Exchange, call: _Call, generated: Generated) -> None:
        head = self._head(call.shape.id_prefix, call.shape.chunk, call.instance)
        head["system_fingerprint"] = call.instance.id
        await start_events(exchange)
        for choice in call.shape.choices(generated):
            await send_event(exchange, {**head, "choices": [choice]})
        if generated.error is not None:
            error = {"error": {"message": generated.error}, "message": generated.error}
            await send_event(exchange, error, name="error")
        elif generated.finished:
            await self._end(exchange, call, head, generated)
        await exchange.finish()

    async def _end(self, exchange: Exchange, call: _Call, head: Json, generated: Generated) -> None:
        last = {**head, "choices": [call.shape.last(generated)]}
        if call.v0 and self._switches.v0_stream_stats:
            last |= statistics(generated, call.instance)
        await send_event(exchange, last)
        if self._switches.usage and call.wants_usage:
            counts = self._usage(generated, v0=False)
            await send_event(exchange, {**head, "choices": [], "usage": counts})
        if self._switches.done_marker:
            await exchange.send(b"data: [DONE]\n\n")

    def _head(self, prefix: str, kind: str, instance: Instance) -> Json:
        return {
            "id": self._studio.new_id(prefix, 21),
            "object": kind,
            "created": int(datetime.now(tz=UTC).timestamp()),
            "model": instance.id,
        }

    def _usage(self, generated: Generated, *, v0: bool) -> Json:
        if v0 or self._switches.generation == "0.3":
            return usage(generated, reasoning_tokens=None)
        apart = self._switches.reasoning_key != "inline"
        return usage(generated, reasoning_tokens=len(generated.reasoning) if apart else 0)

    async def embeddings(self, exchange: Exchange, body: Json) -> None:
        """`POST /v1/embeddings` and `/api/v0/embeddings`."""
        texts = _inputs(body)
        instance = await self._studio.openai_model(
            body.get("model"), embeds=True, ttl=body.get("ttl")
        )
        dimensions, context = instance.model.dimensions, instance.context_length
        rows = [
            {"object": "embedding", "embedding": embed(text, dimensions, context), "index": index}
            for index, text in enumerate(texts)
        ]
        reply: Json = {"object": "list", "data": rows, "model": instance.id}
        reply["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
        await reply_json(exchange, reply, indent=_INDENT)


def _messages(body: Json) -> tuple[LMStudioTurn, ...]:
    if "messages" not in body:
        raise errors.field_required("messages")
    if not is_list(messages := body["messages"]):
        raise errors.Refused(400, "_0x48eeaf is not iterable")
    return tuple(
        LMStudioTurn(as_text(message.get("role")), _content(message.get("content")))
        for message in map(as_object, messages)
    )


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    return "".join(as_text(as_object(part).get("text")) for part in as_list(content))


def _images(body: Json) -> Pieces:
    parts = [
        as_object(part)
        for message in as_list(body["messages"])
        for part in as_list(as_object(message).get("content"))
    ]
    urls = tuple(
        as_text(as_object(part.get("image_url")).get("url"))
        for part in parts
        if part.get("type") == "image_url"
    )
    if not all(map(_IMAGE.match, urls)):
        raise errors.image_url()
    return urls


def _check_options(body: Json) -> None:
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        raise errors.tool_choice_type("object")
    wanted = body.get("response_format")
    if wanted is not None and as_object(wanted).get("type") not in {"json_schema", "text"}:
        raise errors.response_format_type()


def _limits(body: Json, instance: Instance) -> Limits:
    stop = body.get("stop")
    stops = (stop,) if isinstance(stop, str) else tuple(map(as_text, as_list(stop)))
    return Limits(instance.context_length, as_count(body.get("max_tokens")), stops)


def _inputs(body: Json) -> list[str]:
    if "input" not in body:
        raise errors.field_required("input")
    given = body["input"]
    items = given if is_list(given) else [given]
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        raise errors.Refused(400, "'input' field must be a string or an array of strings")
    return texts
