"""Patinox: `SyncLocalProvider`, as in `patinox_async`."""

from collections.abc import Callable

from clients.patinox_async import SAID, config
from patinox import CompletionRequest, EmbeddingMatrix, EmbeddingRequest, SyncLocalProvider


class Client:
    """One provider, entered."""

    decodes = True
    blocking = True

    def __init__(self, style: str, *ports: int) -> None:
        self.config = config([*ports])

    def start(self) -> None:
        """Find the services and start to watch them."""
        self.local = SyncLocalProvider(self.config).__enter__()

    def chat(self, model: str) -> str:
        """Ask for the whole answer."""
        return self.local.complete(CompletionRequest(model, SAID)).text

    def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the events."""
        with self.local.stream_completion(CompletionRequest(model, SAID)) as stream:
            for event in stream:
                if event.text:
                    see(event.text)

    def embed(self, model: str, texts: list[str], form: str) -> EmbeddingMatrix:
        """Ask for vectors."""
        return self.local.embed(EmbeddingRequest(model, texts)).embeddings
