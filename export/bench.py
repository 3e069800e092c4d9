"""Latency of a bundle, the cost of the engine over its back end, and where the time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import Engine
from runtime.backends.profiled import open_profiled
from runtime.bundle import open_bundle
from runtime.loading import MODEL, PLAN, PLUGINS
from runtime.manifest import Manifest

_SHOWN = 10  # layers of a batch size
_LONGEST = 60  # characters of a name: what a back end has fused may be named after all of it


def measure_bundle(bundle: Path, batches: list[int] | None, rounds: int) -> list[dict[str, Any]]:
    """Times `engine.infer` and the back end's own call in turn, on random frames.

    Args:
        bundle: folder of the bundle.
        batches: sizes; None takes 1 and the most frames that the engine infers at once.
        rounds: timed runs a batch size.

    Returns:
        One row a batch size: milliseconds, images per second, and the median difference to the
        back end's own call in microseconds.
    """
    rows = []
    with Engine.load(bundle) as engine:
        # One session serves both calls, so that no second thread pool competes with the first.
        manifest, session = engine.manifest, engine.session
        for batch in batches or sorted({1, engine.max_batch}):
            inputs = _noise(manifest, batch)
            first = manifest.inputs[0].name
            rest = {name: array for name, array in inputs.items() if name != first}
            engine_times, session_times = _interleaved(
                partial(engine.infer, inputs[first], **rest), partial(session.run, inputs), rounds
            )
            p10, median, p90 = np.percentile(engine_times, [10, 50, 90])
            rows.append(
                {
                    "batch": batch,
                    "median_ms": 1e3 * float(median),
                    "p10_ms": 1e3 * float(p10),
                    "p90_ms": 1e3 * float(p90),
                    "images_per_second": batch / float(median),
                    "overhead_us": 1e6 * float(np.median(np.subtract(engine_times, session_times))),
                }
            )
    return rows


def measure_layers(bundle: Path, batches: Iterable[int], rounds: int) -> list[dict[str, Any]]:
    """Times the layers that the back end made of the model, on random frames.

    The back end's profiler costs time in each layer: shares tell more than milliseconds.

    Args:
        bundle: folder of the bundle.
        batches: sizes.
        rounds: timed runs a batch size.

    Returns:
        One row a batch size: the layers, the slowest first, in milliseconds and as shares of
        their sum, and the sum.

    Raises:
        EngineError: the back end times no layers.
    """
    opened = open_bundle(bundle)
    manifest, engine = opened.manifest, opened.manifest.engine
    session = open_profiled(
        engine.backend,
        opened.file(PLAN if engine.backend == "tensorrt" else MODEL),
        plugins=[opened.file(PLUGINS)] if PLUGINS in manifest.files else [],
        built_for=engine,
    )
    rows = []
    with contextlib.closing(session):
        for batch in batches:
            times = session.layer_times(_noise(manifest, batch), rounds)
            total = sum(layer.milliseconds for layer in times)
            layers = [
                {
                    "name": layer.name,
                    "detail": layer.detail,
                    "ms": layer.milliseconds,
                    "share": layer.milliseconds / total if total else 0.0,
                }
                for layer in sorted(times, key=lambda layer: -layer.milliseconds)
            ]
            rows.append({"batch": batch, "total_ms": total, "layers": layers})
    return rows


def layers_as_text(row: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people about one row of `measure_layers`: the slowest layers with their shares."""
    layers = row["layers"]
    yield f"batch {row['batch']:3}   {len(layers)} layers take {row['total_ms']:.2f} ms"
    for layer in layers[:_SHOWN]:
        name, detail = _short(layer["name"]), _short(layer["detail"])
        yield f"{layer['share']:9.1%} {layer['ms']:9.3f} ms   {name}   {detail}".rstrip()


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _noise(manifest: Manifest, batch: int) -> Mapping[str, npt.NDArray[Any]]:
    preprocess = manifest.preprocess
    return preprocess([preprocess.example] * batch).inputs


def _interleaved(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int
) -> tuple[list[float], list[float]]:
    calls, times = (first, second), ([], [])  # type: tuple[Any, Any], tuple[list[float], list[float]]
    for warm in range(rounds + 1):
        # The order alternates, so that neither always finds the caches as the other left them.
        for which in (0, 1) if warm % 2 else (1, 0):
            start = time.perf_counter()
            calls[which]()
            if warm:
                times[which].append(time.perf_counter() - start)
    return times
