"""How far each int8 linear's output has moved from the float graph's, on a few images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from calibration.activations import Batches, single_images, stream
from calibration.transforms.outlier_channels import outliers_name


@dataclass(frozen=True)
class LayerError:
    """The accumulated error at one linear: its own and that of everything before it.

    Attributes:
        name: Node name.
        cosine: Cosine similarity of all outputs, int8 graph against float graph; mean over images.
        relative_error: |int8 - float| / |float|, Euclidean norms; mean over images.
    """

    name: str
    cosine: float
    relative_error: float


def layer_errors(
    reference: ir.Model,
    quantised: ir.Model,
    names: Collection[str],
    batches: Batches,
    images: int = 8,
    threads: int | None = None,
) -> list[LayerError]:
    """Compares the outputs of the named nodes, which both graphs must have.

    Transformations change what flows into a linear but not what comes out of it after its bias,
    so outputs are compared there: at the Add that follows a MatMul, if there is one.

    Returns:
        One entry a node, the worst cosine first.
    """
    few = list(islice(single_images(batches), images))
    ours, theirs = _outputs(quantised, names), _outputs(reference, names)
    pairs = zip(
        stream(reference, list(theirs.values()), few, threads),
        stream(quantised, list(ours.values()), few, threads),
        strict=True,
    )
    cosines: dict[str, list[float]] = {name: [] for name in names}
    errors: dict[str, list[float]] = {name: [] for name in names}
    for exact, rounded in pairs:
        for name in names:
            a = exact[theirs[name]].astype(np.float64).ravel()
            b = rounded[ours[name]].astype(np.float64).ravel()
            norm = max(float(np.linalg.norm(a)), 1e-30)
            cosines[name].append(float(a @ b) / max(norm * float(np.linalg.norm(b)), 1e-30))
            errors[name].append(float(np.linalg.norm(b - a)) / norm)
    layers = [
        LayerError(name, float(np.mean(cosines[name])), float(np.mean(errors[name])))
        for name in names
    ]
    return sorted(layers, key=lambda layer: layer.cosine)


def _outputs(model: ir.Model, names: Collection[str]) -> dict[str, str]:
    """Node name -> name of its output value, after the bias."""
    found = {}
    for node in model.graph:
        if node.name in names:
            value = node.outputs[0]
            use = next(iter(value.uses()), None)
            if use is not None and use.node.op_type == "Add" and len(value.uses()) == 1:
                other = use.node.inputs[1 - use.idx]
                if other is not None and other.is_initializer():
                    value = use.node.outputs[0]
            value = _with_outliers(value, str(node.name))
            found[str(node.name)] = str(value.name)
    missing = set(names) - set(found)
    if missing:
        raise ValueError(f"the graph has no node {sorted(missing)[0]!r}; both graphs need it")
    return found


def _with_outliers(value: ir.Value, name: str) -> ir.Value:
    """The sum with the float product of the linear's outliers, where it has one."""
    use = next(iter(value.uses()), None)
    if use is None or use.node.op_type != "Add":
        return value
    other = use.node.inputs[1 - use.idx]
    producer = None if other is None else other.producer()
    return (
        use.node.outputs[0]
        if producer is not None and producer.name == outliers_name(name)
        else value
    )
