"""Plain `httpx` as its documentation shows it."""

import json
from collections.abc import Callable

import httpx

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """One client, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        assert style == "ollama"
        self.base = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Make the client."""
        self.client = httpx.AsyncClient(base_url=self.base, timeout=60)

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        body = {"model": model, "messages": SAID, "stream": False}
        return (await self.client.post("/api/chat", json=body)).json()["message"]["content"]

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the lines."""
        body = {"model": model, "messages": SAID}
        async with self.client.stream("POST", "/api/chat", json=body) as reply:
            async for line in reply.aiter_lines():
                if content := json.loads(line)["message"]["content"]:
                    see(content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors."""
        reply = await self.client.post("/api/embed", json={"model": model, "input": texts})
        return reply.json()["embeddings"]
