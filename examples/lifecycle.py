"""Download a model, load it, see what is in memory, remove it: `python examples/lifecycle.py`."""

import asyncio

from patinox import LocalProvider, ServiceNotFound

MODEL = "ollama::nomic-embed-text"


async def main() -> None:
    """Do all of it with a small model; one that is here already is downloaded in no time."""
    async with LocalProvider() as local:
        try:
            async with local.pull(MODEL) as download:
                async for progress in download:
                    share = "" if progress.fraction is None else f"{progress.fraction:.0%}"
                    print(f"{progress.status:30} {share}".rstrip())
        except ServiceNotFound as error:
            print(error)
            return
        print(f"{progress.total_bytes or 0:,} bytes")

        loaded = await local.ensure_loaded(MODEL, 1024, keep_alive=60)
        print(f"{loaded.model}: {loaded.context_length} tokens of context, enough: {loaded.fits}")
        again = await local.ensure_loaded(MODEL, 4096)
        print(f"already there: {again.already}, enough for 4096: {again.fits}")
        for item in await local.running():
            until = "stays" if item.expires_at is None else "leaves some time"
            print(f"in memory: {item.model} on {item.service}, {until}")
        await local.unload(MODEL)

        await local.copy(MODEL, "patinox-example", overwrite=True)
        await local.delete("ollama::patinox-example")


if __name__ == "__main__":
    asyncio.run(main())
