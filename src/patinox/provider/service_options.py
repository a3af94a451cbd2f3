"""Options that one kind of server alone has: typed, and sent only where they mean something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from patinox.provider.checks import (
    LONGEST_TIME,
    check_flag,
    check_integer,
    check_number,
    check_text,
)


class ServiceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the options of one kind of service; a request may carry one of each kind.

    Attributes:
        service_type: the kind of service that takes them.
    """

    service_type: ClassVar[str]

    def words(self) -> dict[str, Any]:
        """Return what is set, in the server's own words."""
        fields: Mapping[str, Any] = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if value is not None}


class OllamaOptions(ServiceOptions, frozen=True, kw_only=True):
    """What Ollama alone can be told (https://github.com/ollama/ollama/blob/main/docs/api.md).

    A change of the context, the batch, the GPU layers or the threads makes Ollama load the model
    anew.

    Attributes:
        num_ctx: length of the context, in tokens.
        num_batch: tokens of the prompt that are read at once.
        num_gpu: layers of the model that the GPU holds; -1 lets Ollama decide.
        num_thread: threads; 0 lets Ollama decide.
        num_keep: tokens of the prompt that stay when the context is shifted.
        draft_num_predict: tokens that a draft model guesses ahead.
        repeat_last_n: tokens that the penalties look back on.
        keep_alive: seconds the model stays in memory afterwards; 0 unloads it, below 0 is for ever.
        truncate: whether a prompt that is too long is cut in silence; Ollama's default is that it
            is.

    Raises:
        InvalidRequest: a value is of a wrong type or out of its range.
    """

    service_type: ClassVar[str] = "ollama"
    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    num_thread: int | None = None
    num_keep: int | None = None
    draft_num_predict: int | None = None
    repeat_last_n: int | None = None
    keep_alive: float | None = None
    truncate: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be right."""
        for name, least in (
            ("num_ctx", 1),
            ("num_batch", 1),
            ("num_gpu", -1),
            ("num_thread", 0),
            ("num_keep", -1),
            ("draft_num_predict", 0),
            ("repeat_last_n", -1),
        ):
            check_integer(name, getattr(self, name), at_least=least)
        check_number("keep_alive", self.keep_alive, -LONGEST_TIME, LONGEST_TIME)
        if self.truncate is not None:
            check_flag("truncate", self.truncate)


class LMStudioOptions(ServiceOptions, frozen=True, kw_only=True):
    """What LM Studio alone can be told (https://lmstudio.ai/docs/developer).

    Attributes:
        ttl: seconds the model stays in memory unused, if this request is what loads it.
        draft_model: key of a smaller model that guesses ahead.

    Raises:
        InvalidRequest: a value is of a wrong type or out of its range.
    """

    service_type: ClassVar[str] = "lmstudio"
    ttl: int | None = None
    draft_model: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be right."""
        check_integer("ttl", self.ttl, at_least=1)
        if self.draft_model is not None:
            check_text("draft_model", self.draft_model)


class LlamaCppOptions(ServiceOptions, frozen=True, kw_only=True):
    """What llama.cpp's server, and so the engine inside, alone can be told.

    https://github.com/ggml-org/llama.cpp/tree/master/tools/server

    Attributes:
        grammar: a GBNF grammar that the answer keeps to; not together with a schema.
        cache_prompt: whether the part of the prompt that the last one shares is not read again.
        id_slot: the slot to use; -1 takes any that is free.
        repeat_last_n: tokens that the penalties look back on.
        typical_p: typical sampling, 0 to 1; 1 is off.
        ignore_eos: whether the model goes on where it would end.

    Raises:
        InvalidRequest: a value is of a wrong type or out of its range.
    """

    service_type: ClassVar[str] = "llamacpp"
    grammar: str | None = None
    cache_prompt: bool | None = None
    id_slot: int | None = None
    repeat_last_n: int | None = None
    typical_p: float | None = None
    ignore_eos: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be right."""
        if self.grammar is not None:
            check_text("grammar", self.grammar)
        check_integer("id_slot", self.id_slot, at_least=-1)
        check_integer("repeat_last_n", self.repeat_last_n, at_least=-1)
        check_number("typical_p", self.typical_p, 0.0, 1.0)
        for name in ("cache_prompt", "ignore_eos"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
