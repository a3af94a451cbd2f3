"""Replies of Ollama that describe models: lists, details, progress of a download."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from patinox.testing.ollama.go_json import is_list, quoted, without_empty
from patinox.testing.ollama.models import OllamaModel
from patinox.testing.ollama.requests import ShowRequest
from patinox.testing.ollama.state import Installed, Loaded

_SECOND = 10**9
_SCALE = {"K": 10**3, "M": 10**6, "B": 10**9}
_JINJA = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
_GO_TEMPLATE = "{{ .Prompt }}"


def utc_time(ns: int) -> str:
    """Write a time as `created_at` has it: UTC, up to nine digits of fraction."""
    moment = datetime.fromtimestamp(ns // _SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(ns)}Z"


def local_time(ns: int) -> str:
    """Write a time as `modified_at` has it: local, with the offset."""
    moment = datetime.fromtimestamp(ns // _SECOND, UTC).astimezone()
    offset = f"{moment:%z}"
    shown = f"{offset[:3]}:{offset[3:5]}" if offset.strip("+-0") else "Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(ns)}{shown}"


def details(model: OllamaModel) -> dict[str, object]:
    """Return `details` as ps has them."""
    return {
        "parent_model": "",
        "format": "" if model.remote_model else "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }


def tags_entry(entry: Installed, *, scanned: bool) -> dict[str, object]:
    """Return an entry of `GET /api/tags`; `scanned` (0.30 on): with capabilities and lengths."""
    model = entry.model
    lengths = without_empty(
        context_length=model.context_length, embedding_length=model.embedding_length
    )
    return {
        "name": model.parsed.shortest,
        "model": model.parsed.shortest,
        **_remote(model),
        "modified_at": local_time(entry.modified),
        "size": model.size,
        "digest": model.digest,
        "details": {
            **details(model),
            **({"parent_model": model.parent_model, **lengths} if scanned else {}),
        },
        **(without_empty(capabilities=_scanned_capabilities(model)) if scanned else {}),
    }


def ps_entry(run: Loaded, *, on_gpu: bool) -> dict[str, object]:
    """Return an entry of `GET /api/ps`."""
    size = run.model.size + run.num_ctx * 131_072
    return {
        "name": run.model.parsed.shortest,
        "model": run.model.parsed.shortest,
        "size": size,
        "digest": run.model.digest,
        "details": details(run.model),
        "expires_at": local_time(run.expires),
        "size_vram": size if on_gpu else 0,
        "context_length": run.num_ctx,
    }


def show(
    entry: Installed,
    request: ShowRequest,
    *,
    basename: str | None,
    thinking_levels: tuple[str, ...],
) -> dict[str, object]:
    """Return the reply to `POST /api/show`; `basename` goes where Copilot looks for a name."""
    model = entry.model
    weighs = not model.remote_model
    return {
        "modelfile": _modelfile(model),
        **without_empty(
            parameters="\n".join(_parameter_lines(model.parameters)),
            template=_JINJA if model.path == "native" else _GO_TEMPLATE if weighs else "",
            system=request.system or model.system,
        ),
        "details": {**details(model), "parent_model": model.parent_model},
        **_remote(model),
        "model_info": {
            **_model_info(model, verbose=request.verbose),
            **without_empty(**{"general.basename": basename}),
        },
        **({"tensors": _tensors(model)} if weighs else {}),
        **without_empty(capabilities=list(model.capabilities)),
        **without_empty(thinking=_thinking(model, thinking_levels)),
        "modified_at": local_time(entry.modified),
    }


def _fraction(ns: int) -> str:
    return f".{ns % _SECOND:09d}".rstrip("0").rstrip(".")


def _remote(model: OllamaModel) -> dict[str, object]:
    if not model.remote_model:
        return {}
    return {"remote_model": model.remote_model, "remote_host": model.remote_host}


def _scanned_capabilities(model: OllamaModel) -> list[str]:
    """What a look at the file tells: not what only its own chat template says."""
    unseen = {"tools", "thinking"} if model.path == "native" else set[str]()
    return [capability for capability in model.capabilities if capability not in unseen]


def _thinking(model: OllamaModel, levels: tuple[str, ...]) -> dict[str, object]:
    if "thinking" not in model.capabilities or not levels:
        return {}
    return {"values": levels, "default": levels[0]}


def _model_info(model: OllamaModel, *, verbose: bool) -> dict[str, object]:
    family = model.family
    info: dict[str, object] = {
        "general.architecture": family,
        f"{family}.context_length": model.context_length,
        **without_empty(**{f"{family}.embedding_length": model.embedding_length}),
    }
    if model.remote_model:
        return info
    info |= {
        "general.file_type": 15,
        "general.parameter_count": _parameter_count(model.parameter_size),
        f"{family}.block_count": 28,
        f"{family}.attention.head_count": 24,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "<unk>"] if verbose else None,
    }
    if "embedding" in model.capabilities:
        info[f"{family}.pooling_type"] = 1
    if "vision" in model.capabilities:
        info[f"{family}.vision.block_count"] = 24
    return dict(sorted(info.items()))


def _parameter_count(size: str) -> int:
    return int(float(size[:-1]) * _SCALE[size[-1]])


def _tensors(model: OllamaModel) -> list[dict[str, object]]:
    width = model.embedding_length
    return [
        {"name": "token_embd.weight", "type": "Q6_K", "shape": [width, 128_256]},
        {"name": "output_norm.weight", "type": "F32", "shape": [width]},
    ]


def _modelfile(model: OllamaModel) -> str:
    name = model.parsed.shortest
    weights = model.remote_model or f"/root/.ollama/models/blobs/sha256-{model.weights_digest}"
    return (
        '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        f"# FROM {name}\n\nFROM {weights}\n"
    )


def _parameter_lines(parameters: Mapping[str, object]) -> Iterator[str]:
    for name, value in parameters.items():
        for item in value if is_list(value) else [value]:
            yield f"{name:<30} {_go_value(item)}"


def _go_value(value: object) -> str:
    """Write a value as Go's `%#v` does: numbers from a million on with an exponent."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower()
    if abs(value) < 1_000_000:  # noqa: PLR2004 - said above
        return f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"E?\+(\d)$", r"+0\1", f"{Decimal(str(value)).normalize():e}")
