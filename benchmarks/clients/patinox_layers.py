"""Where a call's time goes in Patinox: its transport without the rest, and the rest without it."""

from collections.abc import Callable
from typing import Any, Self

import msgspec

from clients.patinox_async import SAID
from clients.patinox_async import Client as Whole
from patinox.provider.local.endpoint import parse_endpoint
from patinox.provider.local.transport import Transport
from patinox.provider.local.wire.http import HTTPRequest

PATH = "/api/chat"
# As it is; `WithoutNetwork` puts another in its place.
STREAM: Callable[..., Any] = Transport.stream


class TransportAlone:
    """Sends requests and reads the bytes of the answers, under the limits of time."""

    decodes = False

    def __init__(self, style: str, *ports: int) -> None:
        assert style == "ollama"
        self.endpoint = parse_endpoint(f"http://127.0.0.1:{ports[0]}", default_port=80)

    async def start(self) -> None:
        """Make the transport."""
        self.transport = Transport()

    async def chat(self, model: str) -> None:
        """Take in a stream."""
        body = msgspec.json.encode({"model": model, "messages": SAID, "stream": True})
        request = HTTPRequest(method="POST", path=PATH, body=body)
        limits: dict[str, Any] = {"within": 60.0, "connect": 1.0, "keep": True}
        with await STREAM(self.transport, self.endpoint, request, **limits) as reply:
            while await reply.read(within=60.0, phase="idle"):
                pass


class Canned:
    """A reply that is there already, in as many reads as a real one took."""

    status = 200

    def __init__(self, reads: list[bytes]) -> None:
        self.reads = iter(reads)

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to close."""

    async def read(self, **_limits: object) -> bytes:
        """Give the next read."""
        return next(self.reads, b"")

    async def drain(self, **_limits: object) -> None:
        """Have nothing left."""


class WithoutNetwork(Whole):
    """Does all that Patinox does but for talking to the server, whose answer it has kept."""

    async def start(self) -> None:
        """Find the services, and keep the answers that come in from now on."""
        await super().start()
        kept: dict[bytes, list[bytes]] = {}

        async def stream(
            transport: Transport, endpoint: object, request: HTTPRequest, **limits: Any
        ) -> Any:
            if request.path != PATH:
                return await STREAM(transport, endpoint, request, **limits)
            assert request.body
            if request.body not in kept:
                with await STREAM(transport, endpoint, request, **limits) as reply:
                    reads: list[bytes] = []
                    while data := await reply.read(within=60.0, phase="idle"):
                        reads.append(data)
                kept[request.body] = reads
            return Canned(kept[request.body])

        Transport.stream = stream  # type: ignore[method-assign]


class InTurn:
    """Does a call of the transport alone, then one of the rest, so that each finds cold caches."""

    decodes = False

    def __init__(self, style: str, *ports: int) -> None:
        self.parts = TransportAlone(style, *ports), WithoutNetwork(style, *ports)

    async def start(self) -> None:
        """Start both."""
        for part in self.parts:
            await part.start()

    async def chat(self, model: str) -> None:
        """Ask both."""
        for part in self.parts:
            await part.chat(model)
