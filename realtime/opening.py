"""Which session a socket asks for, and whether it may have it.

Refusals are answered in-band, since browsers cannot read the status of a failed handshake: one
`error` event, then the close code that OpenAI's server uses.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs, web

from engines.base import Busy, EngineError, ModelNotFound
from engines.models import ModelStore
from realtime.beta import HEADER, detect
from realtime.config import Configuration
from realtime.language import DEFAULT, LanguageModels
from realtime.secrets import PREFIX, Kind, Secret, Secrets
from realtime.session import OVERLOAD
from routes.auth import is_authorised, keys_from, refusal, tenant_of
from routes.services import SERVICES

TENTATIVE = "antiphon.tentative"
"""The extension by which a client asks for text that has not settled."""

_HOSTED = re.compile(r"gpt-realtime(?!-whisper|-translate).*|gpt-4o(-mini)?-realtime.*")
"""The names of OpenAI's own realtime models, which clients ask for by default."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that may be opened. `model` transcribes, or answers; `called` is the client's name
    for it, if any; `patch` is what the client's secret says of the session; `beta`: the client
    speaks the older dialect."""

    kind: Kind
    model: str
    tenant: str
    patch: Mapping[str, Any] | None = field(default=None, repr=False)
    tentative: bool = False
    beta: bool = False
    called: str | None = None


class Refused(Exception):
    """The session is not opened: an error event, then this close code."""

    def __init__(self, code: str, message: str, close_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.close_code = close_code


class Door:
    """Decides who comes in, as what."""

    def __init__(
        self,
        configuration: Configuration,
        models: ModelStore,
        language: LanguageModels,
        secrets: Secrets,
    ) -> None:
        self._limits = configuration.limits
        self._models = models
        self._language = language
        self._secrets = secrets

    def admit(self, request: web.Request, sessions: int) -> Opening:
        """The session that `request` may open, beside so many others. Raises `Refused`."""
        secret = self._secret(request)
        settings = request.app[SERVICES].settings
        if secret is None and not is_authorised(request, settings):
            raise Refused("invalid_api_key", refusal(request).message, 3000)
        kind, model = self._wanted(request, secret)
        if sessions >= self._limits.sessions:
            message = "All sessions of this server are taken. Try again in a moment."
            raise Refused("too_many_sessions", message, OVERLOAD)
        return Opening(
            kind,
            self._usable(kind, model),
            tenant_of(request, settings) if secret is None else secret.tenant,
            None if secret is None else secret.session,
            TENTATIVE in request.query.get("extensions", "").split(","),
            detect(
                request.headers.getall(HEADER, []),
                request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []),
                secret is not None and secret.older,
            ),
            model,
        )

    def _secret(self, request: web.Request) -> Secret | None:
        given = [key for key in keys_from(request) if key.startswith(PREFIX)]
        for key in given:
            found = self._secrets.find(key, time.time())
            if found is not None:
                return found
        if given:
            message = "The client secret has expired, or is none of this server's."
            raise Refused("invalid_api_key", message, 3000)
        return None

    def _wanted(self, request: web.Request, secret: Secret | None) -> tuple[Kind, str | None]:
        intent, model = request.query.get("intent"), request.query.get("model")
        if intent not in (None, "transcription"):
            message = f"Invalid value: '{intent[:64]}'. Supported values are: 'transcription'."
            raise Refused("invalid_value", message, 4000)
        if secret is not None:
            written = secret.session.get("model")
            return secret.kind, model or (written if isinstance(written, str) else None)
        if intent is not None:
            return "transcription", model
        if not model:
            message = "You must provide a model parameter, or intent=transcription."
            raise Refused("missing_model", message, 4000)
        return ("transcription" if self._transcribes(model) else "realtime"), model

    def _transcribes(self, model: str) -> bool:
        """Whether a model means transcription without the intent that says so."""
        if model == DEFAULT or _HOSTED.fullmatch(model):
            return False
        try:
            record = self._models.catalogue.resolve(model)
        except ModelNotFound:
            return False
        return self._models.catalogue.kind(record) == "transcription"

    def _usable(self, kind: Kind, model: str | None) -> str:
        catalogue = self._models.catalogue
        try:
            if kind == "transcription":
                name = catalogue.resolve(model or DEFAULT).name
                self._models.admit(name)
                return name
            name = language_model(model)
            self._language.check(name, "chat")
            self._models.admit(catalogue.default_transcription().name)
            return name
        except Busy as error:
            raise Refused("server_overloaded", str(error), OVERLOAD) from None
        except EngineError as error:
            raise Refused("model_not_found", str(error), 4004) from None


def language_model(name: str | None) -> str:
    """The language model that a client's name for a realtime model means."""
    return DEFAULT if not name or _HOSTED.fullmatch(name) else name
