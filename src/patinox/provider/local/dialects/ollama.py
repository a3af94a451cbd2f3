"""Ollama's own language: `/api/chat`, `/api/generate`, `/api/embed`; what it replies is next door.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from patinox.provider.errors import AuthenticationError, ProviderError
from patinox.provider.local.dialects.base import (
    arguments_object,
    embedding_response,
    most_logprobs,
    sampling,
)
from patinox.provider.local.dialects.faults import classify
from patinox.provider.local.dialects.ollama_reply import RULES, OllamaDecoder, Vectors
from patinox.provider.local.dialects.openai_reply import parse_vectors
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import decode_leniently
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    TextCompletionRequest,
    ToolCall,
    Usage,
)

# What stands beside `options` in a request, not in it.
_TOP_LEVEL = (
    "_debug_render_only",
    "format",
    "keep_alive",
    "logprobs",
    "shift",
    "think",
    "tools",
    "top_logprobs",
    "truncate",
)
_SPECIAL_TOKENS = 8
# So near to its beginning a reply has the key that tells its kind.
_HEAD = 600


class OllamaDialect:
    """Requests into Ollama's words, its words into events."""

    image_types = frozenset({"image/png", "image/jpeg", "image/webp"})

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/api/chat`."""
        asked: dict[str, object] = {
            "messages": [_render_message(message) for message in request.messages]
        }
        words = dict(words)
        if request.think is not None:
            words["think"] = request.think
        if request.schema is not None:
            words["format"] = request.schema.schema
        if request.offered_tools:
            words["tools"] = [tool.definition for tool in request.offered_tools]
        return _render("/api/chat", request, asked, model=model, stream=stream, words=words)

    def render_text(
        self, request: TextCompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/api/generate`: `raw`, or with the model's form for a suffix.

        A model that reasons would do so here too, unless it is told not to.
        """
        asked: dict[str, object] = {"prompt": request.prompt}
        asked |= {"raw": True} if request.suffix is None else {"suffix": request.suffix}
        words = {"think": False, **words}
        return _render("/api/generate", request, asked, model=model, stream=stream, words=words)

    def decoder(self, request: GenerationRequest, *, thinks: bool | None = None) -> OllamaDecoder:
        """Make a decoder for one answer."""
        plain = isinstance(request, TextCompletionRequest)
        top = most_logprobs(request)
        return OllamaDecoder(thinks=thinks, plain=plain, top_logprobs=top)

    def render_embed(
        self, request: EmbeddingRequest, *, model: str, words: Mapping[str, Any], room: int | None
    ) -> HTTPRequest:
        """Write a request to `/api/embed`, where a text that is too long is an error.

        Texts that cannot be too long are sent to `/v1/embeddings`, which would cut such a text in
        silence and takes no options, but can answer in base64: a tenth of the work.
        """
        body: dict[str, object] = {"model": model, "input": list(request.input)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if not words and room is not None and _surely_fit(request.input, room):
            body["encoding_format"] = "base64"
            return json_request("POST", "/v1/embeddings", body)
        options = dict(words)
        body |= {"truncate": False}
        body |= {field: options.pop(field) for field in _TOP_LEVEL if field in options}
        if options:
            body["options"] = options
        return json_request("POST", "/api/embed", body)

    def parse_embed(self, reply: HTTPReply, *, count: int) -> EmbeddingResponse:
        """Read the reply of `/api/embed` or `/v1/embeddings`; raises `ParseError`."""
        if b'"embeddings"' not in reply.body[:_HEAD]:
            return parse_vectors(reply, count=count, counted=True)
        vectors = decode_leniently(reply.body, Vectors, what="The reply to /api/embed")
        tokens = vectors.prompt_eval_count
        usage = Usage(prompt_tokens=tokens, total_tokens=tokens)
        return embedding_response(vectors.embeddings, count=count, model=vectors.model, usage=usage)

    def classify(self, reply: HTTPReply) -> ProviderError:
        """Tell what an error of Ollama means."""
        error = classify(reply, RULES)
        if isinstance(error, AuthenticationError) and b"signin_url" in reply.body:
            error.hint = "Sign in with: ollama signin"
        return error


def _surely_fit(texts: Sequence[str], room: int) -> bool:
    """Tell whether no text can be longer than the context: a token has a byte at least."""
    return all(len(text.encode("utf-8", "replace")) + _SPECIAL_TOKENS <= room for text in texts)


def _render(
    path: str,
    request: GenerationRequest,
    asked: Mapping[str, object],
    *,
    model: str,
    stream: bool,
    words: Mapping[str, Any],
) -> HTTPRequest:
    options = {**words, **sampling(request, max_tokens="num_predict")}
    if request.logprobs:
        options |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if request.on_overflow == "refuse":
        options["truncate"] = False
    body = {"model": model, **asked, "stream": stream}
    body |= {field: options.pop(field) for field in _TOP_LEVEL if field in options}
    if options:
        body["options"] = options
    return json_request("POST", path, body)


def _render_message(message: CompletionMessage) -> dict[str, object]:
    rendered: dict[str, object] = {"role": message.role, "content": message.content}
    if message.parts:
        rendered["images"] = [image.base64 for image in message.images]
    if message.reasoning:
        rendered["thinking"] = message.reasoning
    if message.tool_calls:
        rendered["tool_calls"] = [_render_call(call) for call in message.tool_calls]
    if message.name is not None:
        rendered["tool_name"] = message.name
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    return rendered


def _render_call(call: ToolCall) -> dict[str, object]:
    arguments = msgspec.Raw(arguments_object(call).encode())
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
