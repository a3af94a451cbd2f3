"""Have a model think first, and keep that apart from its answer: `python examples/reasoning.py`."""

import asyncio

from patinox import CompletionRequest, LocalProvider, ReasoningDelta, ServiceNotFound, TextDelta


async def main() -> None:
    """Ask the first model here that can reason, with and without it."""
    async with LocalProvider() as local:
        try:
            models = await local.list_models()
        except ServiceNotFound as error:
            print(error)
            return
        able = [info for info in models if info.capabilities.supports_thinking and not info.remote]
        if not able:
            print("No model here can reason; try: patinox pull qwen3:0.6b")
            return
        model = able[0].model_id
        async with local.stream_completion(
            CompletionRequest(model, "How many days are two weeks?", think=True)
        ) as stream:
            async for event in stream:
                match event:
                    case ReasoningDelta(reasoning):
                        print("thinks:", reasoning)
                    case TextDelta(content):
                        print("says:", content)
        answer = await local.complete(CompletionRequest(model, "And three?", think=False))
        print(f"at once: {answer.text} (thought {len(answer.reasoning)} characters)")


if __name__ == "__main__":
    asyncio.run(main())
