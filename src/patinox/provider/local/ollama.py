"""Ollama, in its own language: the OpenAI-compatible one hides context, errors and thinking.

Dialect: `dialects/ollama.py`. API: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest, ProviderError
from patinox.provider.local.catalog import distinct
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.ollama import OllamaDialect
from patinox.provider.local.dialects.ollama_reply import unix_time
from patinox.provider.local.errors import ModelNotFound, ParseError, ServiceError, ServiceTimeout
from patinox.provider.local.facts import capabilities, parameter_count, state
from patinox.provider.local.features import Feature, Lacks, Prompt
from patinox.provider.local.flight import side_by_side
from patinox.provider.local.ollama_lifecycle import (
    CLOUD,
    Listed,
    OllamaLifecycle,
    Running,
    named_cloud,
)
from patinox.provider.local.spec import Identity, ServiceSpec, Survey
from patinox.provider.local.waiting import in_time, of_each
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, Name, decode_json, decode_leniently
from patinox.provider.types import (
    CompletionMessage,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    Source,
    TextCompletionRequest,
)

_TAGS = HTTPRequest(path="/api/tags")
_DEFAULT_HOST = "registry.ollama.ai/"
_DEFAULT_NAMESPACE = "library/"
_AT_ONCE = 8
# Of so many models it is asked what they can do; the newest come first.
_MOST_SHOWN = 256
_MOST = 2**63


class _Details(msgspec.Struct, gc=False):
    format: str | None = None
    family: str | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    context_length: Count | None = None


class _Tag(msgspec.Struct, gc=False):
    name: Name
    digest: str = ""
    size: Count | None = None
    modified_at: str | None = None
    details: _Details | None = None
    # Of any shape: whatever stands there, the model is not on this machine.
    remote_host: object = None
    remote_model: object = None
    capabilities: list[str] | None = None


class _Show(msgspec.Struct):
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None
    details: _Details | None = None


class _Debug(msgspec.Struct):
    rendered_template: str = ""


class _Rendered(msgspec.Struct, rename={"debug_info": "_debug_info"}):
    debug_info: _Debug | None = None


class _Version(msgspec.Struct):
    version: str


class OllamaProvider(OllamaLifecycle):
    """Ollama at one address."""

    service_type: ClassVar[str] = "ollama"
    label: ClassVar[str] = "Ollama"
    dialect: ClassVar[Dialect] = OllamaDialect()
    lacks: ClassVar[Lacks] = {
        Feature.FORCED_TOOL: (
            "cannot be made to call a tool: it lets the model decide",
            "Use `tool_choice` auto or none.",
        )
    }
    default_port: ClassVar[int] = 11434
    keeps_connections: ClassVar[bool] = True

    _shown: Mapping[tuple[str, str], _Show] = {}
    _version: str | None = None

    async def resumed(self, request: Prompt, model: ModelId, text: str) -> Prompt:
        """Return the request that goes on where `text` ends, if the model's template allows that.

        Ollama is asked what it makes of the messages: the model goes on only where all ends with
        the text itself.

        Raises:
            CapabilityNotSupported: it ends otherwise, or Ollama does not tell.
            ProviderError: Ollama cannot be asked.
        """
        if isinstance(request, TextCompletionRequest):
            return await super().resumed(request, model, text)
        said = CompletionMessage.assistant(text)
        longer = replace(request, messages=(*request.messages, said))
        info = await self.resolve(model)
        # Older servers do not know the word and answer: no more than a token of that.
        words = {"_debug_render_only": True, "num_predict": 1}
        asked = self.dialect.render_chat(
            replace(longer, max_tokens=None), model=self.call_name(info), stream=False, words=words
        )
        told = await self.send(asked, within=self.deadlines(request).first_token)
        rendered = decode_leniently(told.body, _Rendered, what="The reply to /api/chat")
        prompt = rendered.debug_info.rendered_template if rendered.debug_info else ""
        if not told.ok or not prompt.endswith(text):
            msg = f"The template of {info.id!r} leaves no answer open to be gone on with."
            raise CapabilityNotSupported(msg, service=self.id)
        return longer

    async def survey(self) -> Survey:
        """Ask for names only: `/api/tags` and `/api/ps`."""
        tags, running = await self._listed()
        return Survey(
            models=tuple(tag.name for tag in tags), loaded=tuple(item.name for item in running)
        )

    async def fetch_models(self) -> list[ModelInfo]:
        """Ask for names, state, and, as long as there is time, what each model can do."""
        end = self._clock() + self.config.deadlines.listing
        async with side_by_side() as group:
            listed = group.create_task(self._listed())
            version = group.create_task(self._told_version())
        tags, running = listed.result()
        if version.result() != self._version:
            self._version, self._shown = version.result(), {}
        gate = asyncio.Semaphore(_AT_ONCE)
        async with side_by_side() as group:
            tasks = [group.create_task(self._show(tag, gate, end)) for tag in tags[:_MOST_SHOWN]]
        shown = [task.result() for task in tasks]
        shown += [None] * (len(tags) - len(shown))
        # What /api/show says does not change as long as the digest and the server do not.
        self._shown = {
            (tag.name, tag.digest): show for tag, show in zip(tags, shown, strict=True) if show
        }
        resident = self.resident_among(running)

        def info(told: tuple[_Tag, _Show | None]) -> ModelInfo:
            tag, show = told
            return self._info(tag, show, resident(tag.name, tag.digest))

        return await of_each(list(zip(tags, shown, strict=True)), info)

    def normalize(self, name: str) -> str:
        """Write a name in full but for the default host and namespace."""
        name = name.strip().casefold().removeprefix(_DEFAULT_HOST).removeprefix(_DEFAULT_NAMESPACE)
        return name if ":" in name.rpartition("/")[2] else f"{name}:latest"

    def answers_as(self, info: ModelInfo, answered: str) -> bool:
        """Accept the name that a model has in the cloud itself, without `cloud` in it."""
        names = {self.normalize(info.id)}
        if info.remote:
            names.add(self.normalize(CLOUD.sub("", info.id)))
        return self.normalize(answered) in names

    def unlisted(self, model: ModelId) -> ModelInfo | None:
        """Describe a cloud model, which Ollama passes on without having it in its list."""
        if not named_cloud(model.name) or not self.is_meant(model):
            return None
        return ModelInfo(id=model.name, service=self.id, remote=True)

    async def _listed(self) -> tuple[list[_Tag], list[Running]]:
        async with side_by_side() as group:
            listed = group.create_task(self.ask(_TAGS, Listed))
            running = group.create_task(self.in_memory())
        told = await self.entries(_TAGS, listed.result().models or (), _Tag, at="$.models")
        tags = await distinct(told, lambda tag: (self.normalize(tag.name), tag.digest))
        return tags, running.result()

    async def _told_version(self) -> str | None:
        """Ask for the version; a server that does not tell it is taken for the one it was."""
        try:
            return (await self.ask(HTTPRequest(path="/api/version"), _Version)).version
        except ProviderError:
            return self._version

    async def _show(self, tag: _Tag, gate: asyncio.Semaphore, end: float) -> _Show | None:
        """Ask until `end` what a model can do; one that is not shown must not hide the others."""
        kept = self._shown.get((tag.name, tag.digest))
        if kept is not None:
            return kept
        request = json_request("POST", "/api/show", {"model": tag.name}, pure=True)
        async with gate:
            left = end - self._clock()
            if left <= 0:
                return None
            try:
                return await in_time(left, "listing", self.label, self.ask(request, _Show))
            except (ModelNotFound, ServiceError, ServiceTimeout, ParseError, InvalidRequest):
                return None

    def _info(self, tag: _Tag, show: _Show | None, running: Running | None) -> ModelInfo:
        details = tag.details or _Details()
        architecture, longest = _architecture(show, details)
        now = running.context_length or None if running else None
        parameters = parameter_count(details.parameter_size)
        return ModelInfo(
            id=tag.name,
            service=self.id,
            created=unix_time(tag.modified_at),
            owned_by="ollama",
            capabilities=_capabilities(tag, show, longest, parameters),
            size_bytes=tag.size,
            parameter_count=parameters,
            architecture=architecture,
            quantization=details.quantization_level or None,
            format=details.format or None,
            digest=tag.digest or None,
            remote=bool(tag.remote_host or tag.remote_model) or named_cloud(tag.name),
            **state(
                Source.SERVER,
                context_length=longest,
                loaded_context_length=now,
                loaded=running is not None,
            ),
        )


def _architecture(show: _Show | None, details: _Details) -> tuple[str | None, int | None]:
    """Find architecture and trained context, whose key bears the architecture's name."""
    told = (show.model_info if show else None) or {}
    architecture = told.get("general.architecture")
    longest = told.get(f"{architecture}.context_length")
    return (
        architecture if isinstance(architecture, str) else details.family or None,
        longest if isinstance(longest, int) and 0 <= longest < _MOST else details.context_length,
    )


