"""llama.cpp's own server, with one model or as a router of several.

Dialect: `dialects/llamacpp.py`. API: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from patinox.provider.errors import CapabilityNotSupported, InvalidRequest
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.llamacpp import LLAMACPP
from patinox.provider.local.errors import ParseError
from patinox.provider.local.facts import State, capabilities, guess, state
from patinox.provider.local.features import NO_SHORTER_VECTORS, Lacks
from patinox.provider.local.flight import side_by_side
from patinox.provider.local.llamacpp_lifecycle import LlamaCppLifecycle, Meta, Model
from patinox.provider.local.spec import Identity, ServiceSpec
from patinox.provider.local.types import ServiceStatus
from patinox.provider.local.waiting import of_each
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest, json_request
from patinox.provider.local.wire.json import Count, decode_leniently
from patinox.provider.types import ModelInfo, Source

_OLLAMA_BLOB = re.compile(r"blobs[/\\]sha256-")
_THINKING = re.compile(r"enable_thinking|<think>|reasoning_content")


_NOT_NOW = {
    401: Identity(status=ServiceStatus.UNAUTHORIZED, detail="wants a key"),
    503: Identity(status=ServiceStatus.WARMING, detail="loading its model"),
}


class _Settings(msgspec.Struct):
    n_ctx: Count | None = None


class _Props(msgspec.Struct):
    """What `/props` says; the three without a default prove that it is llama.cpp."""

    default_generation_settings: _Settings
    build_info: str
    chat_template: str | None = None
    total_slots: Count | None = None
    role: str | None = None
    model_path: str = ""
    model_ftype: str | None = None
    modalities: dict[str, bool] = {}
    chat_template_caps: dict[str, bool] | None = None
    is_sleeping: bool = False


class LlamaCppProvider(LlamaCppLifecycle):
    """llama.cpp's server at one address."""

    service_type: ClassVar[str] = "llamacpp"
    label: ClassVar[str] = "llama.cpp"
    dialect: ClassVar[Dialect] = LLAMACPP
    cuts_prompts: ClassVar[bool] = False
    lacks: ClassVar[Lacks] = NO_SHORTER_VECTORS
    default_port: ClassVar[int] = 8080
    prefills: ClassVar[bool] = True

    async def fetch_models(self) -> list[ModelInfo]:
        """List the model, or the router's models, with what the server says of itself."""
        async with side_by_side() as group:
            asked = group.create_task(self.told_models())
            described = group.create_task(self.ask(HTTPRequest(path="/props"), _Props))
        models, props = asked.result(), described.result()
        self._router, self._sleeping = props.role == "router", props.is_sleeping
        if self._router:
            return await of_each(models, self._routed)
        embeds = None if props.is_sleeping else await self._embeds()
        return await of_each(models, partial(self._single, props=props, embeds=embeds))

    async def _embeds(self) -> bool | None:
        """Ask for vectors of nothing: refused for the empty text, or for lacking the switch."""
        reply = await self.send(json_request("POST", "/v1/embeddings", {"input": ""}, pure=True))
        if reply.ok:
            return True
        error = self.dialect.classify(reply)
        if isinstance(error, CapabilityNotSupported):
            return False
        return True if isinstance(error, InvalidRequest) else None

    def _single(self, model: Model, props: _Props, *, embeds: bool | None) -> ModelInfo:
        meta = model.meta or Meta()
        told = {
            "max_tokens": meta.n_ctx_train,
            **_chat(model.id, embeds=embeds),
            "supports_completions": True,
            "supports_streaming": True,
            "supports_embeddings": embeds,
            "supports_vision": props.modalities.get("vision"),
            "supports_tools": _tools(props.chat_template_caps),
            "supports_thinking": _thinks(props.chat_template),
        }
        now = state(
            Source.SERVER,
            context_length=meta.n_ctx_train,
            loaded_context_length=props.default_generation_settings.n_ctx,
            loaded=not props.is_sleeping,
        )
        info = self._info(model, told, now, quantization=props.model_ftype)
        return replace(info, parallel=props.total_slots)

    def _routed(self, model: Model) -> ModelInfo:
        loaded = None if model.status is None else model.status.value == "loaded"
        longest = model.meta.n_ctx_train if model.meta else None
        now = state(
            Source.SERVER,
            context_length=longest,
            loaded_context_length=model.meta.n_ctx if model.meta and loaded else None,
            loaded=loaded,
        )
        return self._info(model, {"max_tokens": longest, **_modal(model)}, now)

    def _info(
        self,
        model: Model,
        told: dict[str, Any],
        now: State,
        quantization: str | None = None,
    ) -> ModelInfo:
        meta = model.meta or Meta()
        return ModelInfo(
            id=model.id,
            service=self.id,
            aliases=tuple(alias for alias in model.aliases if alias != model.id),
            created=model.created,
            owned_by="llamacpp",
            capabilities=capabilities(
                model.id, told, source=Source.SERVER, parameters=meta.n_params
            ),
            size_bytes=meta.size,
            parameter_count=meta.n_params,
            quantization=quantization,
            format="gguf",
            **now,
        )


def _chat(name: str, *, embeds: bool | None) -> dict[str, bool]:
    """The server cannot tell a model for vectors from one for chat: there the name decides."""
    return {} if embeds and "supports_chat" in guess(name) else {"supports_chat": True}


def _modal(model: Model) -> dict[str, bool]:
    """What goes in and out says what a router's model can do, unless it may be one for vectors."""
    kinds = model.architecture
    if kinds is None or "supports_chat" in guess(model.id):
        return {}
    writes = "text" in kinds.output_modalities
    return {
        "supports_chat": writes,
        "supports_completions": writes,
        "supports_streaming": writes,
        "supports_vision": "image" in kinds.input_modalities,
    }


def _tools(caps: dict[str, bool] | None) -> bool | None:
    if caps is None:
        return None
    return bool(caps.get("supports_tools") or caps.get("supports_tool_calls"))


def _thinks(template: str | None) -> bool | None:
    return None if template is None else _THINKING.search(template) is not None


def identify(replies: Sequence[HTTPReply | None]) -> Identity | None:
    """Accept what names itself in its header and shows its properties, or says why it cannot."""
    health, props = replies
    if health is None or props is None:
        return None
    named = "llama.cpp" in {health.headers.get("server"), props.headers.get("server")}
    if named and props.status in _NOT_NOW:
        return _NOT_NOW[props.status]
    if not props.ok or not (named or health.body.strip().startswith(b'{"status"')):
        return None
    with contextlib.suppress(ParseError):
        told = decode_leniently(props.body, _Props, what="/props")
        # A child of Ollama lives and dies with its parent, which is found by itself.
        if not _OLLAMA_BLOB.search(told.model_path):
            return Identity(version=_build(told.build_info))
    return None


def _build(build_info: str) -> str | None:
    """Read the build number; 0 and 1 are what self-made builds say."""
    found = re.match(r"b([0-9]{1,9})-", build_info)
    return f"b{found[1]}" if found and int(found[1]) > 1 else None


SERVICE = ServiceSpec(
    name=LlamaCppProvider.service_type,
    label=LlamaCppProvider.label,
    docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    provider=LlamaCppProvider,
    default_endpoints=("http://localhost:8080", "http://localhost:9931"),
    endpoint_variable="LLAMACPP_ENDPOINT",
    start_hint="llama-server -m model.gguf",
    probes=(HTTPRequest(path="/health"), HTTPRequest(path="/props")),
    identify=identify,
    shown_of="a real one of build 11541 with one model; a router is emulated, built to its sources",
    rank=30,
)
