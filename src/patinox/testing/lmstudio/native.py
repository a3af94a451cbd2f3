"""The emulated LM Studio's native REST API (`/api/v1`): models, and a chat with strict input.

https://lmstudio.ai/docs/developer/rest
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from patinox.testing.lmstudio import errors
from patinox.testing.lmstudio.express import as_count, as_text, reply_json
from patinox.testing.lmstudio.models import LMStudioModel
from patinox.testing.lmstudio.state import Instance, LoadFailed, Studio, Switches

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from patinox.testing.exchange import Exchange
    from patinox.testing.lmstudio.shapes import Json

_INDENT = 2
_LOAD_CONFIG = {
    "context_length",
    "eval_batch_size",
    "flash_attention",
    "num_experts",
    "offload_kv_cache_to_gpu",
    "parallel",
}


class Download(msgspec.Struct):
    """A download; each look at its status finds it a step further."""

    id: str
    model: LMStudioModel
    started_at: str
    steps: int = 0
    completed_at: str | None = None


class NativeModelRoutes:
    """Listing, loading, unloading and downloading of models."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._downloads: dict[str, Download] = {}

    async def models(self, exchange: Exchange) -> None:
        """`GET /api/v1/models`: every downloaded model."""
        rows = [self._row(model) for model in self._studio.models]
        await reply_json(exchange, {"models": rows}, indent=_INDENT)

    def _row(self, model: LMStudioModel) -> Json:
        embeds = model.kind == "embedding"
        quantization = {"name": model.quantization, "bits_per_weight": model.bits_per_weight}
        row: Json = {
            "type": "embedding" if embeds else "llm",
            "publisher": model.publisher,
            "key": model.key,
            "display_name": model.display_name or model.key,
            **({} if embeds else {"architecture": model.architecture}),
            "quantization": quantization,
            "size_bytes": model.size_bytes,
            "params_string": model.params_string,
            "loaded_instances": list(map(self._loaded, self._studio.instances_of(model))),
            "max_context_length": model.max_context_length,
            "format": model.format,
        }
        return row if embeds else row | _abilities(model)

    def _loaded(self, instance: Instance) -> Json:
        row: Json = {"id": instance.id, "config": instance.config}
        remaining = self._studio.remaining_ttl(instance)
        return row if remaining is None else {**row, "remaining_ttl_seconds": remaining}

    async def load(self, exchange: Exchange, body: Json) -> None:
        """`POST /api/v1/models/load`: one more instance, also of a model that is loaded."""
        check_keys(body, required=("model",), known=_LOAD_CONFIG | {"model", "echo_load_config"})
        name = as_text(body["model"])
        model = self._studio.with_key(name)
        if model is None:
            raise errors.not_downloaded(name)
        config = {key: body[key] for key in body if key in _LOAD_CONFIG - {"context_length"}}
        try:
            instance = await self._studio.load(
                model, context_length=as_count(body.get("context_length")), config=config
            )
        except LoadFailed as failure:
            raise errors.internal(errors.load_failure(model.key, str(failure))) from failure
        reply: Json = {
            "type": "embedding" if model.kind == "embedding" else "llm",
            "instance_id": instance.id,
            "load_time_seconds": self._studio.switches.load_seconds,
            "status": "loaded",
        }
        if body.get("echo_load_config") is True:
            reply["load_config"] = instance.config
        await reply_json(exchange, reply, indent=_INDENT)

    async def unload(self, exchange: Exchange, body: Json) -> None:
        """`POST /api/v1/models/unload`."""
        check_keys(body, required=("instance_id",))
        identifier = as_text(body["instance_id"])
        if not self._studio.unload(identifier):
            raise errors.not_loaded(identifier)
        await reply_json(exchange, {"instance_id": identifier}, indent=_INDENT)

    async def download(self, exchange: Exchange, body: Json) -> None:
        """`POST /api/v1/models/download`."""
        check_keys(body, required=("model",), known={"model", "quantization"})
        key = _catalog_key(as_text(body["model"]))
        if self._studio.with_key(key) is not None:
            await reply_json(exchange, {"status": "already_downloaded"}, indent=_INDENT)
            return
        quantization = as_text(body.get("quantization")) or "Q4_K_M"
        model = LMStudioModel(key=key, quantization=quantization)
        job = Download(self._studio.new_id("job_", 10), model, _now())
        self._downloads[job.id] = job
        reply = {
            "job_id": job.id,
            "status": "downloading",
            "total_size_bytes": model.size_bytes,
            "started_at": job.started_at,
        }
        await reply_json(exchange, reply, indent=_INDENT)

    async def download_status(self, exchange: Exchange, identifier: str) -> None:
        """`GET /api/v1/models/download/status/{job_id}`: each look a step further, then usable."""
        job = self._downloads.get(identifier)
        if job is None:
            raise errors.unknown_job(identifier)
        switches = self._studio.switches
        last = switches.download_steps if switches.download_end == "completed" else 1
        job.steps = min(job.steps + 1, last)
        if job.steps == switches.download_steps and job.completed_at is None:
            job.completed_at = _now()
            self._studio.models.append(job.model)
        await reply_json(exchange, _progress(job, switches), indent=_INDENT)


def _abilities(model: LMStudioModel) -> Json:
    capabilities: Json = {"vision": model.kind == "vlm", "trained_for_tool_use": model.tools}
    if model.reasoning:
        default = model.reasoning_default or model.reasoning[-1]
        capabilities["reasoning"] = {"allowed_options": model.reasoning, "default": default}
    return {
        "capabilities": capabilities,
        "description": None,
        "variants": [model.variant],
        "selected_variant": model.variant,
    }


def _progress(job: Download, switches: Switches) -> Json:
    total, steps = job.model.size_bytes, switches.download_steps
    stuck = switches.download_end != "completed"
    row: Json = {
        "job_id": job.id,
        "status": switches.download_end if stuck or job.completed_at else "downloading",
        "total_size_bytes": total,
        "downloaded_bytes": total * job.steps // steps,
        "started_at": job.started_at,
    }
    if job.completed_at is not None:
        return row | {"completed_at": job.completed_at}
    if stuck:
        return row
    return row | {"bytes_per_second": total // steps, "estimated_completion": _now()}


def _catalog_key(name: str) -> str:
    """Return a catalog name, or the `publisher/name` in a Hugging Face address."""
    return urlsplit(name).path.strip("/").lower() if "://" in name else name


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_keys(
    body: Json, *, required: tuple[str, ...], known: AbstractSet[str] | None = None
) -> None:
    """Refuse what the strict schema of a native route refuses; required keys are texts."""
    for name in required:
        if name not in body:
            raise errors.parameter_missing(name)
        if not isinstance(body[name], str):
            raise errors.native(400, f"'{name}' must be a string", code="invalid_value", param=name)
    unknown = [name for name in body if name not in (known or required)]
    if unknown:
        raise errors.unrecognized_keys(unknown)