def _capabilities(
    tag: _Tag, show: _Show | None, longest: int | None, parameters: int | None
) -> ModelCapabilities:
    told: dict[str, Any] = {"max_tokens": longest}
    words = (show.capabilities if show else None) or tag.capabilities
    if words:
        completes = "completion" in words
        # Since 0.30, which lists abilities beside names, models for chat refuse to embed; before,
        # they did, although the abilities do not say so.
        unlisted = None if tag.capabilities is None else False
        told |= {
            "supports_chat": completes,
            "supports_completions": completes,
            "supports_streaming": completes,
            "supports_embeddings": "embedding" in words or unlisted,
            "supports_insert": "insert" in words,
            "supports_vision": "vision" in words,
            "supports_tools": "tools" in words,
            "supports_thinking": "thinking" in words,
        }
    return capabilities(tag.name, told, source=Source.SERVER, parameters=parameters)


def identify(replies: Sequence[HTTPReply | None]) -> Identity | None:
    """Accept what tells an Ollama version *and* greets as Ollama: others copy one of the two."""
    version, greeting = replies
    if version is None or greeting is None or not version.ok:
        return None
    if greeting.body.strip() != b"Ollama is running":
        return None
    try:
        told = decode_json(version.body, _Version, what="/api/version").version
    except ParseError:
        return None
    return Identity(version=told)


SERVICE = ServiceSpec(
    name=OllamaProvider.service_type,
    label=OllamaProvider.label,
    docs="https://github.com/ollama/ollama/blob/main/docs/api.md",
    provider=OllamaProvider,
    default_endpoints=("http://localhost:11434",),
    endpoint_variable="OLLAMA_ENDPOINT",
    start_hint="ollama serve",
    probes=(HTTPRequest(path="/api/version"), HTTPRequest(path="/")),
    identify=identify,
    since={
        Feature.TOOLS: "0.3.0",
        Feature.SCHEMA: "0.5.0",
        Feature.THINK: "0.9.0",
        Feature.THINK_LEVEL: "0.11.0",
        Feature.LOGPROBS: "0.12.11",
        Feature.EMBEDDINGS: "0.2.6",
    },
    shown_of="emulated 0.24, compared with a running one, and 0.33, built to its sources",
    rank=10,
)
