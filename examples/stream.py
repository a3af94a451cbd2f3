"""Print an answer while it is made, and stop early: `python examples/stream.py`."""

import asyncio

from patinox import CompletionRequest, LocalProvider, ReasoningDelta

ENOUGH = 300  # characters


async def main() -> None:
    """Show each piece as it comes; leaving the `async with` makes the server stop."""
    async with LocalProvider() as local:
        model, _ = await local.default_model()
        request = CompletionRequest(model.model_id, ["Tell a long story about a lighthouse."])
        async with local.stream_completion(request) as stream:
            async for event in stream:
                if isinstance(event, ReasoningDelta):
                    continue  # what the model thinks before it answers
                print(event.text, end="", flush=True)
                if len(stream.text) > ENOUGH:
                    break
        print(f"\n{len(stream.text)} characters from {stream.response.service}")


if __name__ == "__main__":
    asyncio.run(main())
