"""List every model, what it can do and who says so: `python examples/list_models.py`."""

import asyncio

from patinox import LocalProvider, ModelCapabilities

ABILITIES = ("chat", "embeddings", "vision", "tools", "thinking")


def describe(able: ModelCapabilities) -> str:
    """Name the abilities; `?` marks one that was only guessed from the model's name."""
    named: list[str] = []
    for ability in ABILITIES:
        field = f"supports_{ability}"
        if getattr(able, field):
            named.append(ability + ("?" if able.source(field) == "name" else ""))
    return " ".join(named) or "-"


async def main() -> None:
    """Show one line for each model and service."""
    async with LocalProvider() as local:
        for model in await local.list_models():
            context = "?" if model.context_length is None else f"{model.context_length:,}"
            state = "in the cloud" if model.remote else "in memory" if model.loaded else ""
            print(f"{model.model_id!s:50} {context:>9}  {describe(model.capabilities):30} {state}")


if __name__ == "__main__":
    asyncio.run(main())
