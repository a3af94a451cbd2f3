"""Show a dot, or the picture in a file, to a model: `python examples/vision.py`."""

import asyncio
import sys

from patinox import CompletionMessage, CompletionRequest, Image, LocalProvider, ModelNotFound

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///ywAAAAAAQABAAACAkQBADs="


async def main(picture: Image) -> None:
    """Ask a model here that sees; the picture is converted if its server needs that."""
    question = CompletionMessage.user(["What is in this picture?", picture])
    async with LocalProvider() as local:
        try:
            model, _ = await local.default_model(vision=True)
        except ModelNotFound as error:
            print(error)
            return
        print(f"{model.model_id} looks at {picture}")
        print((await local.complete(CompletionRequest(model.model_id, [question]))).text)


if __name__ == "__main__":
    asyncio.run(main(Image.of(sys.argv[1] if len(sys.argv) > 1 else DOT)))
