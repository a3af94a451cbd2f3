"""Chat and generate: from a request to the pieces of an answer, for the native routes and /v1."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Generator, Mapping
from typing import Literal

import msgspec

from patinox.testing.ollama_json import OllamaError, is_list, quoted
from patinox.testing.ollama_models import OllamaModel, OllamaPrompt
from patinox.testing.ollama_names import Reference, parse_reference
from patinox.testing.ollama_requests import (
    ChatRequest,
    GenerateRequest,
    InferenceRequest,
    Message,
    Tool,
    check_options,
    check_values,
    keep_alive_ns,
    read_format,
)
from patinox.testing.ollama_state import Store
from patinox.testing.ollama_text import (
    Generation,
    Limits,
    Piece,
    Usage,
    answer,
    generate,
    pieces,
    prompt_tokens,
    split,
    token_ids,
    tool_call,
    with_alternatives,
)

Cloud = Literal["signed-in", "signed-out", "disabled"]
_NUM_KEEP = 4
_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


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


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and generate make of a request; an empty one only loads or unloads the model."""

    request: InferenceRequest
    verb: Literal["chat", "generate"]
    missing: OllamaError
    messages: tuple[Message, ...]
    empty: bool
    tools: tuple[Tool, ...] = ()
    suffix: str = ""
    raw: bool = False
    context: tuple[int, ...] | None = None


class Runner:
    """Runs requests on the models of a store."""

    def __init__(
        self,
        store: Store,
        *,
        native: bool,
        cloud: Cloud,
        signin_url: str | None,
        any_level: bool,
    ) -> None:
        self._store = store
        self._native = native
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
        if request.raw and (request.template or request.system or request.context):
            raise OllamaError(400, "raw mode does not support template, system, or context")
        said = Message("user", request.prompt, images=request.images)
        question = Question(
            request=request,
            verb="generate",
            missing=OllamaError(404, "model '' not found"),
            messages=(Message("system", request.system), said) if request.system else (said,),
            empty=not request.prompt,
            suffix=request.suffix,
            raw=request.raw,
            context=request.context,
        )
        return self._run(question)

    def check_cloud_enabled(self, what: str) -> None:
        """Refuse what needs the cloud where it is switched off.

        Raises:
            CloudError: 403.
        """
        if self._cloud == "disabled":
            raise CloudError(403, f"ollama cloud is disabled: {what} unavailable")

    def check_cloud(self) -> None:
        """Refuse to run a model in the cloud where nobody is signed in, too.

        Raises:
            CloudError: 403 or 401.
        """
        self.check_cloud_enabled("remote model is")
        if self._cloud == "signed-out":
            more = {"signin_url": self._signin_url} if self._signin_url else {}
            raise CloudError(401, "unauthorized", **more)

    def _run(self, question: Question) -> Result:
        request = question.request
        check_values(request, question.messages, any_level=self._any_level)
        reference = parse_reference(request.model, when_empty=question.missing)
        model, shown, remote = self._locate(request, reference)
        if question.empty and keep_alive_ns(request.keep_alive, default=1) == 0:
            self._store.unload(model)
            return self._alone(shown, "unload")
        think = _check_think(request, model)
        _check_capabilities(question, model)
        check_options(request.options)
        if question.empty:
            self._acquire(request, model)
            self._store.release(model)
            return self._alone(shown, "load")
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
            self.check_cloud()
            return self._in_cloud(reference), reference.base, {}
        found = self._store.find(reference.name)
        if found is None or (found.model.remote_model and reference.source == "local"):
            raise OllamaError(404, f"model '{request.model}' not found")
        model = found.model
        if not model.remote_model:
            return model, request.model, {}
        self.check_cloud()
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
            num_ctx=_whole(request.options.get("num_ctx")),
            keep_alive=None if given is None else keep_alive_ns(given, default=0),
        )

    def _answer(
        self, question: Question, model: OllamaModel, *, think: bool | str
    ) -> Generator[Piece]:
        request = question.request
        native = self._native and model.path == "native"
        cold = self._acquire(request, model)
        try:
            num_ctx = self._store.context(model, _whole(request.options.get("num_ctx")))
            prompt, tokens = _fitted(
                _prompt(question, model, think=think), question, num_ctx, native=native
            )
            _check_images(prompt, model)
            limits = _limits(prompt, num_ctx - tokens)
            generation = generate(answer(model, prompt), limits, think=bool(think))
            calls = tuple(
                tool_call(call, index, next(self._serial), native=native)
                for index, call in enumerate(generation.tool_calls)
            )
            last = Piece(
                done=True,
                done_reason=generation.done_reason,
                usage=Usage(tokens, generation.count, cold),
                context=_context(question, generation),
            )
            for piece in pieces(generation, last, calls, native=native):
                yield _with_logprobs(piece, request)
        finally:
            self._store.release(model)


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


