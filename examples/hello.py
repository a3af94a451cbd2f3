"""Ask a model that is on this machine, whichever is best: `python examples/hello.py`."""

import asyncio

from patinox import CompletionRequest, LocalProvider


async def main() -> None:
    """Find what is running, choose a model, ask it."""
    async with LocalProvider() as local:
        model, why = await local.default_model()
        print(f"Asking {model.model_id} ({why})")
        request = CompletionRequest(model.model_id, ["Why is the sky blue? One sentence."])
        answer = await local.complete(request)
        print(answer.text)
        print(f"{answer.usage.completion_tokens} tokens, ended by {answer.finish_reason}")


if __name__ == "__main__":
    asyncio.run(main())
