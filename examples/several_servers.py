"""See which servers run here and who answers for a model: `python examples/several_servers.py`.

`LOCAL_PROVIDER_PREFERENCE=lmstudio` prefers one of them; `OLLAMA_ENDPOINT`, `LMSTUDIO_ENDPOINT`,
`LLAMACPP_ENDPOINT` and `LOCAL_ENDPOINT` say where to look.
"""

import asyncio

from patinox import CompletionRequest, LocalProvider


async def main() -> None:
    """Show the servers, then ask one model wherever it is and one on a named service."""
    async with LocalProvider() as local:
        for service in local.services:
            version = f" {service.version}" if service.version else ""
            print(f"{service.id}: {service.label}{version}, {service.status} ({service.endpoint})")

        model, _ = await local.default_model()
        for name in (model.id, str(model.model_id)):
            answer = await local.complete(CompletionRequest(name, ["Say hello."]))
            print(f"{name}: answered by {answer.service}, because {answer.reason}")
            for attempt in answer.attempts:
                print(f"  tried before: {attempt}")


if __name__ == "__main__":
    asyncio.run(main())
