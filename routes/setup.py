"""Puts the REST routes, their checks and their metrics into an application."""

from aiohttp import web
from prometheus_client import CollectorRegistry

from routes import health, metrics, middleware, models, pages, transcriptions
from routes.services import SERVICES, Services


def setup(app: web.Application, services: Services) -> None:
    """Add everything that `routes` offers to `app`, before it starts.

    A WebSocket endpoint added afterwards is checked like the rest, but for its key if its handler
    is marked with `auth.in_band`.
    """
    registry = CollectorRegistry()
    app[SERVICES] = services
    app[metrics.METRICS] = registry
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
            web.post("/v1/audio/transcriptions", transcriptions.transcribe),
            web.post("/v1/audio/translations", transcriptions.translate),
        ]
    )
