"""Find the text that is nearest in meaning: `python examples/embed.py`."""

import asyncio
from math import sqrt

from patinox import EmbeddingRequest, LocalProvider

TEXTS = ["The cat sleeps on the sofa.", "Interest rates rose again.", "A dog chases a ball."]
QUESTION = "What do pets do?"


def similarity(one: list[float], other: list[float]) -> float:
    """Return the cosine of the angle between two vectors."""
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / sqrt(sum(a * a for a in one) * sum(b * b for b in other))


async def main() -> None:
    """Turn all texts into vectors with one request, and compare them."""
    async with LocalProvider() as local:
        models = await local.list_models()
        makers = [model for model in models if model.capabilities.supports_embeddings]
        if not makers:
            print("No model here makes vectors. With Ollama: ollama pull nomic-embed-text")
            return
        request = EmbeddingRequest(makers[0].model_id, [QUESTION, *TEXTS])
        question, *texts = (await local.embed(request)).embeddings
        print(f"{makers[0].model_id} makes vectors of {len(question)} numbers")
        for text, vector in zip(TEXTS, texts, strict=True):
            print(f"{similarity(question, vector):.2f}  {text}")


if __name__ == "__main__":
    asyncio.run(main())
