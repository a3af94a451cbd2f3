"""Know beforehand whether a prompt fits the context: `python examples/long_prompts.py`."""

import asyncio

from patinox import (
    CompletionRequest,
    ContextLengthExceeded,
    LocalProvider,
    ModelNotFound,
    OllamaOptions,
    ServiceNotFound,
    estimate_tokens,
)

PROMPT = " ".join(f"Line {number} of a long report." for number in range(1000))


async def main() -> None:
    """Ask for a context of 2,048 tokens on Ollama, once with a warning and once not at all."""
    small = OllamaOptions(num_ctx=2048)
    async with LocalProvider() as local:
        model = "ollama::llama3.2:3b"
        request = CompletionRequest(model, PROMPT, service_options=small, max_tokens=5)
        print(f"about {estimate_tokens(request):,} tokens")
        try:
            answer = await local.complete(request)
        except (ModelNotFound, ServiceNotFound) as error:
            print(error)
            return
        for warning in answer.warnings:
            print("warning:", warning)
        try:
            await local.complete(
                CompletionRequest(model, PROMPT, service_options=small, on_overflow="refuse")
            )
        except ContextLengthExceeded as error:
            print(f"refused: {error.prompt_tokens:,} tokens do not fit {error.context_tokens:,}")


if __name__ == "__main__":
    asyncio.run(main())
