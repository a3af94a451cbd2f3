"""Vectors from one service: many texts in several requests, put together in their order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from patinox.provider.embeddings import EmbeddingMatrix
from patinox.provider.errors import ProviderError
from patinox.provider.local.accounts import Attempt
from patinox.provider.local.errors import ParseError
from patinox.provider.local.features import refuse_lacking
from patinox.provider.local.preflight import refuse
from patinox.provider.local.prepare import mismatched
from patinox.provider.local.transport import MAX_REPLY
from patinox.provider.local.waiting import Limit, in_time
from patinox.provider.types import EmbeddingRequest, EmbeddingResponse, ModelInfo, Usage

if TYPE_CHECKING:
    from patinox.provider.local.service import ServiceProvider

# Bytes that a reply may have for each vector in it, and for all of them.
PER_VECTOR = 2**16
MAX_VECTORS = 2**28
# Bytes of text that are sent at once, whatever their number.
MAX_TEXT = 2**20
_BYTES_PER_TOKEN = 4


async def embed(
    service: ServiceProvider,
    request: EmbeddingRequest,
    clock: Callable[[], float],
    account: Attempt,
) -> EmbeddingResponse:
    """Turn the texts of a request into vectors; see `ServiceProvider.embed`."""
    began = clock()
    try:
        with service.gate.place() as turn, service.cold.start() as cold:
            if turn is not None:
                await in_time(request.timeout, "total", service.label, turn)
                account.waited(clock() - began)
            limit = _limit(service, request, clock, began)
            info = await service.found(request.model, limit, cold)
            account.finds(info)
            refuse_lacking(request, service.lacks, label=service.label, service=service.id)
            refuse(request, info, label=service.label, service=service.id)
            responses: list[EmbeddingResponse] = []
            for texts in in_batches(request.input, request.batch_size):
                part = replace(request, input=texts)
                responses.append(await _part(service, part, info, limit, account))
                cold.ends(loaded=True)
        response = joined(responses)
        account.takes_vectors(response)
    except ProviderError as error:
        service.make_discreet(error, request.input)
        error.service = error.service or service.id
        raise
    return replace(
        response,
        service=service.id,
        model=response.model or info.id,
        warnings=(
            *(_cut(request, info, service.label) if service.cuts_texts else ()),
            *_longer(request, response, service.label),
        ),
    )


def _limit(
    service: ServiceProvider,
    request: EmbeddingRequest,
    clock: Callable[[], float],
    began: float,
) -> Limit:
    """Return what tells how long the vectors may still take, now that their turn has come."""
    now, ends = clock(), list[tuple[float, str]]()
    if request.timeout is not None:
        ends.append((began + request.timeout, "total"))
    if service.config.timeout is not None:
        ends.append((now + service.config.timeout, "attempt"))
    if not ends:
        ends.append((now + service.deadlines(request).embed + len(request.input), "embed"))
    end, phase = min(ends)
    return lambda: (max(end - clock(), 0.0), phase)


async def _part(
    service: ServiceProvider,
    request: EmbeddingRequest,
    info: ModelInfo,
    limit: Limit,
    account: Attempt,
) -> EmbeddingResponse:
    http = service.dialect.render_embed(
        request,
        model=service.call_name(info),
        words=service.config.custom_params,
        room=info.loaded_context_length,
    )
    count = len(request.input)
    async with contextlib.AsyncExitStack() as stack:
        within, phase = limit()
        target = await stack.enter_async_context(service.target(info, within=within, phase=phase))
        within, phase = limit()
        account.sends(http)
        reply = await service.send(
            http,
            within=within,
            phase=phase,
            target=target,
            budget=max(MAX_REPLY, min(count * PER_VECTOR, MAX_VECTORS)),
        )
    account.replies(len(reply.body))
    response = service.read(reply, lambda good: service.dialect.parse_embed(good, count=count))
    if response.model and not service.answers_as(info, response.model):
        raise mismatched(service, info, response.model)  # other weights make other vectors
    return response


def in_batches(texts: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Cut texts into batches of at most `size` and, if it is more than one, 1 MiB of text."""
    batch: list[str] = []
    length = 0
    for text in texts:
        if batch and (len(batch) == size or length + len(text) > MAX_TEXT):
            yield tuple(batch)
            batch, length = [], 0
        batch.append(text)
        length += len(text)
    yield tuple(batch)


def joined(responses: Sequence[EmbeddingResponse]) -> EmbeddingResponse:
    """Make one response of several, in their order.

    Raises:
        ParseError: their vectors are not equally long.
    """
    first = responses[0]
    if len(responses) == 1:
        return first
    try:
        matrix = EmbeddingMatrix.joined([response.embeddings for response in responses])
    except ValueError as error:
        msg = f"The server sent vectors of different lengths: {error}."
        raise ParseError(msg) from error
    return replace(
        first,
        embeddings=matrix,
        usage=Usage(
            prompt_tokens=_sum([response.usage.prompt_tokens for response in responses]),
            total_tokens=_sum([response.usage.total_tokens for response in responses]),
        ),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _longer(request: EmbeddingRequest, response: EmbeddingResponse, label: str) -> tuple[str, ...]:
    """Warn of vectors of another length than was asked for, which some servers pass over."""
    made = response.embeddings.dimensions
    if request.dimensions in {None, made}:
        return ()
    return (f"{label} made vectors of {made:,} numbers instead of {request.dimensions:,}.",)


def _cut(request: EmbeddingRequest, info: ModelInfo, label: str) -> tuple[str, ...]:
    """Warn of texts that seem longer than the context, which the server cuts in silence."""
    room = info.loaded_context_length
    if room is None:
        return ()
    sizes = (len(text.encode("utf-8", "replace")) for text in request.input)
    long = sum(size > room * _BYTES_PER_TOKEN for size in sizes)
    if not long:
        return ()
    said = f"{long} of {len(request.input)} texts seem longer than the context of {room:,} tokens"
    return (f"{said}, in which case {label} cut them.",)
