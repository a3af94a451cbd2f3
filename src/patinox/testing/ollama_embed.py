"""Vectors: `/api/embed` and the older `/api/embeddings`."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from patinox.testing.ollama_chat import CloudError, Runner
from patinox.testing.ollama_json import OllamaError, is_list, quoted
from patinox.testing.ollama_models import OllamaModel
from patinox.testing.ollama_names import Reference, parse_reference
from patinox.testing.ollama_requests import (
    EmbeddingRequest,
    EmbedRequest,
    check_options,
    keep_alive_ns,
)
from patinox.testing.ollama_state import Store
from patinox.testing.ollama_text import Usage, embed, split, unit

_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"


class Embedded(TypedDict):
    """The reply to `/api/embed`; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]


class Embedder:
    """Answers with vectors."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store = store
        self._runner = runner

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
        if "embedding" not in model.capabilities:
            raise OllamaError(501, _NO_EMBEDDINGS)
        limit = self._store.context(model, request.options.get("num_ctx"))
        read = [_cut(text, limit, truncate=request.truncate) for text in texts]
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
        if "embedding" not in model.capabilities:
            raise OllamaError(500, _NO_EMBEDDINGS)
        return {"embedding": _vector(model, split(request.prompt), 0)}

    def _reference(self, text: str, missing: OllamaError) -> Reference:
        reference = parse_reference(text, when_empty=missing)
        if reference.source == "cloud":
            self._runner.check_cloud()
            raise CloudError(404, f"model '{reference.base}' not found")
        return reference

    def _find(self, asked: str, reference: Reference, *, exact: bool = False) -> OllamaModel:
        found = self._store.find(reference.name, exact=exact)
        if found is None:
            raise OllamaError(404, f"model {quoted(asked)} not found, try pulling it first")
        return found.model

    def _load(self, model: OllamaModel, request: EmbedRequest | EmbeddingRequest) -> bool:
        check_options(request.options)
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


def _cut(text: str, limit: int, *, truncate: bool) -> tuple[str, ...]:
    tokens = split(text)
    if len(tokens) > limit and not truncate:
        raise OllamaError(400, "the input length exceeds the context length")
    return tokens[:limit]


def _vector(model: OllamaModel, tokens: tuple[str, ...], dimensions: int) -> list[float]:
    vector = embed("".join(tokens), model.embedding_length)
    return unit(vector[:dimensions]) if 0 < dimensions < len(vector) else vector
