"""The WebSocket endpoint `/v1/realtime`: who may open which session, and the sessions that run.

Refusals are answered in-band, since browsers cannot read the status of a failed handshake: one
`error` event, then the close code that OpenAI's server uses.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from aiohttp import web

from engines.audio import Decoder
from engines.base import Busy, ModelNotFound
from engines.models import ModelStore
from engines.recognition import RecognitionOptions
from engines.tickets import Owner, Ticket
from pipelines.context import Bounds, Context
from pipelines.frames import Frame, Transcript
from pipelines.graph import Graph
from pipelines.loader import Plan
from realtime.config import Configuration
from realtime.log import session_id
from realtime.metrics import CountedGate, RealtimeMetrics
from realtime.protocol import ProtocolSettings, RealtimeProtocol
from realtime.retention import RetainedAudio
from realtime.session import OVERLOAD, Session, SessionLimits
from realtime.settings import Settings, Transcription
from routes.auth import in_band, is_authorised, refusal, tenant_of
from routes.errors import ApiError
from routes.services import SERVICES

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
TENTATIVE = "antiphon.tentative"
"""The extension by which a client asks for text that has not settled."""


class _Refused(Exception):
    """The session is not opened: an error event, then this close code."""

    def __init__(self, code: str, message: str, close_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.close_code = close_code


@dataclass(frozen=True, slots=True)
class _Counted:
    """Takes a session's counts into the metrics."""

    metrics: RealtimeMetrics
    gate: CountedGate
    protocol: RealtimeProtocol

    def observe(self, sender: str, frame: Frame) -> None:
        """Count final transcripts as they leave the pipeline."""
        if isinstance(frame, Transcript) and frame.state == "final":
            self.metrics.transcripts.inc()

    async def run(self) -> None:
        """Count once a second until cancelled, and once more at the end."""
        seen = 0
        try:
            while True:
                await asyncio.sleep(1.0)
                self.gate.count()
                seen = self._contradictions(seen)
        finally:
            self.gate.count()
            self._contradictions(seen)

    def _contradictions(self, seen: int) -> int:
        now = self.protocol.contradictions
        self.metrics.contradictions.inc(now - seen)
        return now


