"""A story to tell exporters: a request that the first server fails and the second one answers."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from patinox.provider.local.accounts import Call
from patinox.provider.local.errors import ServiceError
from patinox.provider.local.events import Observer, Operation, Server
from patinox.provider.local.observers import Observers
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    ResponseFinished,
    ResponseStarted,
    TextDelta,
    Usage,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Story(NamedTuple):
    """Who takes part, and the way to tell it."""

    ollama: Server
    lmstudio: Server
    request: CompletionRequest

    def fail(self, call: Call, clock: Clock) -> None:
        with call.attempt(self.ollama, reason="has the model in memory") as attempt:
            attempt.model, attempt.loaded = "qwen3:4b", True
            attempt.sends(HTTPRequest(path="/api/chat", body=b"x" * 300))
            clock.now += 0.25
            attempt.received_bytes = 20
            raise ServiceError("it broke")

    def answer(self, call: Call, clock: Clock) -> None:
        with call.attempt(self.lmstudio, reason="is available") as attempt:
            attempt.model = "qwen3:4b"
            attempt.sends(HTTPRequest(path="/v1/chat", body=b"x" * 310))
            clock.now += 0.5
            attempt.takes([ResponseStarted(model="qwen3-4b", id="chat-1"), TextDelta("Blue, ")])
            clock.now += 0.05
            attempt.takes([TextDelta("mostly.")])
            attempt.received_bytes = 900
            usage = Usage(prompt_tokens=12, completion_tokens=3, cached_tokens=4)
            attempt.takes([ResponseFinished(finish_reason="stop", usage=usage)])

    def tell(self, *observers: Observer, streaming: bool = True, answered: bool = True) -> None:
        clock = Clock()
        with Call(
            Operation.CHAT,
            self.request,
            clock=clock,
            observers=Observers(observers),
            streaming=streaming,
        ) as call:
            try:
                self.fail(call, clock)
            except ServiceError:
                if not answered:
                    raise
            self.answer(call, clock)


@pytest.fixture
def story() -> Story:
    messages: Sequence[CompletionMessage] = (
        CompletionMessage.system("Be a secret poet."),
        CompletionMessage.user("My secret: the sky?"),
    )
    return Story(
        Server("ollama", "ollama", "127.0.0.1", 11434),
        Server("lmstudio", "lmstudio", "127.0.0.1", 1234),
        CompletionRequest("lmstudio::qwen3:4b", messages, temperature=0.5, max_tokens=64),
    )
