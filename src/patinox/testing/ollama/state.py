"""What the emulated Ollama has installed and what it has in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from patinox.testing.ollama.models import OllamaModel
from patinox.testing.ollama.names import Name

_HOUR = 3600 * 10**9
_NEWEST = 1_787_210_102_123_456_789  # 2026-08-20: a fixed date, in nanoseconds


class Installed(msgspec.Struct, frozen=True):
    """A model and when it was written, in nanoseconds since 1970."""

    model: OllamaModel
    modified: int


class Loaded(msgspec.Struct):
    """A model in memory, under the name it was loaded by; times in nanoseconds."""

    model: OllamaModel
    num_ctx: int
    keep_alive: int
    expires: int = 0
    users: int = 0


class Store:
    """The models on disk and in memory; `clock` gives nanoseconds since 1970."""

    def __init__(
        self, models: Iterable[OllamaModel], *, clock: Callable[[], int], num_ctx: int, keep: int
    ) -> None:
        self.clock = clock
        self._num_ctx = num_ctx
        self._keep = keep
        self._installed: dict[str, Installed] = {}
        self._loaded: dict[str, Loaded] = {}  # by the digest of their weights: copies share one
        for position, model in enumerate(models):
            self._installed[model.parsed.key] = Installed(model, _NEWEST - position * _HOUR)
            if model.loaded:
                self.acquire(model, num_ctx=None, keep_alive=None)
                self.release(model)

    def find(self, name: Name, *, exact: bool = False) -> Installed | None:
        """Return an installed model; `exact` compares upper and lower case too."""
        found = self._installed.get(name.key)
        if found is not None and exact and found.model.parsed.full != name.full:
            return None
        return found

    def listed(self) -> list[Installed]:
        """Return the installed models, newest first."""
        return sorted(self._installed.values(), key=lambda entry: -entry.modified)

    def add(self, model: OllamaModel) -> None:
        """Install a model, over one of the same name."""
        self._installed[model.parsed.key] = Installed(model, self.clock())

    def remove(self, name: Name) -> bool:
        """Delete a model; false if it was not there. It stays in memory as if it still were."""
        return self._installed.pop(name.key, None) is not None

    def running(self) -> list[Loaded]:
        """Return the models in memory, longest remaining first."""
        now = self.clock()
        for key, run in tuple(self._loaded.items()):
            if not run.users and run.expires <= now:
                del self._loaded[key]
        return sorted(self._loaded.values(), key=lambda run: -run.expires)

    def context(self, model: OllamaModel, num_ctx: int | None) -> int:
        """Return the effective context in tokens: of the request, the Modelfile, the server."""
        own = model.parameters.get("num_ctx")
        asked = num_ctx or (own if isinstance(own, int) else 0) or self._num_ctx
        return min(max(asked, 4), model.context_length)

    def acquire(self, model: OllamaModel, *, num_ctx: int | None, keep_alive: int | None) -> bool:
        """Use a model; true if it had to be loaded: it was not there, or with another context."""
        self.running()
        key, context = model.weights_digest, self.context(model, num_ctx)
        run = self._loaded.get(key)
        cold = run is None or run.num_ctx != context
        if run is None:
            run = self._loaded[key] = Loaded(model, context, self._keep)
        if cold:
            run.model, run.num_ctx = model, context
        run.keep_alive = run.keep_alive if keep_alive is None else keep_alive
        run.expires = self.clock() + run.keep_alive
        run.users += 1
        return cold

    def release(self, model: OllamaModel) -> None:
        """Use a model no more: it stays in memory for as long as it is to be kept alive."""
        run = self._loaded.get(model.weights_digest)
        if run is not None:
            run.users -= 1
            run.expires = self.clock() + run.keep_alive

    def unload(self, model: OllamaModel) -> None:
        """Take a model out of memory."""
        self._loaded.pop(model.weights_digest, None)
