"""One service at one address: a dialect, an endpoint and what makes the service itself.

A new service is one file beside this one, with a `SERVICE = ServiceSpec(...)` and, where it behaves
in its own way, a subclass of `ServiceProvider`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import ClassVar, Self

from msgspec.structs import replace

from patinox.provider.base import CompletionStream
from patinox.provider.errors import CapabilityNotSupported, CloudModelRefused, ProviderError
from patinox.provider.local.accounts import Attempt
from patinox.provider.local.answer import Answer
from patinox.provider.local.catalog import Catalog, Clock
from patinox.provider.local.config import Deadlines, ServiceConfig
from patinox.provider.local.endpoint import Endpoint, parse_endpoint
from patinox.provider.local.errors import (
    InvalidConfiguration,
    ModelNotLoaded,
    ServiceTimeout,
    ServiceUnavailable,
)
from patinox.provider.local.events import Observer, Operation
from patinox.provider.local.features import Lacks, Prompt
from patinox.provider.local.lifecycle import LifecycleMixin
from patinox.provider.local.limits import ColdStart, ColdStarts, Gate
from patinox.provider.local.link import by_contract
from patinox.provider.local.observers import Observers
from patinox.provider.local.preflight import said_in, schema_in
from patinox.provider.local.prepare import prepare
from patinox.provider.local.spec import Target
from patinox.provider.local.telling import call_of, told
from patinox.provider.local.transport import StreamReply, Transport
from patinox.provider.local.types import Occupancy
from patinox.provider.local.vectors import embed
from patinox.provider.local.waiting import Limit, in_time
from patinox.provider.local.wire.http import HTTPRequest
from patinox.provider.types import (
    CompletionMessage,
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    LoadProgress,
    ModelId,
    ModelInfo,
    StreamEvent,
    TextCompletionRequest,
    checked,
)

# How long the end of a body may take after the answer's end, before the connection is closed.
DRAIN = 0.1


class ServiceProvider(LifecycleMixin):
    """A `ModelProvider` for one service; use it as a context manager, or call `aclose`.

    Attributes:
        observers: who is told what happens.
        skipped_entries: entries of the server's lists that could not be read, so far.
    """

    # What cannot be asked of it, whichever model it has.
    lacks: ClassVar[Lacks] = {}
    # Whether what is too long for the context is cut in silence.
    cuts_prompts: ClassVar[bool] = True
    cuts_texts: ClassVar[bool] = False
    default_port: ClassVar[int] = 80
    # Whether a connection outlives an answer. A new one for each costs as much as all else we do.
    keeps_connections: ClassVar[bool] = False
    # Two requests for a model that is not in memory would load it two times.
    loads_twice: ClassVar[bool] = False
    # An assistant's message at the end is the beginning of the answer.
    prefills: ClassVar[bool] = False

    @property
    def options_type(self) -> str:
        """The kind of `ServiceOptions` that it takes."""
        return self.service_type

    def __init__(
        self,
        endpoint: str | Endpoint = "",
        config: ServiceConfig | None = None,
        *,
        service_id: str | None = None,
        transport: Transport | None = None,
        clock: Clock = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Make it without any I/O.

        Args:
            endpoint: base address in any form; empty for the service's usual one.
            config: its settings.
            service_id: what to call it; its type if not given.
            transport: connections shared with others; its own if not given.
            clock: monotonic seconds.
            observers: who is told what happens.

        Raises:
            InvalidConfiguration: the address is not one, or the config or an observer is none.
        """
        if config is not None and not isinstance(config, ServiceConfig):
            msg = f"`config` is a {type(config).__name__}; allowed: a ServiceConfig."
            raise InvalidConfiguration(msg)
        if not isinstance(endpoint, Endpoint):
            endpoint = parse_endpoint(endpoint, default_port=self.default_port)
        super().__init__()
        self.endpoint = endpoint.addresses()[0]
        self.config = config or ServiceConfig()
        self.id = service_id or self.service_type
        self.observers = Observers(observers)
        self.skipped_entries = 0
        self._own_transport = transport is None
        self._transport = transport or Transport()
        self._clock = clock
        self._catalog = Catalog(self.fetch_distinct, ttl=self.config.cache_ttl, clock=clock)
        self.gate = Gate(self.config.max_in_flight, longest=self.config.max_waiting)
        self.cold = ColdStarts()

    @property
    def occupancy(self) -> Occupancy:
        """How busy it is with requests from here."""
        return self.gate.occupancy

    def __repr__(self) -> str:
        """Tell what it is and where."""
        return f"<{type(self).__name__} {self.id} at {self.endpoint}>"

    async def __aenter__(self) -> Self:
        """Enter; nothing is sent."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close its connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close what belongs to it; what is under way ends with `ProviderClosed`."""
        self.hang_up()
        self.gate.close()
        self.cold.close()
        await self._loads.aclose()
        await self._catalog.aclose()
        if self._own_transport:
            await self._transport.aclose()

    def moved(self, endpoint: Endpoint) -> None:
        """Go on where its name leads now; what was kept is of the server that was there before."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.forget()

    def forget(self) -> None:
        """Ask the server for its models the next time, however young its list is."""
        self._catalog.forget()

    def hang_up(self) -> None:
        """End what is under way on connections of its own."""
        if self._own_transport:
            self._transport.hang_up()

    # What a service has to know.

    def call_name(self, info: ModelInfo) -> str:
        """Return the name under which the server wants to be asked for the model."""
        return info.id

    def adapt(self, request: CompletionRequest, info: ModelInfo) -> CompletionRequest:  # noqa: ARG002
        """Add to a request what belongs to the model; usually the server does that itself."""
        return request

    def answers_as(self, info: ModelInfo, answered: str) -> bool:
        """Tell whether an answer signed `answered` may come from the model."""
        return self.normalize(answered) in map(self.normalize, (info.id, *info.aliases))

    @property
    def inferred_version(self) -> str | None:
        """The version that can be concluded from what the server has answered so far."""
        return None

    # ModelProvider.

    @property
    def name(self) -> str:
        """Its id."""
        return self.id

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Answer in one piece: the fold of the same events that a stream hands out.

        Raises:
            ProviderError: see `patinox.provider.local.errors`.
        """
        return await self._whole(checked(request, CompletionRequest))

    def stream_completion(self, request: CompletionRequest) -> CompletionStream:
        """Answer piece by piece; errors come out of the iteration."""
        request = checked(request, CompletionRequest)
        return CompletionStream(
            told(self, request, self._clock, whole=False), schema=request.schema
        )

    async def complete_text(self, request: TextCompletionRequest) -> CompletionResponse:
        """Go on with a text, or fill in its middle, in one piece; as `complete`.

        Raises:
            CapabilityNotSupported: the model or the service cannot.
            ProviderError: see `patinox.provider.local.errors`.
        """
        return await self._whole(checked(request, TextCompletionRequest))

    def stream_text(self, request: TextCompletionRequest) -> CompletionStream:
        """Go on with a text piece by piece; errors come out of the iteration."""
        request = checked(request, TextCompletionRequest)
        return CompletionStream(told(self, request, self._clock, whole=False))

    async def _whole(self, request: Prompt) -> CompletionResponse:
        batches = told(self, request, self._clock, whole=True)
        async with CompletionStream(batches, schema=schema_in(request)) as stream:
            return await stream.collect()

    async def batches(
        self, request: Prompt, *, streaming: bool, account: Attempt | None = None
    ) -> AsyncGenerator[list[StreamEvent]]:
        """Answer as events, in the batches in which they arrive.

        They are asked for piece by piece, or (`streaming=False`) in one. How far it came is noted
        in the `account`.
        """
        answer = Answer(
            service=self.id,
            deadlines=self.deadlines(request),
            total=request.timeout,
            attempt=self.config.timeout,
            clock=self._clock,
            account=account,
        )
        try:
            with self.gate.place() as turn, self.cold.start() as cold:
                if turn is not None:
                    await in_time(answer.total(), "total", self.label, turn)
                    answer.starts()
                info = await self.found(request.model, answer.limit, cold)
                answer.found(info)
                prepared = await prepare(self, request, info, streaming=streaming)
                answer.expect(prepared)
                if info.loaded is False and not info.remote:
                    async with contextlib.aclosing(self._loading(info, answer)) as loading:
                        async for progress in loading:
                            yield [progress]
                within, phase = answer.limit()
                async with self.target(info, within=within, phase=phase) as target:
                    with await self._asked(prepared.http, target, answer) as reply:
                        while not answer.ended:
                            within, phase = answer.limit()
                            events = answer.receive(await reply.read(within=within, phase=phase))
                            if events:
                                if answer.answering:
                                    cold.ends(loaded=True)
                                yield events
                            if answer.error is not None:
                                raise self._wrong(answer.error)
                        await reply.drain(within=DRAIN)
                if info.loaded is False:
                    self._catalog.forget()  # it is in memory now
        except ProviderError as error:
            self.make_discreet(error, said_in(request))
            failure = answer.failed(error)
            raise failure from failure.__cause__

    def _wrong(self, error: ProviderError) -> ProviderError:
        """Return what was wrong with an answer; a list that called a cloud model local is old."""
        if isinstance(error, CloudModelRefused):
            self._catalog.forget()
        return error

    async def _loading(self, info: ModelInfo, answer: Answer) -> AsyncGenerator[LoadProgress]:
        """Tell of a model that is not in memory that it is loaded, and how far that is."""
        yield _progress(info, None, answer)
        loaded = 0.0
        async with contextlib.aclosing(self.warmed(info)) as steps:
            while True:
                step = await in_time(*answer.limit(), self.label, anext(steps, None))
                if step is None:
                    return
                if step > loaded:
                    loaded = step
                    answer.goes_on()
                yield _progress(info, step, answer)

    async def warmed(self, info: ModelInfo) -> AsyncGenerator[float]:  # noqa: ARG002  for subclasses
        """Have a model loaded before it is asked, and tell how far that is, 0 to 1.

        Only for a server that tells: all load a model that is asked by themselves.
        """
        return
        yield  # an empty generator

    async def found(self, model: ModelId, limit: Limit, cold: ColdStart) -> ModelInfo:
        """Find the model; where the server would load it twice, wait for the one who loads it."""
        info = await self.resolve_in_time(model, *limit())
        cold_here = self.loads_twice and info.loaded is False
        if cold_here and await self._loaded_by_another(info, limit, cold):
            self._catalog.forget()
            info = await self.resolve_in_time(model, *limit())
        return info

    async def _loaded_by_another(self, info: ModelInfo, limit: Limit, cold: ColdStart) -> bool:
        try:
            return await in_time(*limit(), self.label, cold.turn(info.id))
        except ServiceTimeout as error:
            if error.phase == "total":
                raise
            msg = f"{self.label} did not load {info.id!r} for another request in time."
            # No fault of the server's: it was not asked.
            raise ModelNotLoaded(msg, service=self.id) from None

    async def resumed(self, request: Prompt, model: ModelId, text: str) -> Prompt:  # noqa: ARG002  for subclasses
        """Return the request that goes on where `text`, the answer so far, ends.

        Raises:
            CapabilityNotSupported: this service begins every answer anew.
        """
        if isinstance(request, TextCompletionRequest):
            return replace(request, prompt=request.prompt + text)
        if not self.prefills:
            msg = f"{self.label} begins every answer anew."
            raise CapabilityNotSupported(msg, service=self.id)
        said = CompletionMessage.assistant(text)
        return replace(request, messages=(*request.messages, said))

    def deadlines(self, request: Prompt | EmbeddingRequest) -> Deadlines:
        """Return the limits of the phases: what the request says, else the settings."""
        if not request.deadlines:
            return self.config.deadlines
        return replace(self.config.deadlines, **request.deadlines)

    async def _asked(self, http: HTTPRequest, target: Target, answer: Answer) -> StreamReply:
        """Send the request and return the reply that has the answer; raises what else it says."""
        within, phase = answer.limit()
        answer.asked(http)
        try:
            reply = await self._transport.stream(
                target.endpoint,
                http,
                within=within,
                phase=phase,
                connect=answer.connect(local=target.endpoint.is_loopback),
                api_key=target.api_key,
                keep=self.keeps_connections,
            )
        except ServiceUnavailable as error:
            raise by_contract(error) from error.__cause__
        answer.accepted()
        if reply.status != 200:  # noqa: PLR2004  the one status of an answer
            with reply:
                within, phase = answer.limit()
                refusal = await reply.whole(within=within, phase=phase)
            answer.accepted(len(refusal.body))
            raise self.dialect.classify(refusal)
        return reply

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors; many are sent in several requests.

        Raises:
            CapabilityNotSupported: the model is known to make no vectors.
            ProviderError: see `patinox.provider.local.errors`.
        """
        request = checked(request, EmbeddingRequest)
        call = call_of(self, Operation.EMBEDDINGS, request, self._clock)
        with call, call.attempt(self.server) as account:
            return await self.vectors(request, account=account)

    async def vectors(self, request: EmbeddingRequest, *, account: Attempt) -> EmbeddingResponse:
        """Turn texts into vectors, as `embed`; how far it came is noted in the `account`."""
        return await embed(self, request, self._clock, account)


def _progress(info: ModelInfo, fraction: float | None, answer: Answer) -> LoadProgress:
    return LoadProgress(
        model=info.id, service=info.service, fraction=fraction, seconds=answer.seconds
    )