class RealtimeEndpoint:
    """Opens sessions and keeps account of them."""

    def __init__(
        self,
        configuration: Configuration,
        plan: Plan,
        models: ModelStore,
        open_voice_activity: Callable[[str], Ticket],
        metrics: RealtimeMetrics,
    ) -> None:
        self._configuration = configuration
        self._plan = plan
        self._models = models
        self._open_voice_activity = open_voice_activity
        self._metrics = metrics
        self._sessions: set[Session] = set()

    @property
    def sessions(self) -> frozenset[Session]:
        """The sessions that run."""
        return frozenset(self._sessions)

    @in_band
    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one socket from handshake to close."""
        socket = web.WebSocketResponse(
            protocols=("realtime",),
            compress=False,
            max_msg_size=self._configuration.limits.message_bytes,
            heartbeat=HEARTBEAT_SECONDS,
        )
        if not socket.can_prepare(request):
            raise ApiError(426, "This address speaks WebSocket.", headers={"Upgrade": "websocket"})
        await socket.prepare(request)
        try:
            model = self._admit(request)
        except _Refused as refused:
            await _refuse(socket, refused)
            return socket
        tentative = TENTATIVE in request.query.get("extensions", "").split(",")
        await self._serve(request, socket, model, tentative)
        return socket

    async def stop(self, seconds: float) -> None:
        """End all sessions: what was spoken gets its text if that takes no longer than this."""
        await asyncio.gather(*(session.finish(seconds) for session in self._sessions))

    def _admit(self, request: web.Request) -> str:
        """The transcription model of the session to open."""
        if not is_authorised(request, request.app[SERVICES].settings):
            raise _Refused("invalid_api_key", refusal(request).message, 3000)
        intent, model = request.query.get("intent"), request.query.get("model")
        if intent not in (None, "transcription"):
            message = f"Invalid value: '{intent[:64]}'. Supported values are: 'transcription'."
            raise _Refused("invalid_value", message, 4000)
        if intent is None and not model:
            message = "You must provide a model parameter, or intent=transcription."
            raise _Refused("missing_model", message, 4000)
        if len(self._sessions) >= self._configuration.limits.sessions:
            message = "All sessions of this server are taken. Try again in a moment."
            raise _Refused("too_many_sessions", message, OVERLOAD)
        try:
            name = self._models.catalogue.resolve(model or "default").name
            self._models.admit(name)
        except ModelNotFound as error:
            raise _Refused("model_not_found", str(error), 4004) from None
        except Busy as error:
            raise _Refused("server_overloaded", str(error), OVERLOAD) from None
        return name

    async def _serve(
        self, request: web.Request, socket: web.WebSocketResponse, model: str, tentative: bool
    ) -> None:
        name = _new_id("sess")
        owner = Owner(name, tenant_of(request, request.app[SERVICES].settings))
        token = session_id.set(name)
        limits = self._configuration.limits
        retained = RetainedAudio(limits.retained_audio_seconds)
        gate = CountedGate(self._metrics)
        protocol = self._protocol(name, model, tentative, retained)
        session = Session(
            name,
            socket,
            protocol,
            lambda deliver: self._graph(owner, deliver, gate),
            retained=retained,
            limits=SessionLimits(
                limits.idle_seconds, limits.session_seconds, limits.outbound_events
            ),
        )
        counted = _Counted(self._metrics, gate, protocol)
        session.graph.observe(counted.observe)
        counting = asyncio.create_task(counted.run())
        self._sessions.add(session)
        self._metrics.sessions.set(len(self._sessions))
        log.info("opened, model %s", model)
        try:
            code = await session.run()
            self._metrics.closed.labels(str(code)).inc()
            log.info("closed with %s", code)
        finally:
            self._sessions.discard(session)
            self._metrics.sessions.set(len(self._sessions))
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            session_id.reset(token)

    def _protocol(
        self, name: str, model: str, tentative: bool, retained: RetainedAudio
    ) -> RealtimeProtocol:
        limits = self._configuration.limits
        language = self._configuration.defaults.language
        terms = ProtocolSettings(
            session_id=name,
            expires_at=round(time.time() + limits.session_seconds),
            max_seconds=round(limits.session_seconds),
            settings=Settings(model, transcription=Transcription(language=language)),
            tentative=tentative,
        )
        return RealtimeProtocol(
            terms,
            new_id=_new_id,
            check_model=self._check_model,
            decoder=Decoder,
            audio_of=retained.audio_of,
        )

    def _check_model(self, model: str, language: str | None) -> None:
        self._models.check(model, RecognitionOptions(language=language))

    def _graph(self, owner: Owner, deliver: Callable[[Frame], None], gate: CountedGate) -> Graph:
        limits = self._configuration.limits
        return self._plan.build(
            Context(
                owner=owner,
                models=self._models,
                open_voice_activity=self._open_voice_activity,
                new_item=lambda: _new_id("item"),
                deliver=deliver,
                bounds=Bounds(manual_buffer=limits.manual_buffer_seconds),
                ready_seconds=limits.unprocessed_audio_seconds,
                new_gate=lambda: gate,
            )
        )


async def _refuse(socket: web.WebSocketResponse, refused: _Refused) -> None:
    kind = "server_error" if refused.close_code == OVERLOAD else "invalid_request_error"
    error = {"type": kind, "code": refused.code, "message": str(refused)}
    event = {
        "type": "error",
        "event_id": _new_id("event"),
        "error": {**error, "param": None, "event_id": None},
    }
    reason = f"{kind}.{refused.code}"
    log.info("refused: %s", refused)
    try:
        await socket.send_str(orjson.dumps(event).decode())
        await socket.close(code=refused.close_code, message=reason.encode())
    except ConnectionError:
        return


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
