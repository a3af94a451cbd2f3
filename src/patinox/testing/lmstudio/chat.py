"""The emulated LM Studio's native chat (`POST /api/v1/chat`), whole and as named events.

https://lmstudio.ai/docs/developer/rest/chat, https://lmstudio.ai/docs/developer/rest/streaming-events
"""

from __future__ import annotations

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
from patinox.testing.lmstudio.native import check_keys
from patinox.testing.lmstudio.shapes import FIRST_TOKEN_SECONDS, TOKENS_PER_SECOND, Json
from patinox.testing.lmstudio.state import Instance, LoadFailed, Studio
from patinox.testing.lmstudio.text import Generated, Limits

if TYPE_CHECKING:
    from patinox.testing.exchange import Exchange

_KEYS = {
    "model",
    "input",
    "system_prompt",
    "integrations",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "max_output_tokens",
    "reasoning",
    "context_length",
    "store",
    "previous_response_id",
}


class Question(msgspec.Struct, frozen=True):
    """A request that was found right: its body, whom it asks, and the conversation so far."""

    body: Json
    model: LMStudioModel
    turns: tuple[LMStudioTurn, ...]

    @property
    def instance_id(self) -> str:
        """The name that the model gets when it is loaded."""
        return self.model.identifier or self.model.key


class NativeChat:
    """The native chat: strict keys, one input, a history only by `previous_response_id`.

    It takes no tools, so tool calls of an answer are left out here.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def chat(self, exchange: Exchange, body: Json) -> None:
        """Answer whole or as a stream."""
        check_keys(body, required=("model",), known=_KEYS)
        turns = self._turns(body)
        model = self._model(as_text(body["model"]))
        _check_values(body, model)
        question = Question(body, model, turns)
        if body.get("stream") is True:
            await self._stream(exchange, question)
        else:
            await self._whole(exchange, question)

    def _turns(self, body: Json) -> tuple[LMStudioTurn, ...]:
        if "input" not in body:
            raise errors.parameter_missing("input")
        asked = _input_text(body["input"], self._studio.switches.native_text_item)
        previous = body.get("previous_response_id")
        earlier = self._studio.conversations.get(str(previous)) if previous is not None else ()
        if earlier is None:
            message = f"Could not find stored response for previous_response_id '{previous}'."
            param = "previous_response_id"
            raise errors.native(400, message, code="invalid_value", param=param)
        prompt = as_text(body.get("system_prompt"))
        system = (LMStudioTurn("system", prompt),) if prompt else ()
        return (*system, *earlier, LMStudioTurn("user", asked))

    def _model(self, name: str) -> LMStudioModel:
        loaded = self._studio.loaded_as(name)
        model = loaded.model if loaded is not None else self._studio.downloaded(name)
        usable = loaded is not None or self._studio.switches.jit
        if all(one.kind == "embedding" for one in self._studio.models):
            raise errors.native_no_models()
        if model is None or model.kind == "embedding" or not usable:
            raise errors.native_unknown_model(name)
        return model

    async def _whole(self, exchange: Exchange, question: Question) -> None:
        loads = self._loaded(question) is None
        try:
            instance = await self._instance(question)
        except LoadFailed as failure:
            said = errors.load_failure(question.model.key, str(failure))
            raise errors.internal(said) from failure
        generated = self._generate(question, instance)
        if generated.error is not None:
            raise errors.internal(generated.error)
        result = self._result(question, instance.id, generated, loads=loads)
        await reply_json(exchange, result, indent=2)

    async def _stream(self, exchange: Exchange, question: Question) -> None:
        events = _Events(exchange)
        await start_events(exchange)
        loaded = self._loaded(question)
        name = loaded.id if loaded is not None else question.instance_id
        await events.say("chat.start", model_instance_id=name)
        try:
            instance = await (self._instance(question) if loaded else self._load(question, events))
        except LoadFailed as failure:
            said = errors.load_failure(question.model.key, str(failure))
            generated = Generated(0, error=said)
        else:
            generated = self._generate(question, instance)
            await _say_generated(events, generated)
        if generated.error is not None:
            error = {"type": "internal_error", "message": generated.error, "code": "unknown"}
            await events.say("error", error=error)
        if generated.finished:
            result = self._result(question, name, generated, loads=loaded is None)
            await events.say("chat.end", result=result)
        await exchange.finish()

    async def _load(self, question: Question, events: _Events) -> Instance:
        name = question.instance_id
        await events.say("model_load.start", model_instance_id=name)
        await events.say("model_load.progress", model_instance_id=name, progress=0.5)
        instance = await self._instance(question)
        seconds = self._studio.switches.load_seconds
        await events.say("model_load.end", model_instance_id=name, load_time_seconds=seconds)
        return instance

    def _loaded(self, question: Question) -> Instance | None:
        return self._studio.loaded_as(as_text(question.body["model"]))

    async def _instance(self, question: Question) -> Instance:
        loaded = self._loaded(question)
        if loaded is not None:
            return self._studio.touch(loaded)
        context = as_count(question.body.get("context_length"))
        return await self._studio.ensure_loaded(question.model, context_length=context)

    def _generate(self, question: Question, instance: Instance) -> Generated:
        body = question.body
        setting = as_text(body.get("reasoning")) or None
        limits = Limits(instance.context_length, as_count(body.get("max_output_tokens")))
        prompt = LMStudioPrompt(question.model.key, question.turns, setting, body)
        return self._studio.generate(instance, prompt, limits, tools=False)

    def _result(self, question: Question, name: str, generated: Generated, *, loads: bool) -> Json:
        parts = (("reasoning", generated.reasoning), ("message", generated.text))
        result: Json = {
            "model_instance_id": name,
            "output": [{"type": kind, "content": "".join(said)} for kind, said in parts if said],
            "stats": self._stats(generated, loads=loads),
        }
        if question.body.get("store") is not False:
            identifier = self._studio.new_id("resp_", 48)
            self._studio.remember(identifier, question.turns, generated)
            result["response_id"] = identifier
        return result

    def _stats(self, generated: Generated, *, loads: bool) -> Json:
        if not self._studio.switches.stats:
            return {}
        stats: Json = {
            "input_tokens": generated.prompt_tokens,
            "total_output_tokens": generated.completion_tokens,
            "reasoning_output_tokens": len(generated.reasoning),
            "tokens_per_second": TOKENS_PER_SECOND,
            "time_to_first_token_seconds": FIRST_TOKEN_SECONDS,
        }
        if loads:
            stats["model_load_time_seconds"] = self._studio.switches.load_seconds
        return stats


class _Events:
    """The events of one stream; each says its type twice, as name and inside."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def say(self, kind: str, **fields: object) -> None:
        await send_event(self._exchange, {"type": kind, **fields}, name=kind)


