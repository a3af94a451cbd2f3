"""What is particular about llama.cpp's server, which the engine inside is too.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from patinox.provider.errors import AuthenticationError, InvalidRequest
from patinox.provider.local.dialects.base import (
    ChatDecoder,
    Logprob,
    logprobs_delta,
    most_logprobs,
    total,
)
from patinox.provider.local.dialects.faults import Rule
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.dialects.openai_reply import OpenAIDecoder, TimingsTold, UsageTold
from patinox.provider.local.errors import ModelNotFound
from patinox.provider.local.wire.http import HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, decode_leniently
from patinox.provider.types import (
    CompletionRequest,
    GenerationRequest,
    ResponseStarted,
    StreamEvent,
    TextCompletionRequest,
    TextDelta,
)

RULES: tuple[Rule, ...] = (
    (r"authentication_error", AuthenticationError),
    (r"model '.*' not found|model is not (found|loaded)", ModelNotFound),
    # Statuses 500 that are the caller's fault.
    (r"failed to parse (tool|grammar)|unsupported content|invalid_request_error", InvalidRequest),
)
_STOPPED = {"limit": "length"}


class _Infill(msgspec.Struct):
    """A piece of the native reply to `/infill`."""

    content: str | None = None
    stop: bool = False
    stop_type: str | None = None
    model: str | None = None
    tokens_predicted: Count | None = None
    tokens_evaluated: Count | None = None
    completion_probabilities: list[Logprob] = []
    timings: TimingsTold | None = None
    error: object | None = None


def _think(think: bool | str) -> Mapping[str, object]:  # noqa: FBT001  one value
    if isinstance(think, bool):
        return {"chat_template_kwargs": {"enable_thinking": think}}
    return {"reasoning_effort": think}


class InfillDecoder(OpenAIDecoder):
    """Decodes the native reply to `/infill`, streamed or whole."""

    def _piece(self, data: bytes, events: list[StreamEvent]) -> None:
        piece = decode_leniently(
            data, _Infill, what="A piece of the answer", strict=("content", "stop", "error")
        )
        if piece.error is not None:
            raise self._reported(data)
        if piece.model and piece.model != self._model:
            self._model = piece.model
            events.append(ResponseStarted(model=piece.model))
        if piece.completion_probabilities and self._top_logprobs is not None:
            events.append(logprobs_delta(piece.completion_probabilities, self._top_logprobs))
        if piece.content:
            self._chosen = True
            events.append(TextDelta(piece.content))
        if piece.stop:
            self._finish_reason = _STOPPED.get(piece.stop_type or "", "stop")
            self._timings = piece.timings
            read, made = piece.tokens_evaluated, piece.tokens_predicted
            self._usage = UsageTold(
                prompt_tokens=read, completion_tokens=made, total_tokens=total(read, made)
            )
            self._finish(events)


class LlamaCppDialect(OpenAIDialect):
    """OpenAI's language, and llama.cpp's own words where they say more."""

    def __init__(self) -> None:
        """Set what is different about this server."""
        super().__init__(rules=RULES, think=_think, base64_embeddings=True)

    def render_chat(
        self, request: CompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/chat/completions`.

        The server cannot tell probabilities beside streamed tool calls: such an answer is asked
        for in one piece.

        Raises:
            InvalidRequest: it has a grammar beside a schema or tools.
        """
        if "grammar" in words and (request.schema is not None or request.offered_tools):
            msg = "`grammar` excludes `schema` and `tools`, which make grammars of their own."
            raise InvalidRequest(msg, hint="Ask in two requests.")
        whole = bool(request.logprobs and request.offered_tools)
        return super().render_chat(request, model=model, stream=stream and not whole, words=words)

    def render_text(
        self, request: TextCompletionRequest, *, model: str, stream: bool, words: Mapping[str, Any]
    ) -> HTTPRequest:
        """Write a request to `/v1/completions`, or to `/infill` for a text with a suffix."""
        if request.suffix is None:
            return super().render_text(request, model=model, stream=stream, words=words)
        body = self._render(request, words, model=model, stream=stream)
        body |= {"input_prefix": request.prompt, "input_suffix": request.suffix}
        if request.logprobs:
            body["n_probs"] = body.pop("top_logprobs")
        return json_request("POST", "/infill", body)

    def decoder(self, request: GenerationRequest, *, thinks: bool | None = None) -> ChatDecoder:
        """Make a decoder for one answer."""
        if isinstance(request, TextCompletionRequest) and request.suffix is not None:
            return InfillDecoder(RULES, top_logprobs=most_logprobs(request))
        return super().decoder(request, thinks=thinks)


LLAMACPP = LlamaCppDialect()
