"""LM Studio: OpenAI-compatible for answers, its native routes for what they alone know.

Dialect: `dialects/openai.py`. API: https://lmstudio.ai/docs/developer/rest
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from patinox.provider.errors import AuthenticationError, InvalidRequest
from patinox.provider.local.config import LMStudioConfig
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.faults import Rule, read_fault
from patinox.provider.local.dialects.openai import OpenAIDialect
from patinox.provider.local.errors import ModelNotFound, ModelNotLoaded, ParseError, ServiceError
from patinox.provider.local.facts import capabilities, parameter_count, state
from patinox.provider.local.features import NO_SHORTER_VECTORS, Feature, Lacks
from patinox.provider.local.lmstudio_lifecycle import (
    NATIVE_VERSION,
    Abilities,
    LMStudioLifecycle,
    NativeModel,
)
from patinox.provider.local.spec import Identity, ServiceSpec
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.waiting import of_each
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.local.wire.json import Count, Name, decode_json
from patinox.provider.types import ModelInfo, Source

RULES: tuple[Rule, ...] = (
    (r"invalid_api_key|lm studio api token|permission denied", AuthenticationError),
    (r"model_not_found|invalid model identifier|not found in downloaded", ModelNotFound),
    (r"is not loaded|no models loaded", ModelNotLoaded),
    (r"failed to load model|error loading model", ServiceError),
    (r"has crashed|model (un|re)loaded|fetch failed|exit code", ServiceError),
    (r"unrecognized_keys|response_format|tool_choice|'url' field", InvalidRequest),
)
_OLD = HTTPRequest(path="/api/v0/models")
_COMPATIBLE = HTTPRequest(path="/v1/models")
# To whom `/v1/models` says that models belong: Ollama, llama.cpp, llama-swap, koboldcpp, vLLM.
_OTHERS = ("library", "llamacpp", "llama-swap", "koboldcpp", "vllm")
_INSTANCE = re.compile(r":[0-9]+$")


class _OldModel(msgspec.Struct, gc=False):
    """An entry of `/api/v0/models`, LM Studio 0.3.6 and later."""

    id: Name
    owned_by: str | None = None
    type: str | None = None
    publisher: str | None = None
    arch: str | None = None
    compatibility_type: str | None = None
    quantization: str | None = None
    state: str | None = None
    max_context_length: Count | None = None
    loaded_context_length: Count | None = None
    capabilities: list[str] | None = None


class _OldList(msgspec.Struct):
    data: list[msgspec.Raw]


class _Greeting(msgspec.Struct):
    lmstudio: bool


class _Status(msgspec.Struct):
    package: str
    version: str


class LMStudioProvider(LMStudioLifecycle):
    """LM Studio at one address."""

    service_type: ClassVar[str] = "lmstudio"
    label: ClassVar[str] = "LM Studio"
    dialect: ClassVar[Dialect] = OpenAIDialect(rules=RULES, counts_embedding_tokens=False)
    lacks: ClassVar[Lacks] = {
        Feature.INFILL: (
            "goes on with a text but fills in no middle",
            "Leave the suffix out, or use a model on Ollama or llama.cpp.",
        ),
        Feature.LOGPROBS: (
            "does not tell how probable tokens are",
            "Leave `logprobs` out, or use a model on Ollama or llama.cpp.",
        ),
        **NO_SHORTER_VECTORS,
    }
    default_port: ClassVar[int] = 1234
    cuts_texts: ClassVar[bool] = True
    keeps_connections: ClassVar[bool] = True
    loads_twice: ClassVar[bool] = True

    @property
    def inferred_version(self) -> str | None:
        """The version that the newest list it serves implies."""
        return self._version

    async def fetch_models(self) -> list[ModelInfo]:
        """List models from the newest route the server has; a refused key is no missing route."""
        if isinstance(self.config, LMStudioConfig) and self.config.use_openai_compat:
            return await self._compatible()
        for version, fetch in ((NATIVE_VERSION, self._native), ("0.3.x", self._old)):
            with contextlib.suppress(ParseError, ModelNotFound):
                models = await fetch()
                self._version = version
                return models
        return await self._compatible()

    def call_name(self, info: ModelInfo) -> str:
        """Ask for the instance that is loaded, else for the model."""
        return info.aliases[0] if info.loaded and info.aliases else info.id

    def answers_as(self, info: ModelInfo, answered: str) -> bool:
        """Compare without the number of an instance and the name of a variant."""
        names = {_bare(name) for name in (info.id, *info.aliases)}
        return _bare(answered) in names

    async def _native(self) -> list[ModelInfo]:
        return await of_each(await self.native_models(), self._from_native)

    async def _old(self) -> list[ModelInfo]:
        return await of_each(await self._data(_OLD), self._from_old)

    async def _compatible(self) -> list[ModelInfo]:
        models = await self._data(_COMPATIBLE)
        # Others have this route too: one of them may have taken the port since LM Studio was there.
        whose = next((model.owned_by for model in models if model.owned_by in _OTHERS), None)
        if whose is not None:
            msg = f"{self.endpoint} is not {self.label} any more: its models belong to {whose!r}."
            raise ParseError(msg)
        return await of_each(models, self._from_compatible)

    def _from_compatible(self, model: _OldModel) -> ModelInfo:
        told = capabilities(model.id, {}, source=Source.SERVER)
        return ModelInfo(id=model.id, service=self.id, capabilities=told)

    async def _data(self, request: HTTPRequest) -> list[_OldModel]:
        listed = await self.ask(request, _OldList)
        return await self.entries(request, listed.data, _OldModel, at="$.data")

    def _from_native(self, model: NativeModel) -> ModelInfo:
        instances = model.loaded_instances or []
        running = instances[0].config if instances else None
        abilities = model.capabilities or Abilities()
        parameters = parameter_count(model.params_string)
        told = {
            "max_tokens": model.max_context_length,
            **_kind(model.type),
            "supports_vision": abilities.vision,
            "supports_tools": abilities.trained_for_tool_use,
            "supports_thinking": abilities.reasoning is not None if model.capabilities else None,
        }
        return ModelInfo(
            id=model.key,
            service=self.id,
            display_name=model.display_name,
            aliases=(*(instance.id for instance in instances), *(model.variants or ())),
            owned_by=model.publisher,
            capabilities=capabilities(model.key, told, source=Source.SERVER, parameters=parameters),
            parallel=running.parallel if running else None,
            size_bytes=model.size_bytes,
            parameter_count=parameters,
            architecture=model.architecture,
            quantization=model.quantization.name if model.quantization else None,
            format=model.format,
            **state(
                Source.SERVER,
                context_length=model.max_context_length,
                loaded_context_length=running.context_length if running else None,
                loaded=None if model.loaded_instances is None else bool(instances),
            ),
        )

    def _from_old(self, model: _OldModel) -> ModelInfo:
        told = {
            "max_tokens": model.max_context_length,
            **_kind(model.type),
            "supports_tools": "tool_use" in model.capabilities if model.capabilities else None,
        }
        return ModelInfo(
            id=model.id,
            service=self.id,
            owned_by=model.publisher,
            capabilities=capabilities(model.id, told, source=Source.SERVER),
            architecture=model.arch,
            quantization=model.quantization or None,
            format=model.compatibility_type,
            **state(
                Source.SERVER,
                context_length=model.max_context_length,
                loaded_context_length=model.loaded_context_length,
                loaded=None if model.state is None else model.state == "loaded",
            ),
        )


def _kind(kind: str | None) -> dict[str, bool]:
    """Read the type of a model: `llm`, `vlm`, and two spellings for embeddings."""
    if kind in {"embedding", "embeddings"}:
        return {"supports_chat": False, "supports_completions": False, "supports_embeddings": True}
    if kind not in {"llm", "vlm"}:
        return {}
    told = {
        "supports_chat": True,
        "supports_completions": True,
        "supports_insert": False,
        "supports_streaming": True,
        "supports_embeddings": False,
    }
    # 0.3 says `vlm` for vision; 0.4 says `llm` and has vision among the capabilities.
    return {**told, "supports_vision": True} if kind == "vlm" else told


def _bare(name: str) -> str:
    return _INSTANCE.sub("", name).partition("@")[0].casefold()


def identify(replies: Sequence[HTTPReply | None]) -> Identity | None:
    """Accept what greets as LM Studio: its 200 alone proves nothing, it says so to any path."""
    greeting, status = replies
    if greeting is None:
        return None
    if greeting.status in {401, 403}:
        known = "lm studio api token" in read_fault(greeting.body).searchable
        return Identity(status=ServiceStatus.UNAUTHORIZED, detail="wants a key") if known else None
    try:
        if not decode_json(greeting.body, _Greeting, what="greeting").lmstudio:
            return None
    except ParseError:
        return None
    return Identity(version=_told_version(status))


def _told_version(status: HTTPReply | None) -> str | None:
    if status is None or not status.ok:
        return None
    try:
        return decode_json(status.body, _Status, what="status").version
    except ParseError:
        return None


SERVICE = ServiceSpec(
    name=LMStudioProvider.service_type,
    label=LMStudioProvider.label,
    docs="https://lmstudio.ai/docs/developer/rest",
    provider=LMStudioProvider,
    default_endpoints=("http://localhost:1234",),
    endpoint_variable="LMSTUDIO_ENDPOINT",
    start_hint="lms server start",
    probes=(HTTPRequest(path="/lmstudio-greeting"), HTTPRequest(path="/lms-status")),
    identify=identify,
    since={Feature.TOOLS: "0.3.6", Feature.FORCED_TOOL: "0.3.15"},
    shown_of="emulated 0.3 and 0.4, built to its documentation and to recorded replies",
    rank=20,
)
