"""What the text routes use: the models here, and those of the providers in the configuration."""

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from engines.base import JobClass, ModelNotFound
from engines.cloud import Endpoint, Provider, RemoteModel
from engines.generation import Embed, Embedding, Generate, GenerationEvent, Rank, Relevance
from engines.models import ModelStore
from realtime.config import Configuration
from realtime.config import Provider as ProviderSettings
from routes.services import TextTask

log = logging.getLogger(__name__)

DEFAULT = "default"
"""What a client asks for that leaves the choice to the server."""


class LanguageModels:
    """See `routes.services.LanguageModels`."""

    def __init__(self, store: ModelStore, configuration: Configuration) -> None:
        self._store = store
        self._default = configuration.provider_chat
        self._providers = {
            name: Provider(_endpoint(name, settings))
            for name, settings in configuration.providers.items()
        }

    def check(self, model: str, task: TextTask) -> None:
        """Raise `ModelNotFound` or `Unsupported`, with what to run, before any work."""
        if self.remote(model) is None:
            self._store.catalogue.resolve_text(model, task)

    def remote(self, model: str) -> RemoteModel | None:
        """The provider's model that a name means; a model that is here comes first."""
        if model == DEFAULT and self._default is not None:
            model = self._default
        provider, dot, name = model.partition(".")
        if not dot or provider not in self._providers:
            return None
        try:
            self._store.catalogue.resolve(model)
        except ModelNotFound:
            return self._providers[provider].model(name)
        return None

    def sees(self, model: str) -> bool:
        """Whether a message to it may have images in it. A provider's model may; what it makes of
        them is its affair."""
        return self.remote(model) is not None

    async def warm(self, model: str) -> None:
        """Have it ready for an answer; a provider's always is. Raises `EngineError`."""
        if self.remote(model) is None:
            await self._store.language(model, "chat")

    async def generate(
        self, model: str, request: Generate, *, owner: str, kind: JobClass = JobClass.REST
    ) -> AsyncGenerator[GenerationEvent, None]:
        """One answer, as it is made. `kind` is for the models here."""
        remote = self.remote(model)
        if remote is not None:
            answer = remote.generate(request)
        else:
            here = await self._store.language(model, "chat")
            answer = here.generate(request, owner=owner, kind=kind)
        async with aclosing(answer):
            async for event in answer:
                yield event

    async def embed(self, model: str, inputs: Sequence[Embed], *, owner: str) -> list[Embedding]:
        """A vector for each input, in order."""
        remote = self.remote(model)
        if remote is not None:
            return await remote.embed(inputs)
        return await (await self._store.language(model, "embedding")).embed(inputs, owner=owner)

    async def rank(self, model: str, pairs: Sequence[Rank], *, owner: str) -> list[Relevance]:
        """How relevant each pair's document is, in order."""
        remote = self.remote(model)
        if remote is not None:
            return await remote.rank(pairs)
        return await (await self._store.language(model, "rerank")).rank(pairs, owner=owner)

    async def close(self) -> None:
        """Close the connections to providers."""
        for provider in self._providers.values():
            await provider.close()


def _endpoint(name: str, settings: ProviderSettings) -> Endpoint:
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if settings.api_key_env is not None:
        key = os.environ.get(settings.api_key_env)
        if not key:
            log.warning("provider '%s' has no key: %s is not set", name, settings.api_key_env)
    return Endpoint(name, settings.base_url, key)
