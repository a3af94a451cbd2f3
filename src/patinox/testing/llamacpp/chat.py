"""Answers of the emulated llama.cpp, and a chat: a word is a token, and times are made up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from patinox.testing.exchange import Exchange
from patinox.testing.llamacpp.models import LlamaCppModel, LlamaCppPrompt
from patinox.testing.llamacpp.shapes import LlamaCppError, is_list, is_object, reply, to_json

_CREATED = 1_795_349_474
_PIECE = re.compile(r"\s*\S+")
_PROMPT_MS, _TOKEN_MS = 1.0, 2.0


async def reply_chat(
    exchange: Exchange, model: LlamaCppModel, body: Mapping[str, Any], build_info: str
) -> None:
    """Answer a chat, whole or as a stream."""
    await reply_with(exchange, Generation(model, _texts(body.get("messages")), body, build_info))


async def reply_with(exchange: Exchange, generation: Generation) -> None:
    """Send an answer, whole or as a stream."""
    if not generation.streams:
        await reply(exchange, generation.whole())
        return
    await exchange.start(200, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    for frame in generation.frames():
        await exchange.send(b"data: " + to_json(frame) + b"\n\n")
    if generation.says_done:
        await exchange.send(b"data: [DONE]\n\n")
    await exchange.finish()


class Generation:
    """One answer to what was said (role and text): refused before it begins, or whole."""

    says_done = True

    def __init__(
        self,
        model: LlamaCppModel,
        texts: Sequence[tuple[str, str]],
        body: Mapping[str, Any],
        build_info: str,
    ) -> None:
        self.streams = body.get("stream") is True
        self._prompt = sum(len(text.split()) for _, text in texts)
        self._refuse_overflow(model)
        asked = next((text for role, text in reversed(texts) if role == "user"), "")
        answer = _stopped(model.answer(LlamaCppPrompt(model.id, asked, body)), body.get("stop"))
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        room = model.context_length - self._prompt
        most = min(max(limit, 1), room) if isinstance(limit, int) and limit >= 0 else room
        pieces = _PIECE.findall(answer)
        self._pieces, self._ended = pieces[:most], "length" if len(pieces) > most else "stop"
        options = body.get("stream_options")
        self._usage_wanted = is_object(options) and options.get("include_usage") is True
        digest = hashlib.sha256(to_json([model.id, texts])).hexdigest()
        self._head = {
            "created": _CREATED,
            "model": model.id,
            "system_fingerprint": build_info,
            "id": f"chatcmpl-{digest[:32]}",
        }

    def _refuse_overflow(self, model: LlamaCppModel) -> None:
        if self._prompt >= model.context_length:
            raise LlamaCppError(
                400,
                f"request ({self._prompt} tokens) exceeds the available context size "
                f"({model.context_length} tokens), try increasing it",
                "exceed_context_size_error",
                n_prompt_tokens=self._prompt,
                n_ctx=model.context_length,
            )

    def whole(self) -> dict[str, object]:
        """Return a whole reply."""
        message = {"role": "assistant", "content": "".join(self._pieces)}
        choice = {"finish_reason": self._ended, "index": 0, "message": message}
        return {
            "choices": [choice],
            **self._head,
            "object": "chat.completion",
            "usage": self._usage(),
            "timings": self._timings(),
        }

    def frames(self) -> Iterator[dict[str, object]]:
        """Return the frames of a stream, in order."""
        yield self._frame({"role": "assistant", "content": None})
        for piece in self._pieces:
            yield self._frame({"content": piece})
        finish = self._frame({}, self._ended)
        if not self._usage_wanted:
            yield {**finish, "timings": self._timings()}
            return
        yield finish
        last: dict[str, object] = {"choices": [], **self._head, "object": "chat.completion.chunk"}
        yield {**last, "usage": self._usage(), "timings": self._timings()}

    def _frame(self, delta: dict[str, object], ended: str | None = None) -> dict[str, object]:
        choice = {"finish_reason": ended, "index": 0, "delta": delta}
        return {"choices": [choice], **self._head, "object": "chat.completion.chunk"}

    def _usage(self) -> dict[str, object]:
        made = len(self._pieces)
        return {
            "completion_tokens": made,
            "prompt_tokens": self._prompt,
            "total_tokens": self._prompt + made,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _timings(self) -> dict[str, object]:
        made = len(self._pieces)
        return {
            "cache_n": 0,
            "prompt_n": self._prompt,
            "prompt_ms": self._prompt * _PROMPT_MS,
            "prompt_per_token_ms": _PROMPT_MS,
            "prompt_per_second": 1000 / _PROMPT_MS,
            "predicted_n": made,
            "predicted_ms": made * _TOKEN_MS,
            "predicted_per_token_ms": _TOKEN_MS,
            "predicted_per_second": 1000 / _TOKEN_MS,
        }


def _texts(messages: object) -> list[tuple[str, str]]:
    """Return role and text of each message; what is no text is empty."""
    if messages is None:
        raise LlamaCppError(400, "'messages' is required", "invalid_request_error")
    if not is_list(messages):
        said = "Expected 'messages' to be an array"
        raise LlamaCppError(400, said, "invalid_request_error")
    return [
        (
            str(one.get("role", "")),
            content if isinstance(content := one.get("content"), str) else "",
        )
        for one in messages
        if is_object(one)
    ]


def _stopped(text: str, stop: object) -> str:
    """Cut a text before the first stop text; what is no text is ignored, as the real one does."""
    stops = stop if is_list(stop) else [stop]
    found = [text.find(each) for each in stops if isinstance(each, str) and each in text]
    return text[: min(found)] if found else text
