"""Requests to Ollama's OpenAI routes, and what Ollama makes of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from patinox.testing.ollama.go_json import OllamaError, is_list, quoted
from patinox.testing.ollama.requests import (
    CalledFunction,
    CalledTool,
    ChatRequest,
    GenerateRequest,
    Message,
    Tool,
)

_IMAGE_PREFIXES = (
    "data:;base64,",
    *(f"data:image/{kind};base64," for kind in ("jpeg", "jpg", "png", "webp")),
)
_EFFORTS = {
    "": None,
    "none": False,
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}
_EFFORTS_SINCE_0_30 = {**_EFFORTS, "minimal": "low", "xhigh": "max", "ultra": "max"}


class FunctionText(msgspec.Struct, frozen=True):
    """A called function, its arguments as JSON text."""

    name: str = ""
    arguments: str = ""


class CallText(msgspec.Struct, frozen=True):
    """A tool call in the history."""

    id: str = ""
    function: FunctionText = FunctionText()


class ChatMessage(msgspec.Struct, frozen=True):
    """One message; its content is a text or a list of parts."""

    role: str = ""
    content: Any = None
    reasoning: str = ""
    tool_calls: tuple[CallText, ...] | None = None
    name: str = ""
    tool_call_id: str = ""


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream ends with."""

    include_usage: bool = False


class JsonSchema(msgspec.Struct, frozen=True):
    """A schema for the answer."""

    schema: Any = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """The format of the answer."""

    type: str = ""
    json_schema: JsonSchema | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """How much to think."""

    effort: str = ""


class ChatCompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    model: str = ""
    messages: tuple[ChatMessage, ...] = ()
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = None
    seed: int | None = None
    stop: Any = None
    temperature: float = 1.0
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_p: float = 1.0
    response_format: ResponseFormat | None = None
    tools: tuple[Tool, ...] = ()
    reasoning: Reasoning | None = None
    reasoning_effort: str = ""
    logprobs: bool = False
    top_logprobs: int = 0


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    model: str = ""
    prompt: str = ""
    suffix: str = ""
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = None
    seed: int | None = None
    stop: Any = None
    temperature: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    top_p: float = 1.0
    logprobs: int | None = None


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`."""

    model: str = ""
    input: Any = None
    dimensions: int = 0
    encoding_format: str = ""


def as_chat(request: ChatCompletionRequest, *, since_0_30: bool) -> ChatRequest:
    """Return the chat that Ollama makes of an OpenAI request.

    Raises:
        OllamaError: 400.
    """
    if not request.messages:
        raise OllamaError(400, "[] is too short - 'messages'")
    messages = [part for message in request.messages for part in _messages(message, request)]
    effort = request.reasoning.effort if request.reasoning else request.reasoning_effort
    return ChatRequest(
        model=request.model,
        messages=tuple(messages),
        stream=request.stream,
        format=_format(request.response_format),
        options=_options(request),
        tools=request.tools,
        think=_think(effort, since_0_30=since_0_30),
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )


def as_generate(request: CompletionRequest) -> GenerateRequest:
    """Return the prompt that Ollama makes of an OpenAI request.

    Raises:
        OllamaError: 400.
    """
    for text in request.stop if is_list(request.stop) else ():
        if not isinstance(text, str):
            raise OllamaError(400, f"invalid type for 'stop' field: {_go_type(text)}")
    return GenerateRequest(
        model=request.model,
        prompt=request.prompt,
        suffix=request.suffix,
        stream=request.stream,
        options=_options(request),
    )


def _think(effort: str, *, since_0_30: bool) -> bool | str | None:
    levels = _EFFORTS_SINCE_0_30 if since_0_30 else _EFFORTS
    if effort in levels:
        return levels[effort]
    shown, choices = f"'{effort}'", '"high", "medium", "low", "max", or "none"'
    if since_0_30:
        shown = quoted(effort)
        choices = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'
    raise OllamaError(400, f"invalid reasoning value: {shown} (must be {choices})")


def _options(request: ChatCompletionRequest | CompletionRequest) -> dict[str, object]:
    stop: object = [request.stop] if isinstance(request.stop, str) else request.stop
    options = {
        "stop": [text for text in stop if isinstance(text, str)] if is_list(stop) else None,
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "top_p": request.top_p,
    }
    return {name: value for name, value in options.items() if value is not None}


def _format(given: ResponseFormat | None) -> object:
    match given.type.strip().lower() if given else "":
        case "json_object":
            return "json"
        case "json_schema" if given and given.json_schema:
            return given.json_schema.schema
        case _:
            return None


def _messages(message: ChatMessage, request: ChatCompletionRequest) -> list[Message]:
    """Return the messages of one: each part of its content becomes a message of its own."""
    calls = tuple(_call(call) for call in message.tool_calls or ())
    tool_name = _tool_name(message, request) if message.role.lower() == "tool" else ""
    content: object = message.content
    if isinstance(content, str):
        parts = [Message(message.role, content)]
    elif is_list(content):
        parts = [_part(message.role, part) for part in content]
    elif message.tool_calls is not None:
        parts = [Message(message.role)]
    else:
        raise OllamaError(400, f"invalid message content type: {_go_type(content)}")
    if parts and (calls or isinstance(content, str)):
        parts[-1] = msgspec.structs.replace(
            parts[-1],
            thinking=message.reasoning,
            tool_calls=calls,
            tool_name=tool_name,
            tool_call_id=message.tool_call_id,
        )
    return parts


def _part(role: str, part: object) -> Message:
    match part:
        case {"type": "text", "text": str(text)}:
            return Message(role, text)
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return Message(role, images=(_image(url),))
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return Message(role, images=(data,))
        case _:
            raise OllamaError(400, "invalid message format")


def _image(url: str) -> str:
    if url.startswith(("http://", "https://")):
        advice = "please use base64 encoded data instead"
        raise OllamaError(400, f"image URLs are not currently supported, {advice}")
    for prefix in _IMAGE_PREFIXES:
        if url.startswith(prefix):
            return url.removeprefix(prefix)
    raise OllamaError(400, "invalid image input")


def _call(call: CallText) -> CalledTool:
    try:
        arguments = json.loads(call.function.arguments)
    except json.JSONDecodeError:
        raise OllamaError(400, "invalid tool call arguments") from None
    if not isinstance(arguments, dict):
        raise OllamaError(400, "invalid tool call arguments")
    return CalledTool(call.id, CalledFunction(name=call.function.name, arguments=arguments))


def _tool_name(message: ChatMessage, request: ChatCompletionRequest) -> str:
    calls = [call for asked in request.messages for call in asked.tool_calls or ()]
    named = {call.id: call.function.name for call in calls}
    return message.name or named.get(message.tool_call_id, "")


def _go_type(value: object) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case dict():
            return "map[string]interface {}"
        case _:
            return "float64"
