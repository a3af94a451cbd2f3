"""Plain `aiohttp` as its documentation shows it: lines from the body, `json` from the library."""

import json
from collections.abc import Callable

import aiohttp

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """One session, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        assert style == "ollama"
        self.base = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Make the session."""
        self.session = aiohttp.ClientSession(self.base)

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        body = {"model": model, "messages": SAID, "stream": False}
        async with self.session.post("/api/chat", json=body) as reply:
            return (await reply.json())["message"]["content"]

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the lines."""
        body = {"model": model, "messages": SAID}
        async with self.session.post("/api/chat", json=body) as reply:
            async for line in reply.content:
                if content := json.loads(line)["message"]["content"]:
                    see(content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors."""
        async with self.session.post("/api/embed", json={"model": model, "input": texts}) as reply:
            return (await reply.json())["embeddings"]
