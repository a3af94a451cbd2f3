"""`aiohttp` as in `aiohttp_direct`, the answer asked for in one document."""

from clients import aiohttp_direct
from clients.aiohttp_direct import CHUNK, LINE, SAID


class Client(aiohttp_direct.Client):
    """Asks unstreamed."""

    works = ("chat",)

    async def chat(self, model: str) -> str:
        """Ask and decode."""
        body = {"model": model, "messages": SAID, "stream": False}
        if self.style == "ollama":
            return LINE.decode(await self.post("/api/chat", body)).message.content
        data = await self.post("/v1/chat/completions", body)
        return CHUNK.decode(data).choices[0].message.content
