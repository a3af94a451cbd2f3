"""Every local model through one door: find, choose, ask, ask the next.

Once a part of an answer has reached the caller nobody else is asked: two halves of two answers are
no answer.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Self, Unpack

from patinox.provider.base import CompletionStream
from patinox.provider.config import (
    ModelDefaults,
    RequestFields,
    fill_request,
    merge_request,
    resolve,
)
from patinox.provider.errors import ProviderClosed, ProviderError
from patinox.provider.local.accounts import Call
from patinox.provider.local.config import LocalProviderConfig, check_local_config
from patinox.provider.local.discovery import ServiceDiscovery
from patinox.provider.local.environment import load_config
from patinox.provider.local.errors import InvalidConfiguration, ModelNotFound
from patinox.provider.local.events import Observer, Operation
from patinox.provider.local.failover import Failover
from patinox.provider.local.features import Prompt
from patinox.provider.local.lifecycle_face import LifecycleFace
from patinox.provider.local.lmstudio import LMStudioProvider
from patinox.provider.local.lookup import ModelLookup
from patinox.provider.local.naming import nearness
from patinox.provider.local.observers import Observers
from patinox.provider.local.ollama import OllamaProvider
from patinox.provider.local.preflight import schema_in
from patinox.provider.local.registry import endpoint_variables
from patinox.provider.local.retrying import all_failed
from patinox.provider.local.routing import pick_default, plan
from patinox.provider.local.types import Occupancy, ServiceInfo
from patinox.provider.toolloop import ToolLoopOptions, ToolLoopResult, Tools, run_tools
from patinox.provider.types import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ModelCapabilities,
    ModelId,
    ModelInfo,
    StreamEvent,
    TextCompletionRequest,
    checked,
)


class LocalProvider(LifecycleFace):
    """All models of all services on this machine.

        async with LocalProvider() as local:
            answer = await local.complete(CompletionRequest("llama3.2:3b", ["Hello"]))

    Entering finds what is running and starts to watch it; leaving stops and closes everything.
    """

    name = "local"

    def __init__(
        self,
        config: LocalProviderConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Make it without any I/O.

        Args:
            config: its settings; without them the environment and the configuration file are read
                when it is entered.
            clock: monotonic seconds.
            observers: who is told what happens; see `patinox.telemetry`.

        Raises:
            InvalidConfiguration: one of these is of a wrong kind.
        """
        if config is not None:
            check_local_config(config)
        self._config = config
        self._clock = clock
        self._observers = Observers(observers)
        self._discovery: ServiceDiscovery | None = None
        self._left = False
        self._defaults = ModelDefaults()

    def __repr__(self) -> str:
        """Tell how many services there are and how they are."""
        if self._discovery is None:
            return "<LocalProvider: not entered>"
        infos = self._discovery.services
        states = [info.status for info in infos]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        models = sum(len(info.models) for info in infos)
        return f"<LocalProvider {len(infos)} services: {counts or 'none'} | {models} models>"

    async def __aenter__(self) -> Self:
        """Find what is running.

        Raises:
            InvalidConfiguration: a setting is wrong.
            RuntimeError: it is entered already.
        """
        if self._discovery is not None:
            msg = "This provider is entered already; make another one, or use this."
            raise RuntimeError(msg)
        if self._config is None:
            self._config = await asyncio.to_thread(_configured)
        self._discovery = ServiceDiscovery(
            self._config, clock=self._clock, observers=self._observers
        )
        try:
            await self._discovery.discover_services()
            if self._config.monitor:
                await self._discovery.start_health_monitoring()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching and close every connection; to leave twice does no harm."""
        discovery, self._discovery = self._discovery, None
        if discovery is not None:
            self._left = True
            await discovery.aclose()

    def with_defaults(self, defaults: ModelDefaults) -> Self:
        """Return this provider with defaults that fill what a request leaves open.

        It shares everything with this one and ends with it. These defaults win over those it has
        already, and what a request says wins over both.

        Raises:
            InvalidConfiguration: they are none.
        """
        if not isinstance(defaults, ModelDefaults):
            msg = f"`defaults` is a {type(defaults).__name__}; allowed: a ModelDefaults."
            raise InvalidConfiguration(msg)
        bound = copy.copy(self)
        bound._defaults = resolve(self._defaults, defaults)  # noqa: SLF001  the copy is our own
        return bound

    def request(self, **fields: Unpack[RequestFields]) -> CompletionRequest:
        """Make a request from the fields of `CompletionRequest` and the defaults.

        Raises:
            InvalidRequest: a field is wrong, or no model is named anywhere.
        """
        configured = ModelDefaults(model=self.config.default_model)
        return merge_request(resolve(configured, self._defaults), **fields)

    # What is there.

    @property
    def config(self) -> LocalProviderConfig:
        """The settings in force."""
        return self.discovery.config

    @property
    def discovery(self) -> ServiceDiscovery:
        """What finds and watches the services.

        Raises:
            RuntimeError: the provider was not entered.
            ProviderClosed: it was left.
        """
        if self._discovery is not None:
            return self._discovery
        if self._left:
            raise ProviderClosed("This provider is closed.", hint="Enter it again.")
        msg = "Write `async with LocalProvider() as local:` and use it inside."
        raise RuntimeError(msg)

    @property
    def _lookup(self) -> ModelLookup:
        return ModelLookup(self.discovery)

    @property
    def _failover(self) -> Failover:
        return Failover(self.discovery, clock=self._clock)

    @property
    def services(self) -> tuple[ServiceInfo, ...]:
        """Every service that was found, as it was last seen."""
        return self.discovery.services

    @property
    def ollama(self) -> OllamaProvider | None:
        """The Ollama on this machine, or `None`."""
        known = self.discovery.known(OllamaProvider.service_type)
        return known.provider if known and isinstance(known.provider, OllamaProvider) else None

    @property
    def lmstudio(self) -> LMStudioProvider | None:
        """The LM Studio on this machine, or `None`."""
        known = self.discovery.known(LMStudioProvider.service_type)
        return known.provider if known and isinstance(known.provider, LMStudioProvider) else None

    def occupancy(self) -> dict[str, Occupancy]:
        """Return how busy each service is with requests from here, by its id."""
        return {known.info.id: known.provider.occupancy for known in self.discovery.all_known()}

    def available_services(self) -> list[str]:
        """Return the kinds of service that can be used now."""
        return self.discovery.available_services()

    def get_service_info(self, name: str) -> ServiceInfo | None:
        """Return what is known of a service, by its id or as the best of a type."""
        return self.discovery.get_service_info(name)

    async def refresh_services(self) -> None:
        """Look again for services, now."""
        await self.discovery.discover_services(fresh=True)

    # ModelProvider.

    async def list_models(self) -> list[ModelInfo]:
        """List every model of every service, sorted; one entry for each model and service.

        Raises:
            ServiceNotFound: no service answers.
            ProviderError: none of the services could list its models.
        """
        with Call(Operation.LIST_MODELS, None, clock=self._clock, observers=self._observers):
            return await self._every_model()

    async def _every_model(self) -> list[ModelInfo]:
        lists = await self._lookup.lists()
        if not lists:
            raise self._lookup.nothing_runs()
        models = {
            (info.id, info.service): info
            for found in lists.values()
            if not isinstance(found, ProviderError)
            for info in found
        }
        failures = {
            name: error for name, error in lists.items() if isinstance(error, ProviderError)
        }
        if len(failures) == len(lists):
            raise all_failed(failures)
        return [models[key] for key in sorted(models)]

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Answer in one piece, from the best service that has the model.

        Raises:
            ModelNotFound: no service has the model; the message has the nearest names.
            ServiceNotFound: no service answers at all.
            StreamInterrupted: the answer broke off; it carries what had arrived.
            AllServicesFailed: several services were tried, and each failed.
            ProviderError: what the one service that was tried says.
        """
        return await self._whole(checked(request, CompletionRequest))

    def stream_completion(self, request: CompletionRequest) -> CompletionStream:
        """Answer piece by piece; the errors of `complete` come out of the iteration."""
        request = checked(request, CompletionRequest)
        return CompletionStream(self._batches(request, whole=False), schema=request.schema)

    async def run_tools(
        self,
        request: CompletionRequest,
        tools: Tools | None = None,
        **options: Unpack[ToolLoopOptions],
    ) -> ToolLoopResult:
        """Answer with tools that are run here, until the model calls no more.

        Every answer is one of `complete`. For the arguments see `patinox.provider.toolloop`:
        `tools`, else those of the request, `max_steps`, `on_call`, `on_result`, `parallel` and
        `on_error`.

        Raises:
            InvalidRequest: there is no tool, or an option is out of its range.
            ToolLoopLimit: the model does not stop to call tools.
            ProviderError: as for `complete`.
        """
        return await run_tools(self, checked(request, CompletionRequest), tools, **options)

    async def complete_text(self, request: TextCompletionRequest) -> CompletionResponse:
        """Go on with a text, or fill in its middle, in one piece; as `complete`.

        Raises:
            CapabilityNotSupported: the model or the service cannot.
            ProviderError: as for `complete`.
        """
        return await self._whole(checked(request, TextCompletionRequest))

    def stream_text(self, request: TextCompletionRequest) -> CompletionStream:
        """Go on with a text piece by piece; errors come out of the iteration."""
        request = checked(request, TextCompletionRequest)
        return CompletionStream(self._batches(request, whole=False))

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors; another service is asked only if it has the very same weights.

        Raises:
            ProviderError: as for `complete`.
        """
        return await self._failover.embed(checked(request, EmbeddingRequest))

    async def supports_model(self, model: ModelId | str) -> bool:
        """Tell whether a service has the model."""
        return bool(await self._lookup.candidates(ModelId.parse(model)))

    async def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        """Tell what the model can do on the service that would be asked, or `None`."""
        info = await self.find_model(model)
        return info.capabilities if info else None

    async def find_model(self, model: ModelId | str) -> ModelInfo | None:
        """Describe the model on the service that would be asked for it, or `None`."""
        wanted = ModelId.parse(model)
        candidates = await self._lookup.candidates(wanted)
        choices = plan(wanted, candidates, preference=self.config.preferred_service)
        by_id = {item.model.model_id: item.model for item in candidates}
        return by_id[choices[0].model] if choices else None

    async def default_model(self, *, vision: bool = False) -> tuple[ModelInfo, str]:
        """Choose the model to use where none is named, and say why.

        With `vision` it is one that is known to see pictures. One that is configured is used as it
        is.

        Raises:
            ModelNotFound: the configured one is not there, or no model can do it.
            ServiceNotFound: no service answers, or only the demo model could where an address is
                configured that does not.
        """
        named = self.config.default_model
        if named is not None:
            try:
                await self._lookup.route(ModelId.parse(named))
            except ModelNotFound as error:
                error.hint = f"It is the configured default model. {error.hint or ''}".strip()
                raise
            info = await self.find_model(named)
            if info is not None:
                return info, "configured"
        picked = await self._pick_default(vision=vision)
        if picked is None:
            # A server without a chat model is no reason to have none.
            await self._lookup.call_in()
            picked = await self._pick_default(vision=vision)
        if (
            picked is not None
            and picked[0].demo
            and (silent := self._lookup.configured_but_silent())
        ):
            raise silent
        if picked is None:
            can = "is known to see pictures" if vision else "can chat"
            msg = f"None of the models here {can}."
            raise ModelNotFound(
                msg, hint="What is here: patinox models; what to do: patinox doctor"
            )
        return picked

    async def _pick_default(self, *, vision: bool) -> tuple[ModelInfo, str] | None:
        models = await self._every_model()
        health = {info.id: info.status for info in self.services}
        wanted = self.config.preferred_service
        preferred = {info.id: nearness(info, wanted) for info in self.services}
        return pick_default(models, health, preferred=preferred, vision=vision)

    # How it is done.

    async def _whole(self, request: Prompt) -> CompletionResponse:
        batches = self._batches(request, whole=True)
        async with CompletionStream(batches, schema=schema_in(request)) as stream:
            return await stream.collect()

    def _batches(self, request: Prompt, *, whole: bool) -> AsyncGenerator[list[StreamEvent]]:
        request = fill_request(request, self._defaults)
        return self._failover.batches(request, whole=whole)


def _configured() -> LocalProviderConfig:
    return load_config(more=endpoint_variables())