def _prompt(question: Question, model: OllamaModel, *, think: bool | str) -> OllamaPrompt:
    messages = tuple(
        msgspec.structs.replace(message, role=message.role.lower()) for message in question.messages
    )
    if model.system and not question.raw and messages[0].role != "system":
        messages = (Message("system", model.system), *messages)
    request = question.request
    return OllamaPrompt(
        model=request.model,
        messages=messages,
        suffix=question.suffix,
        tools=question.tools,
        think=think,
        format=read_format(request.format),
        options={**model.parameters, **request.options},
    )


def _fitted(
    prompt: OllamaPrompt, question: Question, num_ctx: int, *, native: bool
) -> tuple[OllamaPrompt, int]:
    """Return the prompt without the oldest messages that do not fit, and its tokens."""
    request, before = question.request, len(question.context or ())
    while request.truncate and prompt_tokens(prompt) + before > num_ctx:
        oldest = next((m for m in prompt.messages[:-1] if m.role != "system"), None)
        if oldest is None:
            break
        rest = tuple(message for message in prompt.messages if message is not oldest)
        prompt = msgspec.structs.replace(prompt, messages=rest)
    tokens = prompt_tokens(prompt) + before
    if tokens < num_ctx:
        return prompt, tokens
    if native or not request.truncate:
        raise _overflow(tokens, num_ctx)
    if not request.shift:
        raise OllamaError(400, _TOO_LONG)
    return prompt, num_ctx - max((num_ctx - _NUM_KEEP) // 2, 1)  # its middle is left out


def _overflow(tokens: int, num_ctx: int) -> OllamaError:
    said = f"request ({tokens} tokens) exceeds the available context size ({num_ctx} tokens)"
    return _engine_error(
        400,
        f"{said}, try increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=tokens,
        n_ctx=num_ctx,
    )


def _check_images(prompt: OllamaPrompt, model: OllamaModel) -> None:
    if "vision" not in model.capabilities and any(m.images for m in prompt.messages):
        hint = "hint: if this is unexpected, you may need to provide the mmproj"
        raise _engine_error(500, f"image input is not supported - {hint}", "server_error")


def _engine_error(status: int, message: str, kind: str, **more: int) -> OllamaError:
    """Return an error of the inference engine: Ollama hands its JSON on as a string."""
    error = {"code": status, "message": message, "type": kind, **more}
    return OllamaError(status, json.dumps({"error": error}, separators=(",", ":")))


def _limits(prompt: OllamaPrompt, room: int) -> Limits:
    asked = _whole(prompt.options.get("num_predict")) or 0
    stop = prompt.options.get("stop")
    stops = tuple(map(str, stop)) if is_list(stop) else ()
    return Limits(min(asked, room) if asked > 0 else room, stops)


def _context(question: Question, generation: Generation) -> tuple[int, ...]:
    if question.context is None or question.raw:
        return ()
    said = split(question.messages[-1].content)
    return (*question.context, *token_ids(said), *token_ids(generation.text))


def _with_logprobs(piece: Piece, request: InferenceRequest) -> Piece:
    wanted = piece.logprobs if request.logprobs else ()
    entries = tuple(with_alternatives(entry, request.top_logprobs) for entry in wanted)
    return msgspec.structs.replace(piece, logprobs=entries)


def _whole(number: object) -> int | None:
    return int(number) if isinstance(number, int | float) else None
