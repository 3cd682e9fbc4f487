"""GET /metrics: what the server counts, in Prometheus' formats."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

METRICS: Final[web.AppKey[CollectorRegistry]] = web.AppKey("metrics", CollectorRegistry)
"""Where the whole server registers its collectors. They are collected on the event loop."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

CLIENT_GONE: Final = 499
"""The status under which requests are counted whose client left before the answer."""


@dataclass(frozen=True, slots=True)
class HttpMetrics:
    """Requests by route template, method and status; the WebSocket's length is not a duration."""

    requests: Counter
    seconds: Histogram

    @classmethod
    def register(cls, registry: CollectorRegistry) -> "HttpMetrics":
        return cls(
            requests=Counter(
                "antiphon_http_requests",
                "HTTP requests answered",
                ("method", "route", "status"),
                registry=registry,
            ),
            seconds=Histogram(
                "antiphon_http_request_seconds",
                "Time from a request's head to the end of its response",
                ("method", "route"),
                buckets=_BUCKETS,
                registry=registry,
            ),
        )

    def observe(self, request: web.Request, status: int, seconds: float) -> None:
        method = request.method if request.method in _METHODS else "other"
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unmatched"
        self.requests.labels(method, route, str(status)).inc()
        if status != 101:
            self.seconds.labels(method, route).observe(seconds)


HTTP_METRICS: Final[web.AppKey[HttpMetrics]] = web.AppKey("http_metrics", HttpMetrics)


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    """Families that were collected on the loop, and a process's, which reads files for them."""

    families: Sequence[Metric]
    process: ProcessCollector = field(default_factory=lambda: ProcessCollector(registry=None))

    def collect(self) -> Iterable[Metric]:
        yield from self.families
        yield from self.process.collect()


async def show(request: web.Request) -> web.Response:
    """GET /metrics. Text is rendered off the loop, from a snapshot made on it."""
    snapshot = _Collected(list(request.app[METRICS].collect()))
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    body = await asyncio.to_thread(encode, snapshot)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
