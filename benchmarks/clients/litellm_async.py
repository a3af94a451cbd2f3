"""`litellm`, its asynchronous functions."""

import os
from collections.abc import Callable

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a price list when imported

import litellm

SAID = [{"role": "user", "content": "Why are there tides?"}]


class Client:
    """Functions of a module; it keeps its own connections."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        self.chat_prefix, self.embed_prefix, path = {
            "ollama": ("ollama_chat/", "ollama/", ""),
            "openai": ("openai/", "openai/", "/v1"),
        }[style]
        self.base = f"http://127.0.0.1:{port}{path}"
        self.more = {} if style == "ollama" else {"api_key": "none"}

    async def start(self) -> None:
        """Keep it from writing to the terminal."""
        litellm.suppress_debug_info = True
        litellm.telemetry = False

    async def chat(self, model: str) -> str:
        """Ask for one document."""
        answer = await litellm.acompletion(
            model=self.chat_prefix + model, messages=SAID, api_base=self.base, **self.more
        )
        return answer.choices[0].message.content

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the pieces."""
        stream = await litellm.acompletion(
            model=self.chat_prefix + model,
            messages=SAID,
            api_base=self.base,
            stream=True,
            **self.more,
        )
        async for piece in stream:
            if piece.choices and piece.choices[0].delta.content:
                see(piece.choices[0].delta.content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors, as numbers."""
        answer = await litellm.aembedding(
            model=self.embed_prefix + model, input=texts, api_base=self.base, **self.more
        )
        return [item["embedding"] for item in answer.data]
