"""Let a model call Python functions: `python examples/tools.py`."""

import asyncio

from patinox import CompletionRequest, LocalProvider, ToolCall

PEOPLE = {"Oslo": 709_000, "Bergen": 289_000}


def population(city: str) -> int:
    """Tell how many people live in a city.

    Args:
        city: its English name.
    """
    return PEOPLE[city]


def show(call: ToolCall) -> None:
    """Say what is about to be called; to return something would be its result instead."""
    print(f"calls {call.name} with {call.arguments}")


async def main() -> None:
    """Ask a model that can call tools; what it calls is run here."""
    async with LocalProvider() as local:
        able = [m for m in await local.list_models() if m.capabilities.supports_tools]
        if not able:
            print("No model here calls tools.")
            return
        model = min(able, key=lambda m: (m.remote, not m.loaded))  # here, and in memory
        request = CompletionRequest(model.model_id, ["How many people live in Oslo?"])
        result = await local.run_tools(request, [population], on_call=show, max_steps=4)
        print(result.text)
        print(f"{len(result.steps)} answers of {result.response.model}")


if __name__ == "__main__":
    asyncio.run(main())
