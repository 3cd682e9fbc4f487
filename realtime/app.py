"""The composition root: the only module that knows every other."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

from engines import silero
from engines.base import EngineError, JobClass
from engines.catalogue import Catalogue
from engines.devices import Device
from engines.models import ModelStore
from engines.scheduler import Scheduler
from engines.statistics import SchedulerMetrics
from engines.tickets import Ticket
from engines.voices import Voices
from pipelines.loader import ASSISTANT, CAPTIONS, Plan, load_plan
from pipelines.recordings import Recording
from realtime.client_secrets import ClientSecrets
from realtime.config import Configuration
from realtime.endpoint import Models as SessionModels
from realtime.endpoint import RealtimeEndpoint, new_id
from realtime.kinds import ConversationSessions, SessionKind, TranscriptionSessions
from realtime.language import LanguageModels
from realtime.metrics import RealtimeMetrics, watch_lag
from realtime.opening import Door
from realtime.secrets import Kind, Secrets
from realtime.services import Models, Transcriber
from routes.metrics import METRICS
from routes.services import RouteSettings, Services
from routes.setup import setup


@dataclass(frozen=True, slots=True)
class Server:
    """What runs behind the routes."""

    scheduler: Scheduler
    models: ModelStore
    endpoint: RealtimeEndpoint


SERVER: web.AppKey[Server] = web.AppKey("server", Server)


def create_app(configuration: Configuration, data_dir: Path) -> web.Application:
    """The whole server as an application. Reads the disk: call it before the loop runs.

    Raises `ConfigError` and `EngineError`.
    """
    app = web.Application(client_max_size=configuration.limits.upload_bytes)
    engines = _engines(configuration, data_dir)
    captions = load_plan(CAPTIONS)
    recording = Recording(
        captions, engines.models, partial(engines.open_voice_activity, JobClass.PARTIAL)
    )
    services = Services(
        version=version("antiphon"),
        settings=_route_settings(configuration),
        models=Models(engines.models),
        transcriber=Transcriber(engines.models, recording),
        language=engines.language,
        voices=engines.voices,
    )
    setup(app, services)
    app[METRICS].register(engines.metrics.registry)
    realtime = RealtimeMetrics.register(app[METRICS])
    endpoint = _add_realtime(app, configuration, engines, captions, realtime)
    app[SERVER] = Server(engines.scheduler, engines.models, endpoint)

    async def run_engines(_: web.Application) -> AsyncIterator[None]:
        lag = asyncio.create_task(watch_lag(realtime))
        warm = asyncio.create_task(_warm_up(engines.models))
        yield
        for task in (lag, warm):
            task.cancel()
        await asyncio.gather(lag, warm, return_exceptions=True)
        await engines.models.close()
        await engines.language.close()
        await engines.scheduler.close()

    async def end_sessions(_: web.Application) -> None:
        await endpoint.stop(configuration.server.grace_seconds)

    app.cleanup_ctx.append(run_engines)
    app.on_shutdown.append(end_sessions)
    return app


@dataclass(frozen=True, slots=True)
class _Engines:
    """Everything that works with models."""

    scheduler: Scheduler
    metrics: SchedulerMetrics
    models: ModelStore
    language: LanguageModels
    voices: Voices
    open_voice_activity: Callable[[JobClass, str], Ticket]


def _engines(configuration: Configuration, data_dir: Path) -> _Engines:
    defaults = configuration.defaults
    catalogue = Catalogue(
        data_dir,
        configuration.models,
        default=defaults.transcription,
        language_default=configuration.local_chat,
        speech_default=defaults.speech,
    )
    catalogue.default_transcription()
    scheduler = Scheduler(Device(cores()), metrics := SchedulerMetrics())
    models = ModelStore(catalogue, scheduler)
    lane = scheduler.open(silero.recipe(cores()))

    def open_voice_activity(kind: JobClass, owner: str) -> Ticket:
        return lane.submit(None, owner=owner, kind=kind, streaming=True)

    language = LanguageModels(models, configuration)
    voices = Voices(models, configuration.voices, defaults.voice)
    return _Engines(scheduler, metrics, models, language, voices, open_voice_activity)


def _add_realtime(
    app: web.Application,
    configuration: Configuration,
    engines: _Engines,
    captions: Plan,
    metrics: RealtimeMetrics,
) -> RealtimeEndpoint:
    """Serve both kinds of Realtime sessions, and the secrets that open them."""
    models, language, voices = engines.models, engines.language, engines.voices
    kinds: dict[Kind, SessionKind] = {
        "transcription": TranscriptionSessions(configuration, captions, models, new_id),
        "realtime": ConversationSessions(
            configuration, load_plan(ASSISTANT), models, language, voices, new_id=new_id
        ),
    }
    secrets = Secrets()
    endpoint = RealtimeEndpoint(
        configuration,
        Door(configuration, models, language, secrets),
        kinds,
        SessionModels(models, engines.open_voice_activity, language, voices),
        metrics,
    )
    app.router.add_get("/v1/realtime", endpoint.handle)
    app.add_routes(ClientSecrets(secrets, kinds, new_id).routes())
    return endpoint


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _warm_up(models: ModelStore) -> None:
    """Load the default model, so that the first words need not wait for it."""
    try:
        await models.recogniser("default")
    except EngineError:
        return  # logged where it happened; whoever asks is told


def _route_settings(configuration: Configuration) -> RouteSettings:
    server, limits = configuration.server, configuration.limits
    return RouteSettings(
        max_upload_bytes=limits.upload_bytes,
        max_audio_seconds=limits.upload_audio_seconds,
        api_keys=server.keys,
        allowed_origins=server.allowed_origins,
        allowed_hosts=server.allowed_hosts,
        host=server.host,
    )
