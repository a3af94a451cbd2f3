"""The models of one service: its list, kept for a while, and the one that a name means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from patinox.provider.errors import CloudModelRefused, InvalidRequest
from patinox.provider.local.catalog import Catalog, Names, distinct
from patinox.provider.local.link import LinkMixin
from patinox.provider.local.nearest import model_not_found
from patinox.provider.local.spec import Survey
from patinox.provider.local.waiting import in_time
from patinox.provider.types import ModelCapabilities, ModelId, ModelInfo


class FindingMixin(LinkMixin):
    """The part of a service that knows its models."""

    _catalog: Catalog
    _names: Names | None = None

    @abstractmethod
    async def fetch_models(self) -> list[ModelInfo]:
        """Ask the server for its models; raises `ProviderError`."""

    async def fetch_distinct(self) -> list[ModelInfo]:
        """Ask for its models, and leave out what it lists twice; raises `ProviderError`.

        Of another size, digest or quantization it is another model, whatever it is called.
        """
        return await distinct(
            await self.fetch_models(),
            lambda info: (
                self.normalize(info.id),
                info.digest,
                info.size_bytes,
                info.quantization,
            ),
        )

    def normalize(self, name: str) -> str:
        """Bring a model's name into the form in which two names of one model are equal."""
        return name.casefold()

    async def survey(self) -> Survey:
        """Ask in the cheapest way which models there are and which are loaded."""
        models = await self._catalog.get(fresh=True)
        return Survey(
            models=tuple(info.id for info in models),
            loaded=tuple(info.id for info in models if info.loaded),
        )

    async def list_models(self) -> list[ModelInfo]:
        """List its models, sorted by name; as fresh as `cache_ttl` says."""
        return sorted(await self._catalog.get(), key=lambda info: info.id)

    async def supports_model(self, model: ModelId | str) -> bool:
        """Tell whether it has the model; raises `ProviderError` if it cannot be asked."""
        return self.match(ModelId.parse(model), await self._catalog.get()) is not None

    async def model_capabilities(self, model: ModelId | str) -> ModelCapabilities | None:
        """Tell what the model can do, or `None` if it is not there."""
        info = self.match(ModelId.parse(model), await self._catalog.get())
        return info.capabilities if info else None

    def match(self, model: ModelId, models: Sequence[ModelInfo]) -> ModelInfo | None:
        """Find the model among `models`: by its exact name, else by a name that means the same."""
        if not self.is_meant(model):
            return None
        if self._names is None or self._names.models is not models:
            self._names = Names(models, self.normalize)
        return self._names.find(model.name)

    async def resolve(self, model: ModelId | str) -> ModelInfo:
        """Find the model, asking the server once more if it is not in a list that was kept.

        Raises:
            ModelNotFound: it is not there; the message has the nearest names.
            CloudModelRefused: it runs in the cloud and that is not allowed.
            InvalidRequest: its name names another service.
        """
        return self._allowed(await self.locate(model))

    def _allowed(self, info: ModelInfo) -> ModelInfo:
        if info.remote and not self.config.allow_cloud:
            raise CloudModelRefused(
                f"{info.id!r} runs in the cloud, although {self.label} lists it.",
                hint="To let prompts leave this machine: PATINOX_ALLOW_CLOUD=true.",
            )
        return info

    async def resolve_in_time(self, model: ModelId, within: float, phase: str) -> ModelInfo:
        """Find the model as `resolve` does, `within` seconds if the server is to be asked."""
        models = self.list_at_hand
        info = None if models is None else self.among(models, model)
        if info is not None:
            return self._allowed(info)
        return await in_time(within, phase, self.label, self.resolve(model))

    async def locate(self, model: ModelId | str) -> ModelInfo:
        """Find the model as `resolve` does, wherever it runs; raises `ModelNotFound`."""
        model = self.own(model)
        info = await self.find(model) or await self.find(model, fresh=True)
        if info is None:
            models = await self._catalog.get()
            raise model_not_found(model, models, where=self.label, service=self.id)
        return info

    async def find(self, model: ModelId | str, *, fresh: bool = False) -> ModelInfo | None:
        """Find the model in the list that is kept, or in a `fresh` one."""
        model = ModelId.parse(model)
        return self.among(await self._catalog.get(fresh=fresh), model)

    @property
    def list_at_hand(self) -> Sequence[ModelInfo] | None:
        """Its list of models, if that is so young that it need not be asked."""
        return self._catalog.at_hand

    def among(self, models: Sequence[ModelInfo], model: ModelId) -> ModelInfo | None:
        """Find the model among those it has listed and those it has without listing them."""
        return self.match(model, models) or self.unlisted(model)

    def own(self, model: ModelId | str) -> ModelId:
        """Read a name; raises `InvalidRequest` if it names another service."""
        wanted = ModelId.parse(model)
        if not self.is_meant(wanted):
            msg = f"{str(wanted)!r} names another service than {self.id}."
            raise InvalidRequest(msg, hint="Ask a LocalProvider, which has them all.")
        return wanted

    def unlisted(self, model: ModelId) -> ModelInfo | None:  # noqa: ARG002  for subclasses
        """Describe a model that the server knows without listing it; usually there is none."""
        return None
