"""What is told of the requests that go to one service directly, without a choice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from patinox.provider.local.accounts import AnyRequest, Call, Clock, operation_of
from patinox.provider.local.events import Operation
from patinox.provider.local.features import Prompt
from patinox.provider.types import StreamEvent

if TYPE_CHECKING:
    from patinox.provider.local.service import ServiceProvider


def call_of(
    service: ServiceProvider,
    operation: Operation,
    request: AnyRequest | None,
    clock: Clock,
    *,
    streaming: bool = False,
) -> Call:
    """Open the account of a request to this service."""
    return Call(
        operation,
        request,
        clock=clock,
        observers=service.observers,
        server=service.server,
        streaming=streaming,
    )


def told(
    service: ServiceProvider, request: Prompt, clock: Clock, *, whole: bool
) -> AsyncGenerator[list[StreamEvent]]:
    """Answer in batches; whoever observes the service is told.

    `whole` says that the caller takes the answer in one piece.
    """
    streaming = service.config.streaming if whole else True
    if not service.observers:
        return service.batches(request, streaming=streaming)
    call = call_of(service, operation_of(request), request, clock, streaming=not whole)
    return _observed(service, request, call, streaming=streaming)


async def _observed(
    service: ServiceProvider, request: Prompt, call: Call, *, streaming: bool
) -> AsyncGenerator[list[StreamEvent]]:
    with call, call.attempt(service.server) as account:
        batches = service.batches(request, streaming=streaming, account=account)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                yield batch
