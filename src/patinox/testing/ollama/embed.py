"""Vectors: `/api/embed` and the older `/api/embeddings`."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from patinox.testing.ollama.chat import CloudError, Runner
from patinox.testing.ollama.go_json import OllamaError, is_list, quoted
from patinox.testing.ollama.models import OllamaModel
from patinox.testing.ollama.names import Reference, parse_reference
from patinox.testing.ollama.prompts import TOO_LONG
from patinox.testing.ollama.requests import (
    EmbeddingRequest,
    EmbedRequest,
    check_options,
    keep_alive_ns,
)
from patinox.testing.ollama.state import Store
from patinox.testing.ollama.text import Usage, split
from patinox.testing.ollama.vectors import embed, raw, unit

_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
_NO_INPUT = "Failed to create new sequence: no input provided"
_ENDS = 2  # tokens that a cut text leaves room for


class Embedded(TypedDict):
    """The reply to `/api/embed`; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]


class Embedder:
    """Answers with vectors."""

    def __init__(self, store: Store, runner: Runner, *, since_0_30: bool) -> None:
        self._store = store
        self._runner = runner
        self._since_0_30 = since_0_30

    def embed(self, request: EmbedRequest) -> Embedded:
        """Answer `/api/embed`; no input only loads the model.

        Raises:
            OllamaError: the request is refused.
        """
        keep_alive_ns(request.keep_alive, default=0)
        missing = OllamaError(404, "model '' not found")
        reference = self._reference(request.model, missing)
        texts = _texts(request.input)
        model = self._find(request.model, reference)
        cold = self._load(model, request)
        if not texts:
            return {"model": request.model, "embeddings": []}
        self._check_embeds(model, 501)
        read = [self._read(text, model, request) for text in texts]
        usage = Usage(sum(map(len, read)), 0, cold)
        return {
            "model": request.model,
            "embeddings": [_vector(model, tokens, request.dimensions) for tokens in read],
            "total_duration": usage.total_ns,
            "load_duration": usage.load_ns,
            "prompt_eval_count": usage.prompt,
        }

    def embeddings(self, request: EmbeddingRequest) -> dict[str, object]:
        """Answer `/api/embeddings`, which takes the case of a name as it is.

        Raises:
            OllamaError: the request is refused.
        """
        keep_alive_ns(request.keep_alive, default=0)
        reference = self._reference(request.model, OllamaError(400, "model is required"))
        model = self._find(request.model, reference, exact=True)
        self._load(model, request)
        if not request.prompt:
            return {"embedding": []}
        self._check_embeds(model, 500)
        tokens = split(request.prompt)
        if self._since_0_30:
            return {"embedding": _vector(model, tokens, 0)}
        if len(tokens) > self._limit(model, request):
            raise OllamaError(500, TOO_LONG)
        return {"embedding": raw(_vector(model, tokens, 0))}

    def _check_embeds(self, model: OllamaModel, status: int) -> None:
        """Refuse a chat model; before 0.30 every model embeds."""
        if self._since_0_30 and "embedding" not in model.capabilities:
            raise OllamaError(status, _NO_EMBEDDINGS)

    def _limit(self, model: OllamaModel, request: EmbedRequest | EmbeddingRequest) -> int:
        return self._store.context(model, request.options.get("num_ctx"))

    def _read(self, text: str, model: OllamaModel, request: EmbedRequest) -> tuple[str, ...]:
        tokens, limit = split(text), self._limit(model, request)
        if not tokens and not self._since_0_30:
            raise OllamaError(500, _NO_INPUT)
        if len(tokens) <= limit:
            return tokens
        if not request.truncate:
            raise OllamaError(400, TOO_LONG)
        return tokens[: limit if self._since_0_30 else limit - _ENDS]

    def _reference(self, text: str, missing: OllamaError) -> Reference:
        reference = parse_reference(text, when_empty=missing)
        if reference.source == "cloud":
            self._runner.check_cloud(reference)
            raise CloudError(404, f"model '{reference.base}' not found")
        return reference

    def _find(self, asked: str, reference: Reference, *, exact: bool = False) -> OllamaModel:
        found = self._store.find(reference.name, exact=exact)
        if found is None:
            raise OllamaError(404, f"model {quoted(asked)} not found, try pulling it first")
        return found.model

    def _load(self, model: OllamaModel, request: EmbedRequest | EmbeddingRequest) -> bool:
        check_options(request.options, since_0_30=self._since_0_30)
        given = request.keep_alive
        cold = self._store.acquire(
            model,
            num_ctx=request.options.get("num_ctx"),
            keep_alive=None if given is None else keep_alive_ns(given, default=0),
        )
        self._store.release(model)
        return cold


def _texts(given: object) -> list[str]:
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [given]
    texts = [text for text in given if isinstance(text, str)] if is_list(given) else []
    if not is_list(given) or len(texts) != len(given):
        raise OllamaError(400, "invalid input type")
    return texts


def _vector(model: OllamaModel, tokens: tuple[str, ...], dimensions: int) -> list[float]:
    vector = embed("".join(tokens), model.embedding_length)
    return unit(vector[:dimensions]) if 0 < dimensions < len(vector) else vector
