"""Downloads of the emulated Ollama: their progress, what breaks them, and what stays of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from patinox.testing.ollama.go_json import OllamaError, without_empty
from patinox.testing.ollama.models import OllamaModel
from patinox.testing.ollama.names import Name
from patinox.testing.ollama.state import Store

_STEPS = 4


class OllamaPullFault(msgspec.Struct, frozen=True):
    """What goes wrong with one download.

    Attributes:
        after: lines that are sent before.
        error: what Ollama says was wrong, as when its registry fails; `None`: the connection is
            closed, as when Ollama itself ends.
    """

    after: int
    error: str | None = None


class PullBroken(Exception):
    """The connection is to be closed now."""


class Pulls:
    """The downloads of one emulated Ollama; each uses up one of the `faults`."""

    def __init__(
        self, store: Store, pullable: Iterable[OllamaModel], faults: list[OllamaPullFault]
    ) -> None:
        self._faults = faults
        self._store = store
        self._registry = {model.parsed.key: model for model in pullable}
        self._here: dict[str, int] = {}  # bytes of each layer, by its digest

    def run(self, name: Name) -> Iterator[dict[str, object]]:
        """Download a model; yields the progress.

        Raises:
            OllamaError: there is no such model, or a fault says so.
            PullBroken: a fault says so.
        """
        lines = self._lines(name)
        if self._faults:
            fault = self._faults.pop(0)
            yield from islice(lines, fault.after)
            raise PullBroken if fault.error is None else OllamaError(500, fault.error)
        yield from lines

    def _lines(self, name: Name) -> Iterator[dict[str, object]]:
        yield {"status": "pulling manifest"}
        model = self._registry.get(name.key)
        if model is None:
            raise OllamaError(500, "pull model manifest: file does not exist")
        there = {digest for entry in self._store.listed() for digest, _ in _layers(entry.model)}
        for digest, size in _layers(model):
            yield from self._layer(digest, size, there=digest in there)
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        self._store.add(model)
        for digest, _ in _layers(model):
            self._here.pop(digest, None)  # from now on they are the model's, and go with it
        yield {"status": "success"}

    def _layer(self, digest: str, size: int, *, there: bool) -> Iterator[dict[str, object]]:
        """Fetch one layer: what is there already is told in one line."""
        done = size if there else self._here.get(digest, 0)
        while True:
            self._here[digest] = done
            yield {
                "status": f"pulling {digest[:12]}",
                "digest": f"sha256:{digest}",
                "total": size,
                **without_empty(completed=done),
            }
            if done == size:
                return
            done = min(done + -(-size // _STEPS), size)


def _layers(model: OllamaModel) -> list[tuple[str, int]]:
    """Digest and size of each layer, the weights first."""
    further = sum(model.layers)
    weights = model.weights_digest
    return [
        (weights, model.size - further),
        *(
            (hashlib.sha256(f"{weights}{number}".encode()).hexdigest(), size)
            for number, size in enumerate(model.layers)
        ),
    ]
