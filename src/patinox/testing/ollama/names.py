"""Names of models as Ollama reads them: `[scheme://][host/][namespace/]model[:tag]`."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from patinox.testing.ollama.go_json import OllamaError, quoted

_HOST = "registry.ollama.ai"
_NAMESPACE = "library"
_TAG = "latest"
_PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}

Source = Literal["cloud", "local"]


class Name(msgspec.Struct, frozen=True):
    """A complete, valid name."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """All four parts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """What names are compared by: all four parts, in lower case."""
        return self.full.lower()

    @property
    def shortest(self) -> str:
        """What is displayed: the default host and namespace are hidden, the tag never."""
        if self.host.lower() != _HOST:
            return self.full
        own = "" if self.namespace.lower() == _NAMESPACE else f"{self.namespace}/"
        return f"{own}{self.model}:{self.tag}"


class Reference(msgspec.Struct, frozen=True):
    """What a request calls a model: a name, and where the model has to run if that is said."""

    name: Name
    base: str
    source: Source | None


def parse_name(text: str) -> Name | None:
    """Read a name; `None` if it is malformed."""
    path, tagged, tag = text.rpartition(":")
    if not tagged or "/" in tag:
        path, tag = text, _TAG
    rest, _, model = path.rpartition("/")
    host, _, namespace = rest.rpartition("/")
    name = Name(
        host=host.rpartition("://")[2] if "/" in rest else _HOST,
        namespace=namespace if "/" in path else _NAMESPACE,
        model=model,
        tag=tag,
    )
    valid = all(rule.fullmatch(getattr(name, part)) for part, rule in _PARTS.items())
    return name if valid else None


def parse_reference(text: str, *, when_empty: OllamaError) -> Reference:
    """Read what a request calls a model.

    Raises:
        OllamaError: `when_empty`, or 400: the name is malformed or says both `:local` and `:cloud`.
    """
    text = text.strip()
    if not text:
        raise when_empty
    base, source = _split_source(text)
    if source and _split_source(base)[1]:
        raise OllamaError(400, f"use either :local or :cloud, not both: {quoted(text)}")
    name = parse_name(base)
    if name is None:
        raise OllamaError(400, "invalid model name")
    return Reference(name, base, source)


def stored_name(reference: Reference) -> Name:
    """Return the name under which a model is pulled and deleted: a cloud model's is a stub's."""
    name = reference.name
    if reference.source != "cloud":
        return name
    tagged = ":" in reference.base.rpartition("/")[2]
    return msgspec.structs.replace(name, tag=f"{name.tag}-cloud" if tagged else "cloud")


def _split_source(text: str) -> tuple[str, Source | None]:
    base, colon, suffix = text.rpartition(":")
    match suffix.strip().lower() if colon else "":
        case "cloud":
            return base, "cloud"
        case "local":
            return base, "local"
        case tag if tag.endswith("-cloud") and "/" not in tag:
            return text.strip()[: -len("-cloud")], "cloud"
        case _:
            return text, None
