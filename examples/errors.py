"""Meet the errors, and see what each one tells: `python examples/errors.py`."""

import asyncio

from patinox import (
    AllServicesFailed,
    CompletionRequest,
    InvalidRequest,
    LocalProvider,
    ModelNotFound,
    ProviderError,
    ServiceTimeout,
    StreamInterrupted,
)


async def ask(local: LocalProvider, model: str) -> None:
    """Ask, and say what went wrong in the error's own words; special errors before general."""
    try:
        request = CompletionRequest(model, ["Hello"], timeout=60)
        print("answer:", (await local.complete(request)).text)
    except InvalidRequest as error:
        print("the request is wrong:", error)
    except ModelNotFound as error:
        print("not here, but perhaps you meant:", ", ".join(error.nearest) or "nothing similar")
    except StreamInterrupted as error:
        print("it broke off after:", error.text)
    except ServiceTimeout as error:
        print(f"too slow ({error.phase}, {error.seconds:g} s):", error)
    except AllServicesFailed as error:
        for service, reason in error.attempts.items():
            print(f"{service} failed:", reason)
    except ProviderError as error:
        print(f"{type(error).__name__}:", error)


async def main() -> None:
    """Ask a model that is here, one that is not, and one without a name."""
    async with LocalProvider() as local:
        model, _ = await local.default_model()
        for name in (str(model.model_id), f"{model.id}-typo", ""):
            print(f"{name!r}", end=": ")
            await ask(local, name)


if __name__ == "__main__":
    asyncio.run(main())
