"""Say once what every request shares: `python examples/defaults.py`."""

import asyncio

from patinox import LocalProvider, ModelDefaults


async def main() -> None:
    """Bind defaults to a provider; a request may still say otherwise."""
    async with LocalProvider() as local:
        model, _ = await local.default_model()
        sober = local.with_defaults(
            ModelDefaults(model=model.model_id, temperature=0, max_tokens=40, timeout=120)
        )
        brief = sober.with_defaults(ModelDefaults(max_tokens=10))

        for name, provider in (("sober", sober), ("brief", brief)):
            request = provider.request(messages="Describe the sea.")
            answer = await provider.complete(request)
            print(f"{name}: at most {request.max_tokens} tokens: {answer.text}")

        wild = brief.request(messages="Describe the sea.", temperature=1.2)
        print(f"wild: temperature {wild.temperature}, at most {wild.max_tokens} tokens")


if __name__ == "__main__":
    asyncio.run(main())
