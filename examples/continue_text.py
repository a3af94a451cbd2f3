"""Go on with a text, and fill in its middle: `python examples/continue_text.py`."""

import asyncio

from patinox import CapabilityNotSupported, LocalProvider, TextCompletionRequest

HEAD = "def area(width, height):\n    return "
TAIL = "\n\nprint(area(3, 4))\n"


async def main() -> None:
    """Use the model that is taken where none is named."""
    async with LocalProvider() as local:
        info, _ = await local.default_model()
        story = TextCompletionRequest(info.model_id, "Once upon a time", max_tokens=20)
        async with local.stream_text(story) as stream:
            async for event in stream:
                print(event.text, end="", flush=True)
        print()
        try:
            code = await local.complete_text(TextCompletionRequest(info.model_id, HEAD, TAIL))
        except CapabilityNotSupported as error:  # few models are made for it
            print(error)
        else:
            print(HEAD + code.text + TAIL)


if __name__ == "__main__":
    asyncio.run(main())
