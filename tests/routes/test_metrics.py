from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from rest import Client, serving

from routes.metrics import METRICS


async def scrape(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = await (await client.get("/metrics")).text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests(method: str, route: str, status: int) -> tuple[str, tuple[tuple[str, str], ...]]:
    labels = (("method", method), ("route", route), ("status", str(status)))
    return "antiphon_http_requests_total", labels


async def test_requests_are_counted_by_route_template_and_status() -> None:
    async with serving() as client:
        for path in ("a", "b", "whisper-1"):
            await client.get(f"/v1/models/{path}")
        await client.get("/x/1")
        await client.get("/x/2")
        await client.request("PROPFIND", "/x/3")
        counted = await scrape(client)
    assert counted[requests("GET", "/v1/models/{id}", 404)] == 2
    assert counted[requests("GET", "/v1/models/{id}", 200)] == 1
    assert counted[requests("GET", "unmatched", 404)] == 2
    assert counted[requests("other", "unmatched", 404)] == 1
    seconds = ("antiphon_http_request_seconds_count", (("method", "GET"), ("route", "unmatched")))
    assert counted[seconds] == 2


async def test_the_process_and_other_collectors_are_shown() -> None:
    class Lanes(Collector):
        def collect(self) -> Iterable[Metric]:
            yield GaugeMetricFamily("antiphon_lane_waiting", "Jobs waiting", value=7)

    async with serving() as client:
        assert client.app is not None
        client.app[METRICS].register(Lanes())
        counted = await scrape(client)
    assert counted[("antiphon_lane_waiting", ())] == 7
    assert counted[("process_resident_memory_bytes", ())] > 1e6


async def test_openmetrics_is_given_to_those_who_ask() -> None:
    async with serving() as client:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        response = await client.get("/metrics", headers=accept)
        assert response.content_type == "application/openmetrics-text"
        assert (await response.text()).endswith("# EOF\n")
        plain = await client.get("/metrics")
        assert plain.content_type == "text/plain"
