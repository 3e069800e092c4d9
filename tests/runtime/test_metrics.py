from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import Engine, EngineError, Pipeline
from runtime.metrics import PrometheusMetrics
from runtime.observer import Observer
from runtime.sources.events import KINDS, SourceEvent
from tests.runtime.bundles import solid

prometheus = pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")


class Scraped:
    """The text that Prometheus would be given, read by its own parser."""

    def __init__(self, registry: object) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        text = prometheus.generate_latest(registry).decode()
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        values = [s.value for s in self.samples if s.name == name and s.labels == labels]
        assert len(values) == 1, f"{name} with {labels} is there {len(values)} times"
        return float(values[0])


def test_a_run_is_counted_under_the_promised_names(bundle: Path) -> None:
    registry = prometheus.CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    began = time.time()
    frames, torn = [solid(255, 0, 0)] * 5, EngineError("a torn frame")
    with Engine.load(bundle, observer=metrics) as engine:
        with Pipeline(
            engine, {"door": frames, "yard": [*frames[:3], torn]}, max_batch=2, observer=metrics
        ) as pipeline:
            results = list(pipeline)
        engine.reload()
        with pytest.raises(EngineError):
            engine.reload(bundle / "nowhere")
    assert len(results) == 8

    found = Scraped(registry)
    assert found("vitrine_frames_total", source="door", outcome="delivered") == 5
    assert found("vitrine_frames_total", source="yard", outcome="delivered") == 3
    assert found("vitrine_frames_total", source="yard", outcome="corrupt") == 1
    assert found("vitrine_batch_size_sum") == 8
    assert 4 <= found("vitrine_batch_size_count") <= 8  # at most two frames in each
    for stage in ("wait", "prepare", "infer", "postprocess", "total"):
        assert found("vitrine_stage_seconds_count", stage=stage) == 8
        assert found("vitrine_stage_seconds_bucket", stage=stage, le="+Inf") == 8
    # Everything that happens to a frame happens between its arrival and its result.
    parts = sum(
        found("vitrine_stage_seconds_sum", stage=stage) for stage in ("infer", "postprocess")
    )
    assert (
        0 < parts <= found("vitrine_stage_seconds_sum", stage="total") <= 8 * (time.time() - began)
    )
    for source in ("door", "yard"):
        assert found("vitrine_queue_depth", source=source) >= 0
        assert found("vitrine_source_up", source=source) == 0  # both have ended
    assert found("vitrine_engine_reloads_total", outcome="done") == 1
    assert found("vitrine_engine_reloads_total", outcome="refused") == 1
    assert found("vitrine_probe_cosine") > 0.9999  # the manifest's limit
    assert began <= found("vitrine_probe_timestamp_seconds") <= time.time()
    assert found("vitrine_probe_failures_total") == 0
    assert found("vitrine_fallbacks_total") == 0


def test_before_anything_happens_nothing_looks_like_a_failure() -> None:
    registry = prometheus.CollectorRegistry()
    PrometheusMetrics(registry)
    found = Scraped(registry)
    assert math.isnan(found("vitrine_probe_cosine"))
    assert found("vitrine_probe_failures_total") == 0
    # Present from the start: the step from nothing to 1 is no increase to Prometheus.
    assert found("vitrine_engine_reloads_total", outcome="refused") == 0


@pytest.mark.parametrize(
    ("kinds", "up"),
    [
        (("connected",), 1),
        (("connected", "lost"), 0),
        (("connected", "lost", "connected"), 1),
        (("connected", "stalled"), 0),
        (("connected", "stalled", "resumed"), 1),
        (("connected", "corrupt", "resized"), 1),
        (("connected", "ended"), 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_source_is_up_while_frames_come(kinds: tuple[str, ...], up: int) -> None:
    registry = prometheus.CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    for kind in kinds:
        metrics.event(SourceEvent("gate", kind, "why", 0.0))
    assert Scraped(registry)("vitrine_source_up", source="gate") == up


def test_failures_and_fallbacks_are_counted() -> None:
    registry = prometheus.CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    metrics.probe(0.5, passed=False)
    metrics.fallback("onnxruntime")
    found = Scraped(registry)
    assert found("vitrine_probe_cosine") == 0.5
    assert found("vitrine_probe_failures_total") == 1
    assert found("vitrine_fallbacks_total") == 1


def test_time_series_grow_with_sources_alone() -> None:
    registry = prometheus.CollectorRegistry()
    metrics = PrometheusMetrics(registry)

    def a_day(source: str) -> int:
        """How many samples there are after everything has happened to a source, many times."""
        for n in range(50):
            for outcome in ("delivered", "dropped", "corrupt"):
                metrics.frame(source, outcome)
            for kind in KINDS:
                metrics.event(SourceEvent(source, kind, f"detail {n}", float(n)))
            metrics.queue(source, n)
            metrics.batch(n)
            metrics.stage("total", n / 10)
        return len(Scraped(registry).samples)

    first, second, third = a_day("a"), a_day("b"), a_day("c")
    assert a_day("a") == third
    assert third - second == second - first


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0001, "0.0001"), (0.004, "0.005"), (9, "10.0")])
def test_stage_times_from_a_tenth_of_a_millisecond_to_ten_seconds_are_told_apart(
    seconds: float, bucket: str
) -> None:
    registry = prometheus.CollectorRegistry()
    PrometheusMetrics(registry).stage("infer", seconds)
    found = Scraped(registry)
    buckets = [s for s in found.samples if s.name == "vitrine_stage_seconds_bucket" and s.value]
    assert min((s.labels["le"] for s in buckets), key=float) == bucket


def test_one_registry_takes_one_set_of_metrics() -> None:
    registry = prometheus.CollectorRegistry()
    PrometheusMetrics(registry)
    with pytest.raises(ValueError, match="vitrine_frames"):
        PrometheusMetrics(registry)


def test_every_method_of_an_observer_is_counted() -> None:
    told = {name for name in vars(Observer) if not name.startswith("_")}
    assert told <= set(vars(PrometheusMetrics))


def test_without_the_library_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from runtime.metrics import PrometheusMetrics\n"
        "from runtime import EngineError\n"
        "try: PrometheusMetrics()\n"
        "except EngineError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("\n") == 1
    assert 'pip install -e ".[metrics]"' in ran.stdout
