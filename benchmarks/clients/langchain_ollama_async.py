"""`langchain-ollama`, its asynchronous methods."""

from collections.abc import Callable

from langchain_ollama import ChatOllama, OllamaEmbeddings


class Client:
    """One object for each model, kept."""

    decodes = True

    def __init__(self, style: str, port: int) -> None:
        assert style == "ollama"
        self.base = f"http://127.0.0.1:{port}"
        self.models: dict[str, ChatOllama] = {}

    async def start(self) -> None:
        """Make nothing yet."""

    def model(self, name: str) -> ChatOllama:
        """Make the object for a model once."""
        if name not in self.models:
            self.models[name] = ChatOllama(model=name, base_url=self.base)
        return self.models[name]

    async def chat(self, model: str) -> str:
        """Ask for the whole answer."""
        return (await self.model(model).ainvoke("Why are there tides?")).content

    async def stream(self, model: str, see: Callable[[str], object]) -> None:
        """Go through the pieces."""
        async for piece in self.model(model).astream("Why are there tides?"):
            if piece.content:
                see(piece.content)

    async def embed(self, model: str, texts: list[str], form: str) -> list[list[float]]:
        """Ask for vectors."""
        embeddings = OllamaEmbeddings(model=model, base_url=self.base)
        return await embeddings.aembed_documents(texts)
