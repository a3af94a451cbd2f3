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


async def ask(local: LocalProvider, model: str) -> str:
    """Ask, and turn what can go wrong into a sentence; the order is from special to general."""
    try:
        request = CompletionRequest(model, ["Hello"], timeout=60)
        return (await local.complete(request)).text
    except InvalidRequest as error:
        return f"the request is wrong: {error}"
    except ModelNotFound as error:
        return f"not here; nearest: {', '.join(error.nearest) or 'none'}"
    except StreamInterrupted as error:
        return f"broke off after {error.text!r}"
    except ServiceTimeout as error:
        return f"too slow ({error.phase}, {error.seconds} s)"
    except AllServicesFailed as error:
        return f"tried {', '.join(error.attempts)}: {error}"
    except ProviderError as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    """Ask a model that is here, one that is not, and one without a name."""
    async with LocalProvider() as local:
        model, _ = await local.default_model()
        for name in (str(model.model_id), f"{model.id}-typo", ""):
            print(f"{name!r}: {await ask(local, name)}")


if __name__ == "__main__":
    asyncio.run(main())
