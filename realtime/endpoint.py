"""The WebSocket endpoint `/v1/realtime`, and the sessions that run."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson
from aiohttp import web

from engines.base import EngineError, JobClass
from engines.models import ModelStore
from engines.tickets import Owner, Ticket
from pipelines.context import Bounds, Context, Speakers, Writers
from pipelines.floor import Floor
from pipelines.frames import Frame, Transcript
from pipelines.graph import Graph
from realtime.beta import Dialect
from realtime.config import Configuration
from realtime.kinds import Opened, SessionKind
from realtime.log import session_id
from realtime.metrics import CountedGate, RealtimeMetrics
from realtime.opening import Door, Opening, Refused
from realtime.retention import RetainedAudio
from realtime.secrets import Kind
from realtime.session import OVERLOAD, Session, SessionLimits, SessionProtocol, SessionTerms
from routes.auth import in_band
from routes.errors import ApiError

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
ABNORMAL = 1006
"""The close code of a connection that was lost without a word."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """Takes a session's counts into the metrics."""

    metrics: RealtimeMetrics
    gate: CountedGate
    protocol: SessionProtocol

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


@dataclass(frozen=True, slots=True)
class Models:
    """What the sessions' pipelines use."""

    recognisers: ModelStore
    open_voice_activity: Callable[[JobClass, str], Ticket]
    writers: Writers
    speakers: Speakers


class RealtimeEndpoint:
    """Opens sessions and keeps account of them."""

    def __init__(
        self,
        configuration: Configuration,
        door: Door,
        kinds: Mapping[Kind, SessionKind],
        models: Models,
        metrics: RealtimeMetrics,
    ) -> None:
        self._configuration = configuration
        self._door = door
        self._kinds = kinds
        self._models = models
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
            opening = self._door.admit(request, len(self._sessions))
        except Refused as refused:
            await _refuse(socket, refused)
            return socket
        said_goodbye = await self._serve(socket, opening)
        if request.transport is not None and not said_goodbye:
            request.transport.abort()  # to close it would wait for a client that does not read
        return socket

    async def stop(self, seconds: float) -> None:
        """End all sessions: what was spoken gets its text if that takes no longer than this."""
        await asyncio.gather(*(session.finish(seconds) for session in self._sessions))

    async def _serve(self, socket: web.WebSocketResponse, opening: Opening) -> bool:
        """Run a session; whether its client was told the end."""
        limits = self._configuration.limits
        opened = Opened(
            new_id("sess"), opening, RetainedAudio(limits.retained_audio_seconds), Floor()
        )
        token = session_id.set(opened.id)
        gate = CountedGate(self._metrics)
        protocol = self._kinds[opening.kind].protocol(opened)
        terms = SessionTerms(
            opened.id,
            SessionLimits(limits.idle_seconds, limits.session_seconds, limits.outbound_events),
            Dialect(opening.beta, new_id("conv"), new_id),
        )
        session = Session(
            terms,
            socket,
            protocol,
            lambda deliver: self._graph(opened, deliver, gate),
            retained=opened.retained,
        )
        counted = _Counted(self._metrics, gate, protocol)
        session.graph.observe(counted.observe)
        beside = [
            asyncio.create_task(counted.run()),
            asyncio.create_task(self._warm(opened)),
        ]
        self._sessions.add(session)
        self._metrics.sessions.set(len(self._sessions))
        log.info("opened (%s), model %s", opening.kind, opening.model)
        code = ABNORMAL
        try:
            code = await session.run()
        finally:
            # Also where the connection is lost, which cancels this.
            self._metrics.closed.labels(str(code)).inc()
            log.info("closed with %s", code)
            self._sessions.discard(session)
            self._metrics.sessions.set(len(self._sessions))
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            session_id.reset(token)
        return session.said_goodbye

    async def _warm(self, opened: Opened) -> None:
        try:
            await self._kinds[opened.opening.kind].warm(opened)
        except EngineError as error:
            log.warning("not ready: %s", error)  # whoever needs the model is told

    def _graph(self, opened: Opened, deliver: Callable[[Frame], None], gate: CountedGate) -> Graph:
        limits = self._configuration.limits
        kind = self._kinds[opened.opening.kind]
        return kind.plan.build(
            Context(
                owner=Owner(opened.id, opened.opening.tenant),
                models=self._models.recognisers,
                open_voice_activity=partial(self._models.open_voice_activity, kind.hearing),
                new_item=lambda: new_id("item"),
                deliver=deliver,
                bounds=Bounds(manual_buffer=limits.manual_buffer_seconds),
                ready_seconds=limits.unprocessed_audio_seconds,
                new_gate=lambda: gate,
                writers=self._models.writers,
                speakers=self._models.speakers,
                floor=opened.floor,
            )
        )


async def _refuse(socket: web.WebSocketResponse, refused: Refused) -> None:
    kind = "server_error" if refused.close_code == OVERLOAD else "invalid_request_error"
    error = {"type": kind, "code": refused.code, "message": str(refused)}
    event = {
        "type": "error",
        "event_id": new_id("event"),
        "error": {**error, "param": None, "event_id": None},
    }
    reason = f"{kind}.{refused.code}"
    log.info("refused: %s", refused)
    try:
        await socket.send_str(orjson.dumps(event).decode())
        await socket.close(code=refused.close_code, message=reason.encode())
    except ConnectionError:
        return


def new_id(prefix: str) -> str:
    """A unique id, of characters that need no escaping anywhere."""
    return f"{prefix}_{secrets.token_hex(12)}"
