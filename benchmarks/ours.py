"""Our graphs of one model, typed and lowered, without the bundle around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from export.answers import Arrays, SingleImages
from export.lowering.cpu import lowered
from export.samples import Split, split
from export.spec import ModelSpec, find_model, load_models
from export.to_onnx import example_inputs, onnx_from_module
from export.typed import typed_graph
from export.weights import Reference, load_reference
from export.zoo import find_family

# DETR scales images to a shorter side of 800, so each has its own size; timings need one.
SIZES = {"detr_r50": 640, "detr_r101": 640}


@dataclass(frozen=True)
class Prepared:
    """A model ready to be measured.

    Attributes:
        spec: the model's record.
        reference: PyTorch module and its preprocessing.
        outputs: names of what the module returns.
        images: calibration and held-out images.
        calibration: the calibration images, preprocessed one by one.
        portable: float graph.
        typed: portable graph of each precision.
        files: the same, lowered and saved as ONNX.
    """

    spec: ModelSpec
    reference: Reference
    outputs: tuple[str, ...]
    images: Split
    calibration: SingleImages
    portable: ir.Model
    typed: dict[str, ir.Model]
    files: dict[str, Path]

    def inputs(self, batch: int) -> Arrays:
        """The first calibration image, `batch` times."""
        frame = self.images.calibration[0].read()
        return self.reference.preprocess([frame] * batch).inputs


def prepare(
    model: str, weights: str | None, folder: Path | None, images: int, seed: int,
    precisions: Sequence[str], out: Path, *, held_out: int = 1, size: int | None = None,
) -> Prepared:  # fmt: skip
    """Exports a model and writes one lowered graph a precision into `out`.

    Args:
        model: name in models.yaml.
        weights: as `vitrine build` takes them.
        folder: of images; None takes the model's rendered ones.
        images: how many calibrate.
        seed: of the split, and of random weights.
        precisions: of "fp32", "fp16" and "int8".
        out: folder for the files.
        held_out: how many other images to keep for evaluation.
        size: side in pixels to which every image is scaled, for models that take any size.

    Raises:
        ValueError: a size for a model whose size is fixed.
    """
    spec = find_model(model, load_models())
    family = find_family(spec.family)
    reference = load_reference(spec, weights, seed)
    if size is not None:
        if not family.ragged:
            raise ValueError(f"found a size for {model}, whose input size is fixed; leave it out")
        square = replace(reference.preprocess, resize="exact", size=size, max_size=None)
        reference = replace(reference, preprocess=square)
    settings = spec.calibration.model_copy(update={"held_out": held_out})
    chosen = split(settings, folder, images, seed, spec.task)
    calibration = SingleImages(chosen.calibration, reference.preprocess)
    portable = onnx_from_module(reference.module, family, example_inputs(spec.preprocess))
    typed, files = {}, {}
    for precision in precisions:
        typed[precision] = typed_graph(precision, portable, spec, calibration).model
        files[precision] = out / f"{model}-{precision}.onnx"
        ir.save(lowered(typed[precision]), files[precision])
    return Prepared(spec, reference, family.outputs, chosen, calibration, portable, typed, files)


def stacked(images: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Single images of one size as one batch."""
    return {name: np.concatenate([image[name] for image in images]) for name in images[0]}
