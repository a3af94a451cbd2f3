"""What the emulated LM Studio knows: its switches, its models, what is loaded, what it stored."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from patinox.testing.lmstudio import errors
from patinox.testing.lmstudio.models import LMStudioModel, LMStudioPrompt, LMStudioTurn
from patinox.testing.lmstudio.text import Generated, Limits, generate, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_CONTEXT = 4096
DEFAULT_TTL = 3600.0


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """How this LM Studio differs from another; `LMStudioEmulator` says what each one means."""

    generation: Literal["0.4", "0.3"] = "0.4"
    version: str = "0.4.25"
    token: str | None = None
    greeting_needs_token: bool = False
    lms_status: bool = True
    unknown_route_status: int = 200
    jit: bool = True
    auto_evict: bool = True
    load_seconds: float = 0.0
    load_ignores_context: bool = False
    download_steps: int = 2
    download_end: Literal["completed", "paused", "failed"] = "completed"
    reasoning_key: Literal["reasoning_content", "reasoning", "inline"] = "reasoning_content"
    overflow: Literal["A", "C"] = "A"
    done_marker: bool = True
    usage: bool = True
    stats: bool = True
    v0_stream_stats: bool = False
    native_text_item: Literal["text", "message"] = "text"
    clock: Callable[[], float] = time.monotonic


@dataclass
class Instance:
    """A model in memory; `ttl` (seconds) is set if a request loaded it, not a person."""

    id: str
    model: LMStudioModel
    context_length: int
    config: dict[str, object]
    ttl: float | None
    used: float


class LoadFailed(Exception):
    """The model cannot be loaded; the text says why."""


class Studio:
    """The models on disk and in memory, and which of them answers to a name."""

    def __init__(self, models: Iterable[LMStudioModel], switches: Switches) -> None:
        self.switches = switches
        self.models = list(models)
        self.conversations: dict[str, tuple[LMStudioTurn, ...]] = {}
        self._instances: list[Instance] = []
        self._loading = asyncio.Lock()
        self._numbers = itertools.count(1)
        for model in self.models:
            if model.loaded_context_length is not None:
                self._add(model, model.loaded_context_length, {}, ttl=None)

    def new_id(self, prefix: str, length: int) -> str:
        """Return an identifier like the real ones, the same in every run."""
        seed = f"{prefix}{next(self._numbers)}"
        return prefix + hashlib.sha256(seed.encode()).hexdigest()[:length]

    def new_call_id(self) -> str:
        """Return the identifier of a tool call: nine digits."""
        return str(10**8 + int(self.new_id("", 12), 16) % (9 * 10**8))

    @property
    def instances(self) -> list[Instance]:
        """What is in memory now; what a request loaded is gone when its TTL has passed unused."""
        now = self.switches.clock()
        self._instances = [
            one for one in self._instances if one.ttl is None or now - one.used < one.ttl
        ]
        return self._instances

    def instances_of(self, model: LMStudioModel) -> list[Instance]:
        """Return the instances of one model."""
        return [one for one in self.instances if one.model is model]

    def remaining_ttl(self, instance: Instance) -> int | None:
        """Seconds until an unused instance is unloaded, or `None` for never."""
        if instance.ttl is None:
            return None
        return round(instance.used + instance.ttl - self.switches.clock())

    def with_key(self, name: str) -> LMStudioModel | None:
        """Return the model with this key, whatever the case."""
        return next((one for one in self.models if one.key.lower() == name.lower()), None)

    def downloaded(self, name: str) -> LMStudioModel | None:
        """Return the model with this key or variant, whatever the case."""
        wanted = name.lower()
        return next(
            (one for one in self.models if wanted in {one.key.lower(), one.variant.lower()}), None
        )

    def loaded_as(self, name: str) -> Instance | None:
        """Return the instance with this identifier, else the first one of the model so named."""
        exact = next((one for one in self.instances if one.id == name), None)
        model = self.downloaded(name)
        if exact is not None or model is None:
            return exact
        return next(iter(self.instances_of(model)), None)

    async def openai_model(self, name: object, *, embeds: bool, ttl: object = None) -> Instance:
        """Return the instance that answers on an OpenAI or v0 route, loading it if that is needed.

        Raises:
            Refused: no model answers to this name, or it cannot be loaded.
        """
        found = self._openai_choice(name, embeds=embeds)
        model = found if isinstance(found, LMStudioModel) else found.model
        if embeds and model.kind != "embedding":
            raise errors.not_an_embedding_model(model.key)
        if not embeds and model.kind == "embedding":
            raise self.unknown(str(name))
        if isinstance(found, Instance):
            return self.touch(found)
        try:
            return await self.ensure_loaded(found, ttl=_seconds(ttl))
        except LoadFailed as failure:
            raise errors.load_failed(model.key, str(failure)) from failure

    def _openai_choice(self, name: object, *, embeds: bool) -> Instance | LMStudioModel:
        candidates = [one for one in self.instances if (one.model.kind == "embedding") == embeds]
        if name is None:
            return self._only(candidates)
        asked = str(name)
        if (loaded := self.loaded_as(asked)) is not None:
            return loaded
        if self.switches.jit and (model := self.downloaded(asked)) is not None:
            return model
        if asked and not embeds and len(candidates) == 1:
            return candidates[0]  # the silent substitution
        if not candidates and not self.switches.jit:
            raise errors.no_models_loaded()
        raise self.unknown(asked)

    def _only(self, candidates: list[Instance]) -> Instance:
        if not candidates:
            raise errors.no_models_loaded()
        if len(candidates) > 1:
            raise errors.several_models_loaded()
        return candidates[0]

    def unknown(self, name: str) -> errors.Refused:
        """Return the refusal of a name that no model has, on an OpenAI or v0 route."""
        if self.switches.generation == "0.3":
            return errors.unknown_model_before_04(name, self.models)
        return errors.unknown_model(name, self.models)

    def touch(self, instance: Instance) -> Instance:
        """Start the instance's TTL anew."""
        instance.used = self.switches.clock()
        return instance

    async def ensure_loaded(
        self, model: LMStudioModel, *, ttl: float = DEFAULT_TTL, context_length: int | None = None
    ) -> Instance:
        """Load a model for a request, once for all requests that wait for it.

        Raises:
            LoadFailed: it cannot be loaded.
        """
        async with self._loading:
            if loaded := self.instances_of(model):
                return self.touch(loaded[0])
            if self.switches.auto_evict:
                self._instances = [one for one in self.instances if one.ttl is None]
            return await self.load(model, context_length=context_length, ttl=ttl)

    async def load(
        self,
        model: LMStudioModel,
        *,
        context_length: int | None = None,
        config: dict[str, object] | None = None,
        ttl: float | None = None,
    ) -> Instance:
        """Load one more instance of a model, which takes `load_seconds`.

        Raises:
            LoadFailed: it cannot be loaded.
        """
        await asyncio.sleep(self.switches.load_seconds)
        if model.load_error is not None:
            raise LoadFailed(model.load_error)
        if context_length is None or self.switches.load_ignores_context:
            context_length = min(model.max_context_length, DEFAULT_CONTEXT)
        return self._add(model, context_length, config or {}, ttl=ttl)

    def _add(
        self, model: LMStudioModel, context: int, config: dict[str, object], *, ttl: float | None
    ) -> Instance:
        defaults: dict[str, object] = {"context_length": context}
        if model.kind != "embedding" and model.format == "gguf":
            defaults |= {"eval_batch_size": 512, "parallel": 4, "flash_attention": True}
            defaults |= {"offload_kv_cache_to_gpu": True}
        instance = Instance(
            id=self._free_id(model.identifier or model.key),
            model=model,
            context_length=context,
            config={**defaults, **config},
            ttl=ttl,
            used=self.switches.clock(),
        )
        self._instances.append(instance)
        return instance

    def _free_id(self, name: str) -> str:
        taken = {one.id for one in self._instances}
        names = itertools.chain([name], (f"{name}:{number}" for number in itertools.count(2)))
        return next(one for one in names if one not in taken)

    def unload(self, identifier: str) -> bool:
        """Unload an instance; false if there is none of this name."""
        kept = [one for one in self.instances if one.id != identifier]
        unloaded = len(kept) < len(self._instances)
        self._instances = kept
        return unloaded

    def generate(
        self,
        instance: Instance,
        prompt: LMStudioPrompt,
        limits: Limits,
        *,
        tools: bool = True,
        reasoning: bool = True,
    ) -> Generated:
        """Have the instance's model answer, without what the route has no place for."""
        prompt_tokens = sum(len(split(turn.text)) for turn in prompt.turns)
        if prompt_tokens >= limits.context:
            said = errors.overflow(self.switches.overflow, prompt_tokens, limits.context)
            return Generated(prompt_tokens, error=said)
        answer = instance.model.answer(prompt)
        if not tools:
            answer = msgspec.structs.replace(answer, tool_calls=())
        if not reasoning:
            answer = msgspec.structs.replace(answer, reasoning="")
        return generate(answer, prompt_tokens, limits)

    def remember(
        self, identifier: str, turns: tuple[LMStudioTurn, ...], generated: Generated
    ) -> None:
        """Store a conversation, for a request that continues it."""
        answered = LMStudioTurn("assistant", "".join(generated.text))
        self.conversations[identifier] = (*turns, answered)


def _seconds(ttl: object) -> float:
    if isinstance(ttl, int | float) and not isinstance(ttl, bool) and ttl > 0:
        return float(ttl)
    return DEFAULT_TTL  # garbage falls back in silence
