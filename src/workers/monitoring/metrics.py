"""The metrics of a worker process."""

from typing import Final

from prometheus_client import Counter, Histogram

from headrace.adapters.metrics.loop_lag import LoopLag
from headrace.adapters.metrics.process_metrics import ProcessMetrics
from headrace.adapters.metrics.scrapes import Scrapes
from headrace.domain.facts.bounded_names import OTHER, BoundedNames
from headrace.domain.facts.limits import MAX_PIPELINES
from headrace.workers.monitor import StepOutcome

_LATENCIES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DURATIONS: Final = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200)


class WorkerMetrics(ProcessMetrics):
    """Implements `Monitor`."""

    def __init__(self, lag: LoopLag, scrapes: Scrapes, *, max_pipelines: int = MAX_PIPELINES) -> None:
        super().__init__(lag, scrapes)
        self._pipelines = BoundedNames(max_pipelines)
        self._start_latency = Histogram(
            "headrace_start_latency_seconds",
            "From the moment when a job is due to the start of its attempt.",
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self._step_seconds = Histogram(
            "headrace_step_seconds",
            "The time of one try of a step, by its outcome: succeeded, failed, retried, stopped.",
            ("pipeline", "step", "outcome"),
            buckets=_DURATIONS,
            registry=self.registry,
        )
        self._step_series: dict[tuple[str, str, StepOutcome], Histogram] = {}
        self._losses = Counter(
            "headrace_lease_losses_total",
            "Attempts that were lost with their worker, counted by the worker that rescues their jobs.",
            registry=self.registry,
        )
        self._hand_backs = Counter(
            "headrace_hand_backs_total",
            "Jobs that were handed back before their end, as when a worker stops.",
            registry=self.registry,
        )

    def on_start(self, late_seconds: float) -> None:
        self._start_latency.observe(late_seconds)

    def on_step(self, pipeline: str, step: str, outcome: StepOutcome, seconds: float) -> None:
        key = (pipeline, step, outcome)
        series = self._step_series.get(key)
        if series is None:
            series = self._step_series[key] = self._find_series(*key)
        series.observe(seconds)

    def _find_series(self, pipeline: str, step: str, outcome: StepOutcome) -> Histogram:
        if self._pipelines.admit(pipeline) != pipeline:
            pipeline = step = OTHER
        return self._step_seconds.labels(pipeline, step, outcome)

    def on_hand_back(self, count: int = 1) -> None:
        self._hand_backs.inc(count)

    def on_losses(self, count: int) -> None:
        self._losses.inc(count)
