"""Puts the REST routes, their checks and their metrics into an application."""

from aiohttp import web
from prometheus_client import CollectorRegistry

from routes import (
    chat,
    completions,
    embeddings,
    health,
    metrics,
    middleware,
    models,
    pages,
    rerank,
    responses,
    speech,
    transcriptions,
)
from routes.response_store import ResponseStore
from routes.services import SERVICES, Services


def setup(app: web.Application, services: Services) -> None:
    """Add everything that `routes` offers to `app`, before it starts.

    A WebSocket endpoint added afterwards is checked like the rest, but for its key if its handler
    is marked with `auth.in_band`.
    """
    registry = CollectorRegistry()
    app[SERVICES] = services
    app[metrics.METRICS] = registry
    app[responses.STORE] = ResponseStore()
    app[metrics.HTTP_METRICS] = metrics.HttpMetrics.register(registry)
    app.middlewares.extend((middleware.observe, middleware.guard))
    app.on_response_prepare.append(middleware.add_headers)
    app.on_startup.append(pages.load)
    app.add_routes(
        [
            web.get("/", pages.page),
            web.get("/web/{path:.+}", pages.asset),
            web.get("/health", health.show),
            web.get("/metrics", metrics.show),
            web.get("/v1/models", models.index),
            web.get("/v1/models/{id:.+}", models.show),
            web.post("/v1/models/{id:.+}/load", models.load),
            web.post("/v1/models/{id:.+}/unload", models.unload),
            web.post("/v1/chat/completions", chat.complete),
            web.post("/v1/completions", completions.complete),
            web.post("/v1/embeddings", embeddings.embed),
            web.post("/v1/rerank", rerank.rerank),
            web.post("/v1/audio/speech", speech.speak),
            web.get("/v1/audio/voices", speech.voices),
            web.post("/v1/audio/transcriptions", transcriptions.transcribe),
            web.post("/v1/audio/translations", transcriptions.translate),
            web.post("/v1/responses", responses.create),
            web.get("/v1/responses/{id}", responses.show),
            web.delete("/v1/responses/{id}", responses.delete),
            web.get("/v1/responses/{id}/input_items", responses.input_items),
        ]
    )
