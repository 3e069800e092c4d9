"""What a pipeline and its engine do, as Prometheus metrics."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from runtime.errors import EngineError
from runtime.observer import Observer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from runtime.sources.events import SourceEvent

# In seconds, 0.1 ms to 10 s: from the wait of a frame that is taken at once to a stall.
_STAGE_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # frames
_UP = {"connected": 1, "resumed": 1, "lost": 0, "stalled": 0, "ended": 0}


class PrometheusMetrics(Observer):
    """Counts for Prometheus; give the same one to the engine and to the pipeline.

        metrics = PrometheusMetrics()
        engine = Engine.load(path, observer=metrics)
        pipeline = Pipeline(engine, sources, observer=metrics)

    The only label that an application chooses is a source's name, so that there are as many
    time series as its sources make necessary.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register the metrics in `registry`, or in the library's own.

        Raises:
            EngineError: `prometheus_client` is not installed.
            ValueError: the registry has these metrics already.
        """
        try:
            from prometheus_client import REGISTRY, Counter, Gauge, Histogram
        except ImportError as error:
            raise EngineError(
                "prometheus_client is not installed, metrics need it; "
                'run `pip install -e ".[metrics]"` in Vitrine\'s folder'
            ) from error
        into = REGISTRY if registry is None else registry
        self._frames = Counter(
            "vitrine_frames", "Frames by outcome", ["source", "outcome"], registry=into
        )
        self._batch_size = Histogram(
            "vitrine_batch_size", "Frames in a batch", buckets=_BATCH_BUCKETS, registry=into
        )
        self._queue_depth = Gauge(
            "vitrine_queue_depth", "Frames that wait for a batch", ["source"], registry=into
        )
        self._stage_seconds = Histogram(
            "vitrine_stage_seconds",
            "Time of a frame in a stage",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=into,
        )
        self._source_up = Gauge(
            "vitrine_source_up", "1 while frames arrive from a source", ["source"], registry=into
        )
        self._reloads = Counter(
            "vitrine_engine_reloads", "Bundles loaded while running", ["outcome"], registry=into
        )
        self._cosine = Gauge(
            "vitrine_probe_cosine", "Lowest cosine of the last golden probes", registry=into
        )
        self._probed = Gauge(
            "vitrine_probe_timestamp_seconds", "When golden probes last ran", registry=into
        )
        self._failures = Counter(
            "vitrine_probe_failures", "Golden probes below their limit", registry=into
        )
        self._fallbacks = Counter(
            "vitrine_fallbacks", "Times that another back end took over", registry=into
        )
        for outcome in ("done", "refused"):
            self._reloads.labels(outcome)  # present from the start, so that a first one is a rise
        self._cosine.set(math.nan)  # no probe has run: 0 would read as a failed one

    def frame(self, source: str, outcome: str) -> None:
        """Count in `vitrine_frames_total`."""
        self._frames.labels(source, outcome).inc()

    def queue(self, source: str, depth: int) -> None:
        """Set `vitrine_queue_depth`."""
        self._queue_depth.labels(source).set(depth)

    def batch(self, size: int) -> None:
        """Add to `vitrine_batch_size`."""
        self._batch_size.observe(size)

    def stage(self, name: str, seconds: float) -> None:
        """Add to `vitrine_stage_seconds`."""
        self._stage_seconds.labels(name).observe(seconds)

    def event(self, event: SourceEvent) -> None:
        """Set `vitrine_source_up` by what happened to the source."""
        if event.kind in _UP:
            self._source_up.labels(event.source).set(_UP[event.kind])

    def reload(self, outcome: str) -> None:
        """Count in `vitrine_engine_reloads_total`."""
        self._reloads.labels(outcome).inc()

    def probe(self, cosine: float, passed: bool) -> None:
        """Set `vitrine_probe_cosine` and when, and count a failure."""
        self._cosine.set(cosine)
        self._probed.set(time.time())
        if not passed:
            self._failures.inc()

    def fallback(self, backend: str) -> None:
        """Count in `vitrine_fallbacks_total`."""
        self._fallbacks.inc()
