"""`POST /v1/realtime/client_secrets`, and its two predecessors in the older dialect.

Whoever has a key of this server gets secrets that a page in a browser can open sessions with.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from realtime.beta_shapes import flat_path, session_in, session_out
from realtime.secrets import Kind, Secret, Secrets
from realtime.settings import SettingsError
from routes.auth import tenant_of
from routes.bodies import read_json, validated
from routes.errors import ApiError, invalid, json_response
from routes.services import SERVICES

SESSION_BYTES = 256 << 10
"""Most that the session of a secret may take as JSON."""
USUAL_SECONDS = 600

_NO_STORE: Mapping[str, str] = {hdrs.CACHE_CONTROL: "no-store"}

_BodyT = TypeVar("_BodyT", bound=BaseModel)


class Describing(Protocol):
    """One kind of session, before there is a socket."""

    def describe(
        self, patch: Mapping[str, Any], session_id: str, expires_at: int
    ) -> dict[str, Any]:
        """The effective session that `patch` makes, as `session.created` would carry it.

        Raises `SettingsError` and `EngineError`.
        """
        ...


class _Lasting(BaseModel):
    model_config = ConfigDict(strict=True)
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = USUAL_SECONDS


class _Body(BaseModel):
    expires_after: _Lasting | None = None
    session: dict[str, Any] | None = None


class _OlderSecret(BaseModel):
    expires_after: _Lasting | None = None
    expires_at: _Lasting | None = None


class _OlderBody(BaseModel):
    client_secret: _OlderSecret | None = None


class ClientSecrets:
    """The three routes. `new_id` makes a unique id from a prefix; `clock` gives seconds since the
    epoch."""

    def __init__(
        self,
        secrets: Secrets,
        kinds: Mapping[Kind, Describing],
        new_id: Callable[[str], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = secrets
        self._kinds = kinds
        self._new_id = new_id
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/realtime/client_secrets", self.create),
            web.post("/v1/realtime/sessions", self.create_session),
            web.post("/v1/realtime/transcription_sessions", self.create_transcription_session),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A secret for a session of either type; without `session` for one of type `realtime`."""
        body = await _body(request, _Body)
        patch = body.session if body.session is not None else {"type": "realtime"}
        kind: Kind = "transcription" if patch.get("type") == "transcription" else "realtime"
        try:
            minted = await self._mint(request, kind, patch, body.expires_after)
        except SettingsError as error:
            raise ApiError(400, error.message, code=error.code, param=error.param) from None
        told = {"value": minted.value, "expires_at": minted.expires_at, "session": minted.session}
        return json_response(told, headers=_NO_STORE)

    async def create_session(self, request: web.Request) -> web.Response:
        """`/v1/realtime/sessions`: the older dialect's secret for a conversation."""
        return await self._create_older(request, "realtime")

    async def create_transcription_session(self, request: web.Request) -> web.Response:
        """`/v1/realtime/transcription_sessions`: the older dialect's secret for transcription."""
        return await self._create_older(request, "transcription")

    async def _create_older(self, request: web.Request, kind: Kind) -> web.Response:
        flat = await read_json(request)
        lasting = (await validated(flat, _OlderBody)).client_secret or _OlderSecret()
        patch = session_in(flat, kind)
        try:
            minted = await self._mint(
                request, kind, patch, lasting.expires_after or lasting.expires_at, older=True
            )
        except SettingsError as error:
            param = flat_path(error.param).removeprefix("session.")
            message = error.message.replace(f"'{error.param}'", f"'{param}'")
            raise ApiError(400, message, code=error.code, param=param) from None
        secret = {"value": minted.value, "expires_at": minted.expires_at}
        told = {**session_out(minted.session), "client_secret": secret}
        return json_response(told, headers=_NO_STORE)

    async def _mint(
        self,
        request: web.Request,
        kind: Kind,
        patch: Mapping[str, Any],
        lasting: _Lasting | None,
        *,
        older: bool = False,
    ) -> "_Minted":
        size = len(await asyncio.to_thread(orjson.dumps, patch))
        if size > SESSION_BYTES:
            raise invalid("session", f"The session is larger than {SESSION_BYTES >> 10} KiB.")
        now = self._clock()
        expires_at = int(now) + (lasting or _Lasting()).seconds
        session = self._kinds[kind].describe(patch, self._new_id("sess"), expires_at)
        tenant = tenant_of(request, request.app[SERVICES].settings)
        secret = Secret(tenant, kind, expires_at, patch, size, older)
        return _Minted(self._secrets.mint(secret, now), expires_at, session)


@dataclass(frozen=True, slots=True)
class _Minted:
    value: str
    expires_at: int
    session: dict[str, Any]


async def _body(request: web.Request, model: type[_BodyT]) -> _BodyT:
    return await validated(await read_json(request), model)
