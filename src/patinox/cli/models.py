"""`patinox models` and `patinox show`: what there is, what it can do, and how that is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from patinox.cli.output import DONE, Output
from patinox.cli.render import (
    INDENT,
    NOTHING,
    Canvas,
    Cell,
    blocks,
    join,
    parameters,
    printable,
    size,
    table,
    tokens,
    wrap,
)
from patinox.cli.session import (
    DEMO,
    Setup,
    chosen_models,
    chosen_services,
    find_model,
    open_local,
    place_name,
    place_of,
)
from patinox.provider.local.types import ServiceType
from patinox.provider.types import ModelInfo, Source

_HEADERS = ("", "MODEL", "CAN", "CONTEXT", "SIZE", "WHERE")
_LOADED = "*"
_ABILITIES = {
    "supports_chat": "chat",
    "supports_tools": "tools",
    "supports_vision": "vision",
    "supports_embeddings": "embed",
    "supports_thinking": "thinking",
}
_OURS = ("id", "service")  # facts that nobody had to tell
_GUESSED = "?"
_CLOUD = "In the cloud: these leave this machine, and are refused without PATINOX_ALLOW_CLOUD=true."


async def models(setup: Setup, out: Output, *, loaded: bool) -> int:
    """List the models."""
    async with open_local(setup, out) as local:
        found = await chosen_models(local, setup)
        if loaded:
            found = [info for info in found if info.loaded]
        places = {info.id: place_name(info) for info in local.services}
        for info in chosen_services(local, setup):
            if not info.status.routable:
                out.remark(f"{place_name(info)} is {info.status}: its models may be missing.")
    if out.as_json:
        out.document([model_document(info) for info in found])
    else:
        out.lines(listing(out.out.canvas, found, places, loaded=loaded))
    return DONE


async def show(setup: Setup, out: Output, name: str) -> int:
    """Tell everything that is known of one model."""
    async with open_local(setup, out) as local:
        info = (await find_model(local, name, setup)).info
        place = place_of(local, info.service)
    if out.as_json:
        out.document(model_document(info))
    else:
        out.lines(description(out.out.canvas, info, place))
    return DONE


def model_document(info: ModelInfo) -> dict[str, Any]:
    """Describe a model as a value of JSON."""
    document: dict[str, Any] = msgspec.to_builtins(info)
    return {"name": str(info.model_id), **document}


def listing(
    canvas: Canvas, found: Sequence[ModelInfo], places: dict[str, str], *, loaded: bool
) -> list[str]:
    """Write the table of models, those of the cloud below and apart."""
    if not found:
        return [f"{INDENT}{'No model is in memory.' if loaded else 'There are no models.'}"]
    local = copies(info for info in found if not info.remote)
    cloud = copies(info for info in found if info.remote)
    rows = [
        *(_row(group, places) for group in local),
        *(["", _CLOUD] if cloud else ()),
        *(_row(group, places) for group in cloud),
    ]
    lines = table(canvas, _HEADERS, rows, folding=1) or [
        *blocks(canvas, [_block(group, places) for group in local]),
        *(["", *wrap(canvas, _CLOUD)] if cloud else ()),
        *blocks(canvas, [_block(group, places) for group in cloud]),
    ]
    notes = [line for note in _notes(found) for line in wrap(canvas, note)]
    return ["", *lines, *(["", *notes] if notes else ()), ""]


def _notes(found: Sequence[ModelInfo]) -> list[str]:
    loaded = f"{_LOADED} in memory" if any(info.loaded for info in found) else None
    guessed = any(_GUESSED in abilities(info) for info in found)
    marks = join(loaded, f"{_GUESSED} guessed from the name" if guessed else None)
    demos = [f"{printable(info.id)} is {DEMO}." for info in found if info.demo]
    return [*demos, *([marks] if marks else ())]


def copies(found: Iterable[ModelInfo]) -> list[list[ModelInfo]]:
    """Put together what is one model in several places: the same name and the same weights."""
    groups = dict[tuple[str, str], list[ModelInfo]]()
    for info in found:
        groups.setdefault((info.id, info.digest or info.service), []).append(info)
    return list(groups.values())


def _row(group: Sequence[ModelInfo], places: dict[str, str]) -> list[Cell]:
    info = _best(group)
    return [
        Cell(_LOADED if info.loaded else "", "green"),
        Cell(printable(info.id), "bold"),
        Cell(abilities(info) or NOTHING),
        Cell(context(info)),
        Cell(size(info.size_bytes)),
        Cell(_where(group, places)),
    ]


def _block(group: Sequence[ModelInfo], places: dict[str, str]) -> tuple[Cell, list[str]]:
    info = _best(group)
    mark = f"{_LOADED} " if info.loaded else ""
    return Cell(mark + printable(info.id), "bold"), [
        abilities(info) or "nobody tells what it can do",
        join(
            _where(group, places),
            None if info.size_bytes is None else size(info.size_bytes),
            None if context(info) == NOTHING else f"{context(info)} context",
        ),
    ]


def _best(group: Sequence[ModelInfo]) -> ModelInfo:
    return next((info for info in group if info.loaded), group[0])


def _where(group: Sequence[ModelInfo], places: dict[str, str]) -> str:
    return ", ".join(printable(places.get(info.service, info.service)) for info in group)


def abilities(info: ModelInfo) -> str:
    """Say what a model can do, in words; a mark tells what was merely guessed from its name."""
    can = info.capabilities
    return " ".join(
        word + (_GUESSED if can.source(field) is Source.NAME else "")
        for field, word in _ABILITIES.items()
        if getattr(can, field)
    )


def context(info: ModelInfo) -> str:
    """Say how long the context is now, and how long it can be."""
    longest, now = info.context_length, info.loaded_context_length
    if now is None or now == longest:
        return tokens(longest)
    return f"{tokens(now)} of {tokens(longest)}"


def description(canvas: Canvas, info: ModelInfo, place: str) -> list[str]:
    """Write every fact of a model with where it was learnt."""
    facts = [(name, value, _learnt(info, field)) for name, value, field in _facts(info, place)]
    rows = [[Cell(name, "dim"), Cell(value), Cell(source, "dim")] for name, value, source in facts]
    lines = table(canvas, ("FACT", "VALUE", "LEARNT FROM"), rows, folding=1)
    narrow = (join(f"{name}: {value}", source) for name, value, source in facts)
    body = lines or [line for fact in narrow for line in wrap(canvas, fact)]
    demo = wrap(canvas, f"It is {DEMO}.") if info.demo else []
    return ["", *wrap(canvas, f"{printable(info.id)} on {printable(place)}"), *demo, "", *body, ""]


def _learnt(info: ModelInfo, field: str) -> str:
    """Say where a fact was learnt; what is not noted stands in the list of models."""
    if field in _OURS:
        return ""
    source = info.sources.get(field) or info.capabilities.sources.get(field)
    listed = Source.MODEL_FILE if info.service == ServiceType.EMBEDDED else Source.SERVER
    return (source or listed).replace("_", " ")


def _facts(info: ModelInfo, place: str) -> list[tuple[str, str, str]]:
    """List name, value and field of each fact; what nobody told is left out."""
    can = info.capabilities
    told: dict[str, tuple[str, str | None]] = {
        "id": ("name", str(info.model_id)),
        "display_name": ("called", info.display_name),
        "aliases": ("also", ", ".join(info.aliases) or None),
        "service": ("where", place),
        "loaded": ("loaded", _yes(info.loaded)),
        "loaded_context_length": ("context now", _exact(info.loaded_context_length)),
        "context_length": ("context at most", _exact(info.context_length)),
        **{
            field: (word, _yes(getattr(can, field)))
            for field, word in (*_ABILITIES.items(), ("supports_completions", "continues text"))
        },
        "parameter_count": (
            "parameters",
            parameters(info.parameter_count) if info.parameter_count else None,
        ),
        "size_bytes": ("size", None if info.size_bytes is None else size(info.size_bytes)),
        "architecture": ("architecture", info.architecture),
        "quantization": ("quantization", info.quantization),
        "format": ("format", info.format),
        "created": ("changed", _date(info.created)),
        "owned_by": ("from", info.owned_by),
        "digest": ("digest", _shortened(info.digest)),
        "remote": ("in the cloud", "yes" if info.remote else None),
    }
    return [
        (name, printable(value), field)
        for field, (name, value) in told.items()
        if value is not None
    ]


def _yes(value: bool | None) -> str | None:  # noqa: FBT001  a fact, not a switch
    return None if value is None else "yes" if value else "no"


def _shortened(digest: str | None) -> str | None:
    """Show as much of a digest as `ollama list` does; `--json` has all of it."""
    return None if digest is None else digest.removeprefix("sha256:")[:12]


def _exact(number: int | None) -> str | None:
    return None if number is None else f"{number:,} tokens"


def _date(seconds: int | None) -> str | None:
    try:
        when = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # servers tell what they like
        return None
    return None if when is None else f"{when:%Y-%m-%d %H:%M} UTC"
