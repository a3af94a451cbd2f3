"""`ollama`, the asynchronous client."""

from collections.abc import Callable, Sequence

import ollama

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """One client, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        assert style == "ollama"
        self.host = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Make the client."""
        self.client = ollama.AsyncClient(self.host)

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        return (await self.client.chat(model, SAID)).message.content or ""

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the pieces."""
        async for piece in await self.client.chat(model, SAID, stream=True):
            if piece.message.content:
                see(piece.message.content)

    async def embed(self, model: str, texts: list[str], form: str) -> Sequence[Sequence[float]]:
        """Ask for vectors."""
        return (await self.client.embed(model, texts)).embeddings
