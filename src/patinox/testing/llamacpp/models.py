"""What the emulated llama.cpp serves: models, what they answer, and where each is in its life."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from patinox.testing.schemas import asked, sample

State = Literal["unloaded", "loading", "loaded", "sleeping"]
_STAGE = "text_model"


class LlamaCppPrompt(msgspec.Struct, frozen=True):
    """What a model is asked: its name, the last user's text, and the decoded body."""

    model: str
    text: str
    body: Mapping[str, Any]


Reply = str | Callable[[LlamaCppPrompt], str]


class LlamaCppModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the server can load.

    Attributes:
        id: its name; in router mode `user/repo:tag`, say.
        context_length: tokens of context it is loaded with.
        trained_length: tokens it was trained for.
        loaded: whether a router has it in memory at the start.
        exit_code: with which its process ends instead of loading it; `None`: it loads.
        infill: whether it was made to fill in the middle of a text.
        reply: what it answers: a text, or a function of the prompt; `None` repeats the last user
            message, within the JSON schema if there is one.
    """

    id: str
    aliases: tuple[str, ...] = ()
    context_length: int = 4096
    trained_length: int = 32768
    size_bytes: int = 2_497_280_736
    parameters: int = 4_022_468_096
    loaded: bool = False
    exit_code: int | None = None
    infill: bool = False
    reply: Reply | None = None

    def answer(self, prompt: LlamaCppPrompt) -> str:
        """Return what it says to a prompt."""
        if self.reply is None:
            text = f"You said: {prompt.text}"
            schema = asked(prompt.body)
            return text if schema is None else json.dumps(sample(schema, text), ensure_ascii=False)
        return self.reply if isinstance(self.reply, str) else self.reply(prompt)


DEFAULT_MODELS = (
    LlamaCppModel(id="ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", aliases=("gemma",)),
    LlamaCppModel(id="qwen3-0.6b", context_length=8192, parameters=596_049_920),
)


class Resident:
    """One model of a server: where it is between the disk and an answer."""

    def __init__(self, model: LlamaCppModel, *, seconds: float, clock: Callable[[], float]) -> None:
        self.model = model
        self.used = clock()
        self.failed = False
        self._seconds = seconds
        self._clock = clock
        self._begun: float | None = clock() - seconds if model.loaded else None

    @property
    def state(self) -> State:
        """Where it is now; looking is what moves it on."""
        if self._begun is None:
            return "unloaded"
        if self._clock() - self._begun < self._seconds:
            return "loading"
        if self.model.exit_code is not None:
            self.failed, self._begun = True, None
            return "unloaded"
        return "loaded"

    @property
    def progress(self) -> dict[str, object]:
        """How much of it is read, in the words of `/models`."""
        begun = self._clock() if self._begun is None else self._begun
        share = (self._clock() - begun) / self._seconds if self._seconds else 1.0
        return {"stages": [_STAGE], "current": _STAGE, "value": round(min(share, 1.0), 4)}

    def load(self) -> None:
        """Begin to load it."""
        self.failed = False
        self._begun = self.used = self._clock()

    def unload(self) -> None:
        """Take it out of memory, or stop to load it."""
        self._begun = None


class Residents:
    """The models of a server, of which `most` may be in memory at once."""

    def __init__(
        self,
        models: Iterable[LlamaCppModel],
        *,
        most: int,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._all = [Resident(model, seconds=seconds, clock=clock) for model in models]
        self._most = most
        self._clock = clock

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._all)

    def named(self, name: str) -> Resident | None:
        """Return the model of this name or alias."""
        return next((one for one in self._all if name in (one.model.id, *one.model.aliases)), None)

    def load(self, resident: Resident) -> None:
        """Begin to load a model; the one unused for longest makes room for it."""
        there = [one for one in self._all if one.state != "unloaded"]
        if len(there) >= self._most:
            min(there, key=lambda one: one.used).unload()
        resident.load()

    def touch(self, resident: Resident) -> None:
        """Note that a model was used."""
        resident.used = self._clock()
