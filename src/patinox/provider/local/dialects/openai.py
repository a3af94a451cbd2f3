"""The language that OpenAI made common: server-sent events over `/v1/chat/completions`.

What servers do differently are arguments of `OpenAIDialect`, not classes of their own.
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from patinox.provider.errors import ProviderError
from patinox.provider.images import Image
from patinox.provider.local.dialects.base import (
    ChatDecoder,
    arguments_object,
    most_logprobs,
    sampling,
)
from patinox.provider.local.dialects.faults import Rule, classify
from patinox.provider.local.dialects.openai_reply import OpenAIDecoder, parse_vectors
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.schema import OutputSchema
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    TextCompletionRequest,
)

Think = Callable[[bool | str], Mapping[str, object]]


def reasoning_effort(think: bool | str) -> Mapping[str, object]:  # noqa: FBT001  one value
    """Say how much to think as OpenAI does, which has no word for a mere yes."""
    if think is True:
        return {}
    return {"reasoning_effort": think or "none"}


class OpenAIDialect:
    """Requests into OpenAI's words, such servers' words into events.

    Args:
        rules: what the server's errors mean, asked before the common rules.
        think: how to say whether and how much to think.
        base64_embeddings: whether vectors are asked for in base64, which is smaller and faster.
        counts_embedding_tokens: whether the usage of vectors is counted, or always 0.

    """

    # What LM Studio takes, and what llama.cpp surely does.
    image_types = frozenset({"image/png", "image/jpeg"})

    def __init__(
        self,
        *,
        rules: Sequence[Rule] = (),
        think: Think = reasoning_effort,
        base64_embeddings: bool = False,
        counts_embedding_tokens: bool = True,
    ) -> None:
        """Keep what is different about this server."""
        self._rules = tuple(rules)
        self._think = think
        self._base64 = base64_embeddings
        self._counts = counts_embedding_tokens

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/chat/completions`."""
        body = self._render(request, words, model=model, stream=stream)
        body["messages"] = [_render_message(message) for message in request.messages]
        if request.think is not None:
            body |= self._think(request.think)
        if request.schema is not None:
            body["response_format"] = _response_format(request.schema)
        body |= _tools(request)
        return json_request("POST", "/v1/chat/completions", body)

    def render_text(
        self, request: TextCompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/completions`."""
        body = self._render(request, words, model=model, stream=stream)
        body["prompt"] = request.prompt
        if request.suffix is not None:
            body["suffix"] = request.suffix
        if request.logprobs:  # here one number says both
            body["logprobs"] = body.pop("top_logprobs")
        return json_request("POST", "/v1/completions", body)

    def decoder(self, request: GenerationRequest, *, thinks: bool | None = None) -> ChatDecoder:
        """Make a decoder for one answer."""
        plain = isinstance(request, TextCompletionRequest)
        top = most_logprobs(request)
        return OpenAIDecoder(self._rules, thinks=thinks, plain=plain, top_logprobs=top)

    def render_embed(
        self,
        request: EmbeddingRequest,
        *,
        model: str,
        words: Mapping[str, Any],
        room: int | None,  # noqa: ARG002  these servers have one way
    ) -> HTTPRequest:
        """Write a request to `/v1/embeddings`."""
        body: dict[str, object] = {**words, "model": model, "input": list(request.input)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if self._base64:
            body["encoding_format"] = "base64"
        return json_request("POST", "/v1/embeddings", body)

    def parse_embed(self, reply: HTTPReply, *, count: int) -> EmbeddingResponse:
        """Read the reply of `/v1/embeddings`; raises `ParseError`."""
        return parse_vectors(reply, count=count, counted=self._counts)

    def classify(self, reply: HTTPReply) -> ProviderError:
        """Tell what an error of the server means."""
        return classify(reply, self._rules)

    def _render(
        self, request: GenerationRequest, words: Mapping[str, Any], *, model: str, stream: bool
    ) -> dict[str, Any]:
        body = {**words, **sampling(request), "model": model, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        if request.logprobs:  # asked for no other tokens, llama.cpp tells nothing of the chosen one
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs or 1}
        return body


def _response_format(schema: OutputSchema[Any]) -> dict[str, object]:
    described = {"name": schema.name, "schema": schema.schema, "strict": True}
    return {"type": "json_schema", "json_schema": described}


def _tools(request: CompletionRequest) -> dict[str, object]:
    """Offer the tools; to force one, offer it alone: no server here takes a tool by its name."""
    choice, tools = request.tool_choice, request.offered_tools
    if not tools:
        return {}
    named = [tool for tool in tools if tool.name == choice]
    said: dict[str, object] = {"tools": [tool.definition for tool in named or tools]}
    if choice is not None:
        said["tool_choice"] = "required" if named else choice
    return said


def _render_part(part: str | Image) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.data_url}}


def _render_message(message: CompletionMessage) -> dict[str, object]:
    content = [_render_part(part) for part in message.parts] or message.content
    rendered: dict[str, object] = {"role": message.role, "content": content}
    if message.tool_calls:
        rendered["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_object(call)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        rendered["name"] = message.name
    return rendered