async def _say_generated(events: _Events, generated: Generated) -> None:
    await events.say("prompt_processing.start")
    await events.say("prompt_processing.progress", progress=0.5)
    await events.say("prompt_processing.end")
    for kind, pieces in (("reasoning", generated.reasoning), ("message", generated.text)):
        if pieces:
            await events.say(f"{kind}.start")
            for piece in pieces:
                await events.say(f"{kind}.delta", content=piece)
            await events.say(f"{kind}.end")


def _check_values(body: Json, model: LMStudioModel) -> None:
    for integration in as_list(body.get("integrations")):
        about = as_object(integration)
        raise errors.plugin_denied(
            as_text(integration) or as_text(about.get("id")) or as_text(about.get("server_label"))
        )
    setting = body.get("reasoning")
    if setting is not None and setting not in model.reasoning:
        raise errors.reasoning_setting(str(setting), model)
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        message = "'temperature' must be between 0 and 1"
        raise errors.native(400, message, code="invalid_value", param="temperature")
    if model.kind != "vlm" and _has_image(body["input"]):
        raise errors.native(400, errors.NO_IMAGES, code="invalid_value", param="input")


def _has_image(given: object) -> bool:
    return any(as_object(item).get("type") == "image" for item in as_list(given))


def _input_text(given: object, text_item: str) -> str:
    if isinstance(given, str):
        return given
    items = [as_object(item) for item in as_list(given)]
    if not is_list(given) or any(item.get("type") not in {text_item, "image"} for item in items):
        raise _wrong_input(f"Invalid discriminator value. Expected '{text_item}' | 'image'")
    for number, item in enumerate(items):
        _check_item(number, item)
    return "".join(as_text(item.get("content")) for item in items)


def _check_item(number: int, item: Json) -> None:
    needed = "data_url" if item["type"] == "image" else "content"
    wrong = [] if needed in item else [f"'input.{number}.{needed}' is required"]
    if unknown := [key for key in item if key not in {"type", needed}]:
        wrong.append(errors.unrecognized(unknown))
    if wrong:
        raise _wrong_input(", ".join(wrong))


def _wrong_input(message: str) -> errors.Refused:
    return errors.native(400, message, code="invalid_union", param="input")
