"""The language that OpenAI made common: server-sent events over `/v1/chat/completions`.

What servers do differently are arguments of `OpenAIDialect`, not classes of their own.
https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from patinox.provider.errors import CapabilityNotSupported, ProviderError
from patinox.provider.images import Image
from patinox.provider.local.dialects.base import ChatDecoder, sampling
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

_SAMPLING = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repeat_penalty",
    "stop": "stop",
    "seed": "seed",
}


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
        logprobs: whether the server tells how probable tokens are.
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
        logprobs: bool = False,
        base64_embeddings: bool = False,
        counts_embedding_tokens: bool = True,
    ) -> None:
        """Keep what is different about this server."""
        self._rules = tuple(rules)
        self._think = think
        self._logprobs = logprobs
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
        """Write a request to `/v1/completions`, which fills in no middle."""
        if request.suffix is not None:
            raise CapabilityNotSupported(
                "This server goes on with texts but does not fill in their middle.",
                hint="Leave the suffix out, or use a model on Ollama or llama.cpp.",
            )
        body = self._render(request, words, model=model, stream=stream)
        body["prompt"] = request.prompt
        if "top_logprobs" in body:  # here one number says both
            body["logprobs"] = body.pop("top_logprobs") or 1
        return json_request("POST", "/v1/completions", body)

    def decoder(self, request: GenerationRequest, *, thinks: bool | None = None) -> ChatDecoder:
        """Make a decoder for one answer."""
        plain = isinstance(request, TextCompletionRequest)
        return OpenAIDecoder(self._rules, thinks=thinks, plain=plain)

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
        body = {**words, **sampling(request, _SAMPLING), "model": model, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        if request.logprobs:
            if not self._logprobs:
                raise CapabilityNotSupported(
                    "This server does not tell how probable its tokens are.",
                    hint="Leave `logprobs` out, or use a model on Ollama or llama.cpp.",
                )
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
        return body


def _response_format(schema: OutputSchema[Any]) -> dict[str, object]:
    described = {"name": schema.name, "schema": schema.schema, "strict": True}
    return {"type": "json_schema", "json_schema": described}


def _tools(request: CompletionRequest) -> dict[str, object]:
    """Offer the tools; to force one, offer it alone: no server here takes a tool by its name."""
    choice = request.tool_choice
    if choice == "none" or not request.tools:
        return {}  # servers leave tools that must not be called in the prompt, and models call them
    named = [tool for tool in request.tools if tool.name == choice]
    said: dict[str, object] = {"tools": [tool.definition for tool in named or request.tools]}
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
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        rendered["name"] = message.name
    return rendered
