"""Float graph + calibration images -> int8 Q/DQ graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from calibration.activations import Batches
from calibration.histogram import Histogram
from calibration.linears import find_linears, private_copy
from calibration.precision import PrecisionMap, kept_float
from calibration.qdq import insert_qdq
from calibration.ranges import ChannelStatistics, Observer, observe
from calibration.search import search_affines
from calibration.thresholds import Method, threshold
from calibration.transforms.migrate_scales import migrate_scales
from calibration.transforms.post_gelu import centre_activations, lopsided_linears


@dataclass(frozen=True)
class Settings:
    """How to quantise.

    Attributes:
        method: How activation ranges are chosen.
        percentile: For method "percentile".
        keep_float: fnmatch pattern of node names -> why these stay float.
        smooth: Transform the float graph first (transforms/); without, accuracy drops.
        threads: ONNX Runtime threads while calibrating; None means all cores.
    """

    method: Method = "minmax"
    percentile: float = 99.99
    keep_float: Mapping[str, str] = field(default_factory=dict)
    smooth: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Quantised:
    """An int8 graph and how it came about.

    Attributes:
        model: The Q/DQ graph; inputs and outputs as in the float graph.
        precision_map: For every linear, what it became and why.
        thresholds: Clipping threshold of each quantised tensor, in its own units.
        images: How many calibration images were read.
    """

    model: ir.Model
    precision_map: PrecisionMap
    thresholds: dict[str, float]
    images: int


def quantised_from_onnx(model: ir.Model, batches: Batches, settings: Settings) -> Quantised:
    """Quantises every linear that gains from it to W8A8.

    Args:
        model: Float graph (MatMul, Gemm and Conv linears, named nodes); left as it is.
        batches: Calibration inputs; read two to three times, one image at a time.
        settings: See `Settings`.

    Raises:
        ValueError: A keep_float pattern that matches nothing, no images, no linear to quantise,
            or a float graph that computes an infinite value or a NaN.
    """
    graph = private_copy(model)
    precision_map = _decide(graph, settings.keep_float)
    quantised = {name for name, entry in precision_map.items() if entry["type"] == "int8"}
    if not quantised:
        raise ValueError("no linear is left to quantise; loosen keep_float or build fp16")
    if settings.smooth:
        rows = _sources(graph, quantised, ("MatMul", "Gemm"))
        channels = {source: ChannelStatistics() for source in rows}
        observe(graph, {name: [c] for name, c in channels.items()}, batches, settings.threads)
        graph = migrate_scales(graph, channels, quantised)
        lopsided = lopsided_linears(graph, quantised)
        affines = search_affines(graph, channels, lopsided, batches, threads=settings.threads)
        graph = centre_activations(graph, affines)
    histograms = {source: Histogram() for source in _sources(graph, quantised)}
    rows = _sources(graph, quantised, ("MatMul", "Gemm"))
    channels = {source: ChannelStatistics() for source in rows}
    observers: dict[str, list[Observer]] = {name: [h] for name, h in histograms.items()}
    for name, statistics in channels.items():
        observers[name].append(statistics)
    images = observe(graph, observers, batches, settings.threads)
    thresholds = {
        name: threshold(histogram, settings.method, settings.percentile)
        for name, histogram in histograms.items()
    }
    result = insert_qdq(graph, thresholds, quantised, channels)
    return Quantised(result, precision_map, thresholds, images)


def _decide(model: ir.Model, keep_float: Mapping[str, str]) -> PrecisionMap:
    """What each linear of the graph becomes."""
    kept = kept_float([str(node.name) for node in model.graph], keep_float)
    decided: PrecisionMap = {}
    for linear in find_linears(model):
        why = kept.get(linear.name) or linear.obstacle()
        decided[linear.name] = (
            {"type": "fp32", "why": why} if why else {"type": "int8", "why": "a linear layer"}
        )
    return decided


def _sources(
    model: ir.Model, quantised: Collection[str], kinds: Collection[str] = ("MatMul", "Gemm", "Conv")
) -> list[str]:
    """The tensors that int8 linears of the given operators read, each once."""
    chosen = [linear for linear in find_linears(model) if linear.name in quantised]
    names = [str(linear.source.name) for linear in chosen if linear.node.op_type in kinds]
    return list(dict.fromkeys(names))
