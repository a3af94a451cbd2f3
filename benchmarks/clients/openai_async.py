"""`openai`, the asynchronous client."""

from collections.abc import Callable

import openai

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """One client, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        assert style == "openai"
        self.base = f"http://127.0.0.1:{port}/v1"

    async def start(self) -> None:
        """Make the client."""
        self.client = openai.AsyncOpenAI(base_url=self.base, api_key="none", max_retries=0)

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        answer = await self.client.chat.completions.create(model=model, messages=SAID)
        return answer.choices[0].message.content

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the pieces."""
        stream = await self.client.chat.completions.create(
            model=model, messages=SAID, stream=True, stream_options={"include_usage": True}
        )
        async for piece in stream:
            if piece.choices and piece.choices[0].delta.content:
                see(piece.choices[0].delta.content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors; base64 is unpacked by the client."""
        more = {} if form == "base64" else {"encoding_format": form}
        answer = await self.client.embeddings.create(model=model, input=texts, **more)
        return [item.embedding for item in answer.data]
