"""Texts that the emulated llama.cpp goes on with, and middles that it fills in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from patinox.testing.exchange import Exchange
from patinox.testing.llamacpp.chat import Generation, reply_with
from patinox.testing.llamacpp.models import LlamaCppModel
from patinox.testing.llamacpp.shapes import LlamaCppError

_MISSING = "prefix token is missing. suffix token is missing. middle token is missing. "


async def reply_text(
    exchange: Exchange, model: LlamaCppModel, body: Mapping[str, Any], build_info: str
) -> None:
    """Answer `/v1/completions`: the prompt is the last user's text."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise LlamaCppError(400, "key 'prompt' not found", "invalid_request_error")
    await reply_with(exchange, _Text(model, [("user", prompt)], body, build_info))


async def reply_infill(
    exchange: Exchange, model: LlamaCppModel, body: Mapping[str, Any], build_info: str
) -> None:
    """Answer `/infill`: the text before the gap is the last user's text."""
    if not model.infill:
        said = f"Infill is not supported by this model: {_MISSING}"
        raise LlamaCppError(501, said, "not_supported_error")
    texts = [(key, str(body.get(f"input_{key}", ""))) for key in ("suffix", "prefix")]
    asked = [("user" if key == "prefix" else key, text) for key, text in texts]
    await reply_with(exchange, _Middle(model, asked, body, build_info))


class _Text(Generation):
    """What goes on with a text."""

    def whole(self) -> dict[str, object]:
        return self._frame_of("".join(self._pieces), self._ended) | self._counts()

    def frames(self) -> Iterator[dict[str, object]]:
        for piece in self._pieces:
            yield self._frame_of(piece)
        yield self._frame_of("", self._ended) | self._counts()

    def _frame_of(self, text: str, ended: str | None = None) -> dict[str, object]:
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": ended}
        return {"choices": [choice], **self._head, "object": "text_completion"}

    def _counts(self) -> dict[str, object]:
        return {"usage": self._usage(), "timings": self._timings()}


class _Middle(Generation):
    """What fills in a middle, in the native form."""

    says_done = False

    def whole(self) -> dict[str, object]:
        return self._last("".join(self._pieces))

    def frames(self) -> Iterator[dict[str, object]]:
        for number, piece in enumerate(self._pieces, 1):
            yield {
                "index": 0,
                "content": piece,
                "tokens": [number],
                "stop": False,
                "id_slot": -1,
                "tokens_predicted": number,
                "tokens_evaluated": self._prompt,
            }
        yield self._last("")

    def _last(self, text: str) -> dict[str, object]:
        return {
            "index": 0,
            "content": text,
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self._head["model"],
            "tokens_predicted": len(self._pieces),
            "tokens_evaluated": self._prompt,
            "stop_type": "limit" if self._ended == "length" else "eos",
            "stopping_word": "",
            "timings": self._timings(),
        }
