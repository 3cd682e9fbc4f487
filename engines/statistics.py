"""What the scheduler measures, as Prometheus metrics, per lane and job class."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from engines.base import JobClass

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class SchedulerMetrics:
    """The scheduler's metrics in one registry (by default, one of their own)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry
        self.wait = Histogram(
            "antiphon_job_wait_seconds",
            "Time from when a job could run to its first step",
            ["lane", "job_class"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.step = Histogram(
            "antiphon_step_seconds",
            "Duration of one engine step",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "antiphon_step_jobs",
            "Jobs that shared one engine step",
            ["lane"],
            buckets=_BATCH,
            registry=registry,
        )
        self.jobs = Counter(
            "antiphon_jobs",
            "Jobs by how they ended: done, failed, cancelled or refused",
            ["lane", "result"],
            registry=registry,
        )
        self.crashes = Counter(
            "antiphon_worker_crashes",
            "Worker processes that died and were started again",
            ["lane"],
            registry=registry,
        )

    def lane(self, name: str) -> "LaneStatistics":
        """The same metrics for one lane."""
        return LaneStatistics(self, name)


class LaneStatistics:
    """What one lane measures; label look-ups are done once."""

    def __init__(self, metrics: SchedulerMetrics, lane: str) -> None:
        self._wait = {kind: metrics.wait.labels(lane, kind.name.lower()) for kind in JobClass}
        self._step = metrics.step.labels(lane)
        self._batch = metrics.batch.labels(lane)
        self._ended = {
            result: metrics.jobs.labels(lane, result)
            for result in ("done", "failed", "cancelled", "refused")
        }
        self._crashes = metrics.crashes.labels(lane)

    def waited(self, kind: JobClass, seconds: float) -> None:
        """A job began after this long."""
        self._wait[kind].observe(seconds)

    def stepped(self, seconds: float, jobs: int) -> None:
        """One step was done for this many jobs."""
        self._step.observe(seconds)
        if jobs:
            self._batch.observe(jobs)

    def ended(self, result: str) -> None:
        """A job came to its end."""
        self._ended[result].inc()

    def crashed(self) -> None:
        """A worker process died."""
        self._crashes.inc()
