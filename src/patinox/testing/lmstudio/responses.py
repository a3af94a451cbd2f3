"""The emulated LM Studio's subset of OpenAI's Responses (`/v1/responses`): texts and tool calls.

https://lmstudio.ai/docs/developer/openai-compat/responses
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
from patinox.testing.lmstudio.models import LMStudioPrompt, LMStudioTurn
from patinox.testing.lmstudio.text import Generated, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from patinox.testing.exchange import Exchange
    from patinox.testing.lmstudio.shapes import Json
    from patinox.testing.lmstudio.state import Instance, Studio

_TEXTS = {"input_text", "output_text"}


class ResponsesRoute:
    """`POST /v1/responses`, whole and as named events; answers are stored for the next turn."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def respond(self, exchange: Exchange, body: Json) -> None:
        """Answer, in the conversation that `previous_response_id` continues."""
        if body.get("text") is not None and "format" not in as_object(body["text"]):
            code = "missing_required_parameter"
            raise errors.responses_error("Required", param="text.format", code=code)
        turns = self._turns(body)
        instance = await self._studio.openai_model(body.get("model"), embeds=False)
        setting = as_text(as_object(body.get("reasoning")).get("effort")) or None
        prompt = LMStudioPrompt(instance.model.key, turns, setting, body)
        limits = Limits(instance.context_length, as_count(body.get("max_output_tokens")))
        generated = self._studio.generate(instance, prompt, limits)
        reply = self._reply(body, instance, generated)
        if body.get("stream") is True:
            await self._stream(exchange, reply, generated)
        elif generated.error is not None:
            raise errors.internal(generated.error)
        else:
            await reply_json(exchange, reply, indent=2)
        self._studio.remember(str(reply["id"]), turns, generated)

    def _turns(self, body: Json) -> tuple[LMStudioTurn, ...]:
        previous = body.get("previous_response_id")
        earlier = self._studio.conversations.get(str(previous)) if previous is not None else ()
        if earlier is None:
            raise errors.responses_error(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        instructions = as_text(body.get("instructions"))
        system = (LMStudioTurn("system", instructions),) if instructions else ()
        return (*system, *earlier, *_input_turns(body.get("input")))

    def _reply(self, body: Json, instance: Instance, generated: Generated) -> Json:
        now = int(datetime.now(tz=UTC).timestamp())
        return {
            "id": self._studio.new_id("resp_", 48),
            "object": "response",
            "created_at": now,
            "completed_at": now,
            "status": "completed",
            "incomplete_details": None,
            "model": instance.id,
            "previous_response_id": body.get("previous_response_id"),
            "instructions": body.get("instructions"),
            "output": list(self._output(generated)),
            "error": None,
            "tools": as_list(body.get("tools")),
            "tool_choice": "auto",
            "truncation": "auto",
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}},
            "top_p": False,  # sampling comes back ill-typed, here and below
            "presence_penalty": 0,
            "frequency_penalty": 1.1,
            "top_logprobs": 0,
            "temperature": 0,
            "reasoning": {"summary": None, "effort": None},
            "usage": _usage(generated),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None,
            "store": True,
            "background": False,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }

    def _output(self, generated: Generated) -> Iterator[Json]:
        if generated.reasoning:
            content = [{"type": "reasoning_text", "text": "".join(generated.reasoning)}]
            yield {"id": self._studio.new_id("rs_", 48), "type": "reasoning", "content": content}
        if generated.text or not generated.tool_calls:
            text = {"type": "output_text", "text": "".join(generated.text)}
            yield {
                "id": self._studio.new_id("msg_", 48),
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{**text, "annotations": [], "logprobs": []}],
            }
        for call in generated.tool_calls:
            yield {
                "id": self._studio.new_id("fc_", 48),
                "type": "function_call",
                "status": "completed",
                "call_id": self._studio.new_call_id(),
                "name": call.name,
                "arguments": call.arguments,
            }

    async def _stream(self, exchange: Exchange, reply: Json, generated: Generated) -> None:
        await start_events(exchange)
        begun: Json = {**reply, "completed_at": None, "status": "in_progress", "output": []}
        for event in _events(begun, reply, generated):
            await send_event(exchange, event, name=str(event["type"]))
        await exchange.finish()


def _events(begun: Json, reply: Json, generated: Generated) -> Iterator[Json]:
    yield {"type": "response.created", "response": begun}
    for item in map(as_object, as_list(reply["output"])):
        match item["type"]:
            case "reasoning":
                pieces, kind = generated.reasoning, "response.reasoning_text.delta"
            case "message":
                pieces, kind = generated.text, "response.output_text.delta"
            case _:
                pieces, kind = (
                    (as_text(item["arguments"]),),
                    "response.function_call_arguments.delta",
                )
        for piece in pieces:
            yield {"type": kind, "item_id": item["id"], "delta": piece}
    if generated.error is not None:
        yield {"type": "error", "error": {"message": generated.error}, "message": generated.error}
    elif generated.finished:
        yield {"type": "response.completed", "response": reply}


def _input_turns(given: object) -> Iterator[LMStudioTurn]:
    if isinstance(given, str):
        yield LMStudioTurn("user", given)
        return
    if not is_list(given):
        raise _wrong_input()
    for item in map(as_object, given):
        if item.get("type") == "function_call_output":
            yield LMStudioTurn("tool", as_text(item.get("output")))
        elif item.get("type", "message") == "message":
            yield LMStudioTurn(as_text(item.get("role")), _content(item.get("content")))
        elif item["type"] not in {"reasoning", "function_call"}:
            raise _wrong_input()


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = [as_object(part) for part in as_list(content)]
    if any(part.get("type") not in _TEXTS for part in parts):
        raise _wrong_input()
    return "".join(as_text(part.get("text")) for part in parts)


def _wrong_input() -> errors.Refused:
    return errors.responses_error("Invalid type for 'input'.", param="input", code="invalid_union")


def _usage(generated: Generated) -> Json:
    prompt, completion = generated.prompt_tokens, generated.completion_tokens
    return {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": len(generated.reasoning)},
    }
