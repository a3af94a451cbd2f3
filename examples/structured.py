"""Get an object instead of text: `python examples/structured.py`."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from patinox import CompletionRequest, LocalProvider, StructuredOutputError


@dataclass
class Review:
    """What somebody thinks of a book."""

    title: str
    verdict: Literal["bad", "fair", "good"]
    stars: int
    reasons: list[str]


async def main() -> None:
    """Say what the answer must look like; a model may still fail, and says what instead."""
    async with LocalProvider() as local:
        model, _ = await local.default_model()
        request = CompletionRequest(
            model.model_id,
            ["Review Moby Dick, with the reasons for your verdict."],
            schema=Review,
            max_tokens=500,
        )
        try:
            review: Review = (await local.complete(request)).parsed
        except StructuredOutputError as error:
            print(f"{error}\nIt said: {error.raw}")
            return
        print(f"{review.title}: {review.verdict}, {review.stars} stars")
        for reason in review.reasons:
            print(f"- {reason}")


if __name__ == "__main__":
    asyncio.run(main())
