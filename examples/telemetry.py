"""Watch what happens, and count it: `python examples/telemetry.py`.

It needs the extra `prometheus`: `pip install "patinox[prometheus]"`.
"""

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from patinox import CompletionRequest, LocalProvider, ModelNotFound
from patinox.telemetry import CallFinished, Event, PrometheusObserver


class Printer:
    """An observer of our own: it says how each request ended."""

    def observe(self, event: Event) -> None:
        """Take one event; all but the last of each request is nothing to us."""
        if isinstance(event, CallFinished):
            tokens = event.usage.completion_tokens
            print(f"{event.operation}: {event.outcome}, {event.attempts} attempts, {tokens} tokens")


async def main() -> None:
    """Ask twice, the second time for a model that is not there."""
    registry = CollectorRegistry()
    async with LocalProvider(observers=[Printer(), PrometheusObserver(registry)]) as local:
        model, _ = await local.default_model()
        await local.complete(CompletionRequest(model.model_id, ["Hello"]))
        try:
            await local.complete(CompletionRequest("not-here", ["Hello"]))
        except ModelNotFound as error:
            print(error.message)
    for line in generate_latest(registry).decode().splitlines():
        if line.startswith("patinox_requests_total"):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
