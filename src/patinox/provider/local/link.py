"""Words to one server and back: where it is, what it is sent, and what its replies mean."""

from __future__ import annotations

import contextlib
from abc import ABC
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, TypeVar

import msgspec

from patinox.provider.errors import ProviderError
from patinox.provider.local.config import ServiceConfig
from patinox.provider.local.dialects.base import Dialect
from patinox.provider.local.dialects.faults import discreet, is_fault
from patinox.provider.local.endpoint import Endpoint
from patinox.provider.local.errors import ParseError, ServiceUnavailable
from patinox.provider.local.events import Server
from patinox.provider.local.spec import Target
from patinox.provider.local.transport import MAX_REPLY, Transport
from patinox.provider.local.waiting import MANY, MUCH, in_time, off_loop
from patinox.provider.local.wire.http import HTTPReply, HTTPRequest
from patinox.provider.local.wire.json import decode_entries, decode_leniently
from patinox.provider.secret import Secret
from patinox.provider.types import ModelId, ModelInfo

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class LinkMixin(ABC):
    """The part of a service that talks with its server."""

    service_type: ClassVar[str]
    label: ClassVar[str]
    dialect: ClassVar[Dialect]

    id: str
    endpoint: Endpoint
    config: ServiceConfig
    skipped_entries: int
    # Makes sure, where that is in doubt, that the server is the one that the key was given for.
    vouch: Callable[[], Awaitable[None]] | None = None
    _transport: Transport

    @property
    def server(self) -> Server:
        """Who it is, for observers."""
        return Server(self.id, self.service_type, self.endpoint.host, self.endpoint.port)

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return str(self.endpoint)

    def is_meant(self, model: ModelId) -> bool:
        """Whether the model is asked for here, where it is this service that was asked."""
        return model.provider_hint in {None, self.id, self.service_type}

    async def key(self) -> Secret | None:
        """Return the key to show; raises `ServiceUnavailable` if somebody else would see it."""
        if self.config.api_key and self.vouch is not None:
            await self.vouch()
        return self.config.api_key

    def target(
        self,
        info: ModelInfo,  # noqa: ARG002  for subclasses
        *,
        within: float | None = None,
        phase: str = "first_token",
    ) -> AbstractAsyncContextManager[Target]:
        """Give the address that answers for this model, as long as it is needed.

        Where it has to be waited for, that takes `within` seconds at most: that limit's `phase`.
        """
        if self.config.api_key:
            return self._keyed(within, phase)
        return contextlib.nullcontext(Target(endpoint=self.endpoint))

    @contextlib.asynccontextmanager
    async def _keyed(self, within: float | None, phase: str) -> AsyncGenerator[Target]:
        key = await in_time(within, phase, self.label, self.key())
        yield Target(endpoint=self.endpoint, api_key=key)

    async def send(
        self,
        request: HTTPRequest,
        *,
        within: float | None = None,
        phase: str = "listing",
        target: Target | None = None,
        budget: int = MAX_REPLY,
    ) -> HTTPReply:
        """Send a request that is answered in one piece, `within` seconds: that limit's `phase`.

        The reply may have `budget` bytes.
        """
        target = target or Target(endpoint=self.endpoint, api_key=await self.key())
        try:
            return await self._transport.send(
                target.endpoint,
                request,
                within=self.config.deadlines.listing if within is None else within,
                phase=phase,
                connect=self._connect(target.endpoint),
                api_key=target.api_key,
                budget=budget,
            )
        except ServiceUnavailable as error:
            raise by_contract(error) from error.__cause__

    async def ask(self, request: HTTPRequest, kind: type[S]) -> S:
        """Send a request and decode the reply as `kind`.

        Raises:
            ProviderError: what the server's error means, or `ParseError`.
        """
        what = self._reply_to(request)
        reply = await self.send(request)

        def read() -> S:
            return self.read(reply, lambda good: decode_leniently(good.body, kind, what=what))

        try:
            return await off_loop(read, much=len(reply.body) > MUCH)
        except ProviderError as error:
            self.make_discreet(error)
            raise

    async def entries(
        self, request: HTTPRequest, items: Sequence[msgspec.Raw], kind: type[S], *, at: str
    ) -> list[S]:
        """Decode the good ones of the entries that came for `request`, at the path `at`.

        Raises:
            ParseError: all of them are bad.
        """
        what = self._reply_to(request)
        good = await off_loop(
            lambda: decode_entries(items, kind, what=what, at=at), much=len(items) > MANY
        )
        self.skipped_entries += len(items) - len(good)
        return good

    def _reply_to(self, request: HTTPRequest) -> str:
        return f"The reply of {self.label} to {request.method} {request.path}"

    def make_discreet(self, error: ProviderError, said: Iterable[str] = ()) -> None:
        """Take out of an error what the server repeats of the key and of the request."""
        key = self.config.api_key.reveal() if self.config.api_key else ""
        error.message = discreet(error.message, key=key, said=said)
        error.args = (error.message,)

    def read(self, reply: HTTPReply, parse: Callable[[HTTPReply], T]) -> T:
        """Parse a reply; one that says it went well may still be an error (LM Studio)."""
        if not reply.ok:
            raise self.dialect.classify(reply)
        try:
            return parse(reply)
        except ParseError:
            if is_fault(reply.body):
                raise self.dialect.classify(reply) from None
            raise

    def _connect(self, endpoint: Endpoint) -> float:
        deadlines = self.config.deadlines
        return deadlines.connect if endpoint.is_loopback else deadlines.connect_remote


def by_contract(error: ServiceUnavailable) -> ProviderError:
    """Take wrong HTTP of a service, which has proven that it speaks it, for a broken contract."""
    return ParseError(error.message, hint=error.hint) if error.foreign else error
