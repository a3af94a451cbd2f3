"""Chat and generate: from a request to the pieces of an answer, for the native routes and /v1."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping
from typing import Literal

import msgspec

from patinox.testing.ollama.go_json import OllamaError, quoted
from patinox.testing.ollama.models import OllamaModel
from patinox.testing.ollama.names import Reference, parse_reference
from patinox.testing.ollama.prompts import Question, fitted, fitted_before_0_30, whole
from patinox.testing.ollama.requests import (
    ChatRequest,
    GenerateRequest,
    InferenceRequest,
    Message,
    check_options,
    check_template,
    check_values,
    keep_alive_ns,
)
from patinox.testing.ollama.state import Store
from patinox.testing.ollama.text import (
    Generation,
    Piece,
    Usage,
    answer,
    generate,
    pieces,
    split,
    token_ids,
    tool_call,
    with_alternatives,
)

Cloud = Literal["signed-in", "signed-out", "disabled"]


class CloudError(OllamaError):
    """An error of the cloud for a model named as a cloud model: /v1 hands it on as it is."""


class Result(msgspec.Struct, frozen=True):
    """What a request comes to: pieces, and what is said of the model beside them.

    `alone`: a request that only loads or unloads, whose one piece is never streamed. Reading
    `parts` raises `OllamaError` where the answer fails.
    """

    model: str
    parts: Generator[Piece]
    clock: Callable[[], int]
    remote: Mapping[str, object] = {}
    alone: bool = False


class Runner:
    """Runs requests on the models of a store."""

    def __init__(
        self,
        store: Store,
        *,
        since_0_30: bool,
        cloud: Cloud,
        signin_url: str | None,
        any_level: bool,
    ) -> None:
        self._store = store
        self._since_0_30 = since_0_30
        self._cloud = cloud
        self._signin_url = signin_url
        self._any_level = any_level
        self._serial = itertools.count()

    def chat(self, request: ChatRequest) -> Result:
        """Begin to answer a chat.

        Raises:
            OllamaError: the request is refused.
        """
        question = Question(
            request=request,
            verb="chat",
            missing=OllamaError(400, "model is required"),
            messages=request.messages,
            empty=not request.messages,
            tools=request.tools,
        )
        return self._run(question)

    def generate(self, request: GenerateRequest) -> Result:
        """Begin to answer a prompt.

        Raises:
            OllamaError: the request is refused.
        """
        said = Message("user", request.prompt, images=request.images)
        question = Question(
            request=request,
            verb="generate",
            missing=OllamaError(404, "model '' not found"),
            messages=(Message("system", request.system), said) if request.system else (said,),
            empty=not request.prompt,
            suffix=request.suffix,
            raw=request.raw,
            template=request.template,
            context=request.context,
        )
        return self._run(question)

    def check_cloud_enabled(self, what: str, reference: Reference) -> None:
        """Refuse what needs the cloud where it is switched off.

        Raises:
            OllamaError: 403; a `CloudError` if the cloud was asked for by name.
        """
        if self._cloud == "disabled":
            said = f"ollama cloud is disabled: {what} unavailable"
            raise _cloud_error(reference, 403, said)

    def check_cloud(self, reference: Reference) -> None:
        """Refuse to run a model in the cloud where nobody is signed in, too.

        Raises:
            OllamaError: 403 or 401; a `CloudError` if the cloud was asked for by name.
        """
        self.check_cloud_enabled("remote model is", reference)
        if self._cloud == "signed-out":
            more = {"signin_url": self._signin_url} if self._signin_url else {}
            raise _cloud_error(reference, 401, "unauthorized", **more)

    def _run(self, question: Question) -> Result:
        request = question.request
        check_values(request, question.messages, any_level=self._any_level)
        reference = parse_reference(request.model, when_empty=question.missing)
        model, shown, remote = self._locate(request, reference)
        if question.empty and keep_alive_ns(request.keep_alive, default=1) == 0:
            self._store.unload(model)
            return self._alone(shown, "unload")
        _check_raw(question)
        think = _check_think(request, model)
        _check_capabilities(question, model)
        check_options(request.options, since_0_30=self._since_0_30)
        if question.empty:
            self._acquire(request, model)
            self._store.release(model)
            return self._alone(shown, "load")
        check_template(question.template)
        parts = self._answer(question, model, think=think)
        return Result(shown, parts, self._store.clock, remote)

    def _alone(self, model: str, done_reason: str) -> Result:
        piece = Piece(done=True, done_reason=done_reason)
        return Result(model, (part for part in (piece,)), self._store.clock, alone=True)

    def _locate(
        self, request: InferenceRequest, reference: Reference
    ) -> tuple[OllamaModel, str, Mapping[str, object]]:
        """Return the model, the name the answer gives it, and where it runs."""
        if reference.source == "cloud":
            self.check_cloud(reference)
            return self._in_cloud(reference), reference.base, {}
        found = self._store.find(reference.name)
        if found is None or (found.model.remote_model and reference.source == "local"):
            raise OllamaError(404, f"model '{request.model}' not found")
        model = found.model
        if not model.remote_model:
            return model, request.model, {}
        self.check_cloud(reference)
        if "://ollama.com" not in model.remote_host:
            raise OllamaError(400, "this server cannot run this remote model")
        remote = {"remote_model": model.remote_model, "remote_host": model.remote_host}
        return model, request.model, remote

    def _in_cloud(self, reference: Reference) -> OllamaModel:
        for entry in self._store.listed():
            if entry.model.remote_model == reference.base:
                return entry.model
        raise CloudError(404, f"model '{reference.base}' not found")

    def _acquire(self, request: InferenceRequest, model: OllamaModel) -> bool:
        if model.remote_model:
            return False
        given = request.keep_alive
        return self._store.acquire(
            model,
            num_ctx=whole(request.options.get("num_ctx")),
            keep_alive=None if given is None else keep_alive_ns(given, default=0),
        )

    def _answer(
        self, question: Question, model: OllamaModel, *, think: bool | str
    ) -> Generator[Piece]:
        request = question.request
        native = self._since_0_30 and model.path == "native"
        fit = fitted if self._since_0_30 else fitted_before_0_30
        cold = self._acquire(request, model)
        try:
            num_ctx = self._store.context(model, whole(request.options.get("num_ctx")))
            given = fit(question, model, num_ctx, think=think)
            said = answer(model, given.prompt)
            generation = generate(said, given.limits, think=bool(think), native=native)
            calls = tuple(
                tool_call(call, index, next(self._serial), native=native)
                for index, call in enumerate(generation.tool_calls)
            )
            last = Piece(
                done=True,
                done_reason=generation.done_reason,
                usage=Usage(given.tokens, generation.count, cold, 0 if self._since_0_30 else 1),
                context=_context(question, generation),
            )
            for piece in pieces(generation, last, calls, native=native):
                if shown := _shown(piece, request):
                    yield shown
        finally:
            self._store.release(model)


def _cloud_error(reference: Reference, status: int, message: str, **more: str) -> OllamaError:
    kind = CloudError if reference.source == "cloud" else OllamaError
    return kind(status, message, **more)


def _check_raw(question: Question) -> None:
    told = question.template or question.context or question.messages[1:]
    if question.raw and told:
        raise OllamaError(400, "raw mode does not support template, system, or context")


def _check_think(request: InferenceRequest, model: OllamaModel) -> bool | str:
    """Return what to think: unless told, a model that can does."""
    if "thinking" in model.capabilities:
        return True if request.think is None else request.think
    if request.think:
        raise OllamaError(400, f"{quoted(request.model)} does not support thinking")
    return False


def _check_capabilities(question: Question, model: OllamaModel) -> None:
    if "completion" not in model.capabilities:
        asked = quoted(question.request.model)
        raise OllamaError(400, f"{asked} does not support {question.verb}")
    if question.tools and "tools" not in model.capabilities:
        raise OllamaError(400, f"{model.parsed.full} does not support tools")
    if question.suffix and "insert" not in model.capabilities:
        raise OllamaError(400, f"{model.parsed.full} does not support insert")


def _context(question: Question, generation: Generation) -> tuple[int, ...]:
    if question.context is None or question.raw:
        return ()
    said = split(question.messages[-1].content)
    return (*question.context, *token_ids(said), *token_ids(generation.text))


def _shown(piece: Piece, request: InferenceRequest) -> Piece | None:
    """Return a piece with the logprobs asked for; `None` if nothing is left of it."""
    wanted = piece.logprobs if request.logprobs else ()
    entries = tuple(with_alternatives(entry, request.top_logprobs) for entry in wanted)
    shown = msgspec.structs.replace(piece, logprobs=entries)
    return None if shown == Piece() else shown
