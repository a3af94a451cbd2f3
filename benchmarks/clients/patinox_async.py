"""Patinox: `LocalProvider`, three services found and watched, the model named without a service."""

from collections.abc import Callable

from patinox import (
    CompletionRequest,
    EmbeddingMatrix,
    EmbeddingRequest,
    EndpointConfig,
    LocalProvider,
    LocalProviderConfig,
)

SAID = [{"role": "user", "content": "Why are there tides?"}]


def config(ports: list[int]) -> LocalProviderConfig:
    """The stub's services and no others."""
    places = (EndpointConfig.parse(f"http://127.0.0.1:{port}") for port in ports)
    return LocalProviderConfig(endpoints=tuple(places), auto_discover=False)


class Client:
    """One provider, entered."""

    decodes = True

    def __init__(self, style: str, *ports: int) -> None:
        self.config = config([*ports])

    async def start(self) -> None:
        """Find the services and start to watch them."""
        self.local = await LocalProvider(self.config).__aenter__()

    async def chat(self, model: str) -> str:
        """Ask for the whole answer."""
        return (await self.local.complete(CompletionRequest(model, SAID))).text

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the events."""
        async with self.local.stream_completion(CompletionRequest(model, SAID)) as stream:
            async for event in stream:
                if event.text:
                    see(event.text)

    async def embed(self, model: str, texts: list[str], form: str) -> EmbeddingMatrix:
        """Ask for vectors."""
        return (await self.local.embed(EmbeddingRequest(model, texts))).embeddings
