"""Calibration images -> everything that int8 needs to know, before any layer is chosen.

What is measured belongs to the float graph, so it holds for any choice of int8 layers: a search
over precisions calibrates once and quantises as often as it likes.

Tried on held-out calibration images of ViT-Tiny (ImageNet, two splits, change of the squared error
of the logits) and left out for want of gain: bias correction in topological order on already
quantised inputs (Nagel et al., ICCV 2019, section 4.2) instead of by layer: -4 % and +0.4 %; GPTQ
rounding (Frantar et al., ICLR 2023) on the sampled rows: -9 % and +1 %, with second moments of all
rows, one split: -10 %, for 40 % of the linears' own weight error; weight scales by least output
error instead of by maximum, one split: -1 %; centring what LayerNorms return (Outlier
Suppression+, Wei et al., EMNLP 2023): +3 % and -6 %; outlier channels in float in 33 layers instead
of 3, one split: -5 %.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from calibration.activations import Batches
from calibration.attention import score_inputs
from calibration.histogram import Histogram
from calibration.linears import find_linears, private_copy
from calibration.local_error import Affine
from calibration.output_thresholds import best_threshold
from calibration.ranges import ChannelStatistics, Observer, observe
from calibration.residuals import skips
from calibration.search import search_affines
from calibration.thresholds import HistogramMethod, threshold
from calibration.transforms.attention_values import fold_values, value_linears
from calibration.transforms.candidates import activation_candidates, value_candidates
from calibration.transforms.migrate_scales import migrate_scales
from calibration.transforms.outlier_channels import split_outliers
from calibration.transforms.post_gelu import centre_activations, lopsided_linears

Method = HistogramMethod | Literal["output_mse"]
"""A method of `threshold`, or "output_mse": the least error of the outputs of the linears that read
the tensor (`best_threshold`); the inputs of Convs, of which no rows are kept, take "minmax".

On ViT-Tiny (ImageNet; 136 images, 64 others of the calibration images) the squared error of the
logits, relative to their own, was 0.0040 with percentile 99.999, 0.0041 with entropy, 0.0042 with
minmax, 0.0048 with percentile 99.99 and 0.0055 with mse; output_mse came 2 % above minmax on 200
other images. Once scales are smoothed, clipping gains nothing that could be told from noise."""

_ROWS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Settings:
    """How to calibrate.

    Attributes:
        method: How activation ranges are chosen, see `Method`.
        percentile: For method "percentile".
        smooth: Transform the float graph first (transforms/); without, accuracy drops.
        threads: ONNX Runtime threads while calibrating; None means all cores.
    """

    method: Method = "minmax"
    percentile: float = 99.99
    smooth: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Calibrated:
    """A float graph made ready, and what its tensors hold.

    Attributes:
        graph: Float, with transforms/ folded in; computes what the source graph did.
        affines: Linear name -> change of its input, to be inserted where the linear is int8.
        thresholds: Clipping threshold of each linear's (changed) input, of queries and keys, and
            of convolutional skips, by value name.
        channels: Statistics of the inputs of MatMuls and Gemms, by value name.
        images: How many calibration images were read.
    """

    graph: ir.Model
    affines: Mapping[str, Affine]
    thresholds: Mapping[str, float]
    channels: Mapping[str, ChannelStatistics]
    images: int


def calibrate(
    model: ir.Model, names: Collection[str], batches: Batches, settings: Settings
) -> Calibrated:
    """Prepares the named linears and attentions for int8.

    Args:
        model: Float graph (MatMul, Gemm and Conv linears, named nodes); left as it is.
        names: Linears and attentions that may become int8.
        batches: Calibration inputs; read two to three times, one image at a time.
        settings: See `Settings`.

    Raises:
        ValueError: No images, or a float graph that computes an infinite value or a NaN.
    """
    graph, affines = private_copy(model), dict[str, Affine]()
    if settings.smooth:
        graph, affines = _smoothed(graph, names, batches, settings.threads)
    changed = centre_activations(graph, affines)
    others = (*score_inputs(changed, names), *skips(changed, names))
    histograms = {name: Histogram() for name in (*_sources(changed, names), *others)}
    channels = {source: ChannelStatistics() for source in _sources(changed, names, _ROWS)}
    observers: dict[str, list[Observer]] = {name: [h] for name, h in histograms.items()}
    for name, statistics in channels.items():
        observers[name].append(statistics)
    images = observe(changed, observers, batches, settings.threads)
    thresholds = _thresholds(changed, names, affines, histograms, channels, settings)
    return Calibrated(graph, affines, thresholds, channels, images)


def _smoothed(
    graph: ir.Model, names: Collection[str], batches: Batches, threads: int | None
) -> tuple[ir.Model, dict[str, Affine]]:
    """The graph with all transformations folded in, and the changes that take nodes of their own.

    Outliers leave the product first: no scale suits them and the other channels together.
    """
    statistics = {source: ChannelStatistics() for source in _sources(graph, names, _ROWS)}
    if not statistics:
        return graph, {}
    observe(graph, {name: [c] for name, c in statistics.items()}, batches, threads)
    graph = migrate_scales(graph, statistics, names)
    lopsided, mixed = lopsided_linears(graph, names), value_linears(graph, names)
    graph = split_outliers(graph, statistics, lopsided)
    linears = {linear.name: linear for linear in find_linears(graph)}
    candidates = {
        name: propose(statistics[str(linears[name].source.name)], linears[name].matrix())
        for found, propose in ((lopsided, activation_candidates), (mixed, value_candidates))
        for name in found
    }
    affines = search_affines(graph, statistics, candidates, batches, threads=threads)
    graph = fold_values(graph, {name: affines[name] for name in mixed})
    return graph, {name: affines[name] for name in lopsided}


def _thresholds(
    model: ir.Model,
    names: Collection[str],
    affines: Mapping[str, Affine],
    histograms: Mapping[str, Histogram],
    channels: Mapping[str, ChannelStatistics],
    settings: Settings,
) -> dict[str, float]:
    """The threshold of each tensor, for all the named linears that read it together.

    Whatever the method, a centred input keeps its whole range: after GELU the most frequent
    values, near zero, are at its lower end once it is centred, and would be the first to go
    (clipped there by "entropy", ViT-Tiny agrees with its float self on 0 to 3 % of images).
    """
    centred = {name for name, affine in affines.items() if not affine.is_identity}
    linears = [linear for linear in find_linears(model) if linear.name in names]
    found = {}
    for source, histogram in histograms.items():
        readers = [linear for linear in linears if str(linear.source.name) == source]
        if any(reader.name in centred for reader in readers):
            found[source] = threshold(histogram)
        elif settings.method != "output_mse":
            found[source] = threshold(histogram, settings.method, settings.percentile)
        elif source in channels:
            matrices = [r.matrix() for r in readers if r.node.op_type in _ROWS]
            found[source] = best_threshold(channels[source], matrices)
        else:
            found[source] = threshold(histogram)
    return found


def _sources(
    model: ir.Model, names: Collection[str], kinds: Collection[str] = (*_ROWS, "Conv")
) -> list[str]:
    """The tensors that the named linears of the given operators read, each once."""
    chosen = [linear for linear in find_linears(model) if linear.name in names]
    sources = [str(linear.source.name) for linear in chosen if linear.node.op_type in kinds]
    return list(dict.fromkeys(sources))
