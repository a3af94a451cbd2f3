"""`any-llm-sdk`, one provider object, its asynchronous methods."""

from collections.abc import Callable

from any_llm import AnyLLM

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """One provider, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        self.style = style
        self.base = f"http://127.0.0.1:{port}" + ("/v1" if style == "openai" else "")

    async def start(self) -> None:
        """Make the provider."""
        self.client = AnyLLM.create(self.style, api_key="none", api_base=self.base)

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        answer = await self.client.acompletion(model=model, messages=SAID)
        return answer.choices[0].message.content

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the pieces."""
        async for piece in await self.client.acompletion(model=model, messages=SAID, stream=True):
            if piece.choices and piece.choices[0].delta.content:
                see(piece.choices[0].delta.content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors."""
        answer = await self.client.aembedding(model, texts)
        return [item.embedding for item in answer.data]
