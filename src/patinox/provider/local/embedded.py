"""The engine inside: GGUF files on this machine, served by a child process of our own.

The child is llama.cpp's server (PyPI: `xllamacpp`), so that a crash in native code takes nobody
down. Dialect: `dialects/llamacpp.py`. The files are found by `patinox.embedded.finder`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from patinox.embedded import (
    Engine,
    EngineError,
    EnginePool,
    GGUFInfo,
    LocalModelFile,
    demo_model,
    engine_available,
    find_models,
)
from patinox.provider.errors import ProviderClosed, ProviderError, RateLimited
from patinox.provider.lifecycle import LoadedModel, Operation, RunningModel
from patinox.provider.local.config import EmbeddedConfig
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.endpoint import parse_endpoint
from patinox.provider.local.errors import ServiceError, ServiceTimeout
from patinox.provider.local.events import Server
from patinox.provider.local.facts import capabilities, state
from patinox.provider.local.features import NO_SHORTER_VECTORS, Lacks
from patinox.provider.local.lifecycle import CONTEXT_LENGTH, KEEP_ALIVE, Refusals
from patinox.provider.local.service import ServiceProvider
from patinox.provider.local.spec import ServiceSpec, Target
from patinox.provider.local.waiting import in_time
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.secret import Secret
from patinox.provider.types import CompletionMessage, CompletionRequest, ModelInfo, Source

# Ollama's parameters of a model, and what llama.cpp calls them; `num_ctx` is ours to decide.
_OLLAMA_OPTIONS = {
    "num_predict": "max_tokens",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "stop": "stop",
    "seed": "seed",
}
_SIGN_OF_LIFE = 1.0  # seconds


class EmbeddedProvider(ServiceProvider):
    """Models that are files, each loaded when it is first asked for."""

    service_type: ClassVar[str] = "embedded"
    label: ClassVar[str] = "embedded"
    dialect: ClassVar[Dialect] = LLAMACPP
    prefills: ClassVar[bool] = True
    cuts_prompts: ClassVar[bool] = False
    lacks: ClassVar[Lacks] = NO_SHORTER_VECTORS

    refusals: ClassVar[Refusals] = {
        Operation.PULL: (
            "The engine inside downloads no models.",
            "Put a .gguf file into a folder of LOCAL_MODELS_PATH, or: ollama pull",
        ),
        Operation.DELETE: ("The engine inside deletes no files.", "The files are yours: rm"),
        Operation.COPY: ("The engine inside copies no files.", "The files are yours: cp"),
        KEEP_ALIVE: (
            "How long the engine inside keeps a model is a setting.",
            "Set `embedded.idle_seconds`.",
        ),
        CONTEXT_LENGTH: (
            "The context of the engine inside is a setting.",
            "Set `embedded.context_length`.",
        ),
    }

    _files: Mapping[str, LocalModelFile] = {}
    _pool: EnginePool | None = None

    @property
    def options_type(self) -> str:
        """The kind of `ServiceOptions` that it takes: it is llama.cpp's server."""
        return "llamacpp"

    @property
    def server(self) -> Server:
        """Who it is, for observers: no server."""
        return Server(self.id, self.service_type)

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return "inside Patinox"

    @property
    def settings(self) -> EmbeddedConfig:
        """Its settings, with the defaults for what is particular to it."""
        return self.config if isinstance(self.config, EmbeddedConfig) else EmbeddedConfig()

    @property
    def pool(self) -> EnginePool:
        """The engines that are loaded; the first use makes it."""
        if self._pool is None:
            self._pool = EnginePool(
                limit=self.settings.limit,
                idle_seconds=self.settings.idle_seconds,
                context_length=self.settings.context_length,
            )
        return self._pool

    async def aclose(self) -> None:
        """Stop every engine; none is started afterwards."""
        self.hang_up()
        await self.pool.close()
        await super().aclose()

    async def fetch_models(self) -> list[ModelInfo]:
        """Look for files; one that no engine could load is left out."""
        files = await asyncio.to_thread(self.find_files)
        self._files = {file.id: file for file in files}
        return [
            self._info(file, file.info)
            for file in files
            if file.info is not None and not file.info.is_projector
        ]

    def find_files(self) -> tuple[LocalModelFile, ...]:
        """Find every model file, broken ones too, and the demo model; blocks while it reads."""
        settings = self.settings
        stores = {"OLLAMA_MODELS": str(settings.ollama_models)} if settings.ollama_models else {}
        found = find_models(paths=settings.model_paths, home=settings.home, environ=stores)
        return (*found, demo_model())

    def adapt(self, request: CompletionRequest, info: ModelInfo) -> CompletionRequest:
        """Add what Ollama keeps beside a file, without which it is not the same model."""
        file = self._files[info.id]
        messages = request.messages
        if file.system and messages[0].role != "system":
            messages = (CompletionMessage.system(file.system), *messages)
        options = {
            _OLLAMA_OPTIONS[name]: value
            for name, value in file.parameters.items()
            if name in _OLLAMA_OPTIONS and _OLLAMA_OPTIONS[name] not in self.config.custom_params
        }
        return replace(request, messages=messages, options={**options, **request.options})

    def answers_as(self, info: ModelInfo, answered: str) -> bool:  # noqa: ARG002  one model each
        """Accept the answer: the child has this one model and no other."""
        return True

    @contextlib.asynccontextmanager
    async def target(
        self, info: ModelInfo, *, within: float | None = None, phase: str = "first_token"
    ) -> AsyncGenerator[Target]:
        """Have the model loaded by a child for as long as the request takes."""
        async with contextlib.AsyncExitStack() as stack:
            yield await in_time(within, phase, self.label, self._leased(info, stack))

    async def _leased(self, info: ModelInfo, stack: contextlib.AsyncExitStack) -> Target:
        lease = partial(self.pool.lease, self._files[info.id])
        try:
            engine = await stack.enter_async_context(lease())
            if not await self._lives(engine):
                engine = await stack.enter_async_context(lease())
        except EngineError as error:
            raise _explained(error) from error
        return _target(engine)

    async def running_models(self) -> list[RunningModel]:
        """List the files that a child has loaded; how much memory that takes is not known."""
        now = datetime.now(tz=UTC).timestamp()
        found = [(info, self._files[info.id]) for info in await self._catalog.get(fresh=True)]
        return [
            RunningModel(
                model=info.id,
                service=self.id,
                expires_at=None if (left := self.pool.leaves_in(file)) is None else now + left,
                context_length=info.loaded_context_length,
            )
            for info, file in found
            if info.loaded
        ]

    async def resident(self, info: ModelInfo) -> LoadedModel | None:
        """Look whether a child has it loaded."""
        return self._described(info) if self.pool.holds(self._files[info.id]) else None

    async def load_model(
        self,
        info: ModelInfo,
        context_length: int | None,  # noqa: ARG002  refused before, or told by `fits`
        keep_alive: float | None,  # noqa: ARG002  refused before
    ) -> LoadedModel:
        """Have a child load it, another than one that has it now."""
        await self.unload_model(info, info.id)
        async with self.target(info):
            return self._described(info)

    async def unload_model(self, info: ModelInfo, name: str) -> bool:  # noqa: ARG002  one copy each
        """End the child that has it loaded, unless it is answering."""
        try:
            return await self.pool.unload(self._files[info.id])
        except EngineError as error:
            raise _explained(error) from error

    def _described(self, info: ModelInfo) -> LoadedModel:
        length = self._context(info.context_length)
        return LoadedModel(model=info.id, service=self.id, context_length=length)

    def _context(self, longest: int | None) -> int:
        return min(self.settings.context_length, longest or 2**63)

    async def _lives(self, engine: Engine) -> bool:
        """Ask the child for a sign of life: of its end asyncio hears a moment too late."""
        health = HTTPRequest(path="/health")
        try:
            await self.send(health, within=_SIGN_OF_LIFE, target=_target(engine))
        except ServiceTimeout:
            return True  # busy
        except ProviderError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SIGN_OF_LIFE):
                    await engine.wait_closed()
        return engine.alive

    def _info(self, file: LocalModelFile, header: GGUFInfo) -> ModelInfo:
        chats = not header.is_embedding
        told = {
            "max_tokens": header.context_length,
            "supports_chat": chats,
            "supports_completions": chats,
            "supports_streaming": chats,
            # The engine joins the tokens' vectors of any model into one.
            "supports_embeddings": True,
            "supports_vision": file.projector is not None,
            "supports_tools": header.supports_tools,
            "supports_thinking": header.supports_thinking,
        }
        loaded = self._pool is not None and self._pool.holds(file)
        length = self._context(header.context_length)
        return ModelInfo(
            id=file.id,
            service=self.id,
            display_name=header.name,
            owned_by=file.source,
            capabilities=capabilities(
                file.id, told, source=Source.MODEL_FILE, parameters=header.parameter_count
            ),
            size_bytes=header.size_bytes,
            parameter_count=header.parameter_count,
            architecture=header.architecture,
            quantization=header.quantization,
            format="gguf",
            demo=file.demo,
            **state(
                Source.SERVER,
                context_source=Source.MODEL_FILE,
                context_length=header.context_length,
                loaded_context_length=length if loaded else None,
                loaded=loaded,
            ),
        )


def _target(engine: Engine) -> Target:
    return Target(
        endpoint=parse_endpoint(engine.url, default_port=80), api_key=Secret(engine.api_key)
    )


def _explained(error: EngineError) -> ProviderError:
    """Turn the engine's error into ours: busy passes, closed is over, the rest is its failure."""
    if error.kind == "busy":
        return RateLimited(str(error))
    if error.kind == "closed":
        return ProviderClosed(str(error))
    return ServiceError(str(error))


SERVICE = ServiceSpec(
    name=EmbeddedProvider.service_type,
    label=EmbeddedProvider.label,
    docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    provider=EmbeddedProvider,
    start_hint='pip install "patinox[embedded]"',
    stand_in=True,
    available=engine_available,
    shown_of="the real engine of `xllamacpp` 2026.10, with the demo model",
    rank=90,
)
