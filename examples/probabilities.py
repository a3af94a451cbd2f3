"""See how sure a model was of each word: `python examples/probabilities.py`."""

import asyncio
import math

from patinox import CapabilityNotSupported, CompletionRequest, LocalProvider, ProviderError


async def main() -> None:
    """Print the answer's tokens, each with its probability and the next best one."""
    async with LocalProvider() as local:
        for info in await local.list_models():
            if not info.capabilities.supports_chat or info.remote:
                continue
            request = CompletionRequest(info.model_id, "Hello!", top_logprobs=2, max_tokens=8)
            try:
                answer = await local.complete(request)
            except CapabilityNotSupported as error:  # LM Studio does not tell
                print(f"{info.model_id}: {error.message}")
                continue
            except ProviderError as error:
                print(error)
                continue
            for token in answer.logprobs:
                others = [other.token for other in token.top if other.token != token.token]
                print(f"{token.token!r:12} {math.exp(token.logprob):4.0%}  else {others}")
            return


if __name__ == "__main__":
    asyncio.run(main())
