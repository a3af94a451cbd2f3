"""Replies of llama.cpp's server, and its errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeGuard

from patinox.testing.exchange import Exchange
from patinox.testing.llamacpp.models import LlamaCppModel, Resident

_CREATED = 1_795_349_474
_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
_MODALITIES = {"input_modalities": ["text"], "output_modalities": ["text"]}


class LlamaCppError(Exception):
    """An error as llama.cpp reports it."""

    def __init__(self, status: int, message: str, kind: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": status, "message": message, "type": kind, **more}}


async def reply(
    exchange: Exchange, value: object, *, status: int = 200, close: bool = False
) -> None:
    """Answer with JSON; after an error the connection is closed."""
    headers = {"Connection": "close"} if close else {}
    await exchange.reply(status, to_json(value), headers=headers)
    if close:
        exchange.close()


def to_json(value: object) -> bytes:
    """Write JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether this is a JSON array."""
    return isinstance(value, list)


def props(model: LlamaCppModel, build_info: str, *, sleeping: bool) -> dict[str, Any]:
    """Return `/props` of a server with one model, or of one model of a router."""
    return {
        "default_generation_settings": {
            "params": {"temperature": 0.800000011920929, "top_k": 40, "max_tokens": -1},
            "n_ctx": model.context_length,
        },
        "total_slots": 1,
        "model_alias": model.id,
        "model_ftype": "Q4_K - Medium",
        "model_path": f"/models/{model.id.rpartition('/')[2]}.gguf",
        "modalities": {"vision": False, "video": False, "audio": False},
        "endpoint_slots": True,
        "endpoint_props": False,
        "endpoint_metrics": False,
        "chat_template": _TEMPLATE,
        "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False},
        "build_info": build_info,
        "is_sleeping": sleeping,
    }


def router_props(build_info: str, most: int) -> dict[str, Any]:
    """Return `/props` of a router."""
    return {
        "role": "router",
        "max_instances": most,
        "models_autoload": True,
        "model_alias": "llama-server",
        "model_path": "none",
        "default_generation_settings": {"params": {}, "n_ctx": 0},
        "ui_settings": {},
        "build_info": build_info,
        "cors_proxy_enabled": False,
    }


def only(model: LlamaCppModel) -> dict[str, Any]:
    """Return `/v1/models` of a server with one model."""
    listed = {
        "name": model.id,
        "model": model.id,
        "modified_at": "",
        "size": "",
        "digest": "",
        "type": "model",
        "tags": [""],
        "capabilities": ["completion"],
        "details": {"format": "gguf", "family": ""},
    }
    entry = _entry(model) | {"owned_by": "llamacpp", "meta": _meta(model)}
    return {"models": [listed], "object": "list", "data": [entry]}


def routed(residents: Iterable[Resident]) -> dict[str, Any]:
    """Return `/models` of a router."""
    return {"data": [_routed(one) for one in residents], "object": "list"}


def _routed(resident: Resident) -> dict[str, Any]:
    model, state = resident.model, resident.state
    status: dict[str, object] = {"value": state, "args": ["llama-server", "--alias", model.id]}
    if resident.failed:
        status |= {"failed": True, "exit_code": model.exit_code}
    if state == "loading":
        status["progress"] = resident.progress
    return {
        **_entry(model),
        "owned_by": "llamacpp",
        "status": status,
        "source": "cache",
        "can_remove": True,
        **({"meta": _meta(model)} if state == "loaded" else {}),
    }


def _entry(model: LlamaCppModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "aliases": list(model.aliases),
        "tags": [],
        "object": "model",
        "architecture": _MODALITIES,
        "created": _CREATED,
    }


def _meta(model: LlamaCppModel) -> dict[str, object]:
    return {
        "vocab_type": 2,
        "n_vocab": 151_936,
        "n_ctx": model.context_length,
        "n_ctx_train": model.trained_length,
        "n_embd": 2560,
        "n_params": model.parameters,
        "size": model.size_bytes,
        "ftype": "Q4_K - Medium",
    }
