"""RoiAlign as gathers, against ONNX Runtime and ONNX's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from safe_forms import one_node, reference, safe
from small_graphs import operators, run

from export.lowering.for_tensorrt import lowered_for_tensorrt

random = np.random.default_rng(0)


def node(**changes: Any) -> Any:
    attributes = {
        "mode": "avg",
        "output_height": 3,
        "output_width": 2,
        "sampling_ratio": 2,
        "spatial_scale": 0.5,
        "coordinate_transformation_mode": "half_pixel",
    }
    return helper.make_node("RoiAlign", ["x", "rois", "images"], ["y"], **(attributes | changes))


def feed(kind: type = np.float32) -> dict[str, np.ndarray]:
    """Boxes within maps of 6 x 9 cells, of 12 x 18 pixels, across their edges and outside."""
    low = random.uniform(-3, 12, size=(20, 2))
    boxes = np.concatenate([low, low + random.uniform(0.5, 14, size=(20, 2))], axis=1)
    boxes = np.concatenate([boxes, [[0, 0, 18, 12], [-30, -30, -20, -20], [17, 11, 40, 50]]])
    return {
        "x": random.normal(size=(3, 4, 6, 9)).astype(kind),
        "rois": boxes.astype(kind),
        "images": random.integers(0, 3, size=23),
    }


def model_of(given: dict[str, np.ndarray], **changes: Any) -> ir.Model:
    model = one_node(node(**changes), given, {})
    for value in (*model.graph.inputs[1:], *model.graph.outputs):
        assert value.shape is not None
        value.shape = ir.Shape(["boxes", *list(value.shape)[1:]])
    return model


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_bins_are_those_of_other_implementations(samples: int) -> None:
    given = feed()
    model = model_of(given, sampling_ratio=samples)
    found = run(safe(model, "RoiAlign"), given)[0]
    assert found.shape == (23, 4, 3, 2)
    assert found[:20].std() > 0.1 and not found[21].any()
    # Means of up to nine sums of four products of order 1; coordinates of up to 20 have steps of
    # 1e-6 in float32.
    np.testing.assert_allclose(found, run(model, given)[0], atol=1e-5)
    np.testing.assert_allclose(found, reference(model, given), atol=1e-5)


def test_coordinates_of_a_float16_map_are_float32() -> None:
    width = 1024
    # Of each box one sample, at the centre of its column; float16 has no halves there.
    at = np.arange(512, width, 2, dtype=np.float32)
    given = {
        "x": random.normal(size=(1, 1, 1, width)).astype(np.float16),
        "rois": np.stack([at, 0 * at, at + 2, 0 * at + 1], axis=1).astype(np.float16),
        "images": np.zeros(len(at), np.int64),
    }
    model = model_of(given, sampling_ratio=1, output_height=1, output_width=1, spatial_scale=1.0)
    found = run(safe(model, "RoiAlign"), given)[0]
    row = given["x"][0, 0, 0].astype(np.float32)
    columns = at.astype(int)
    # One place after another: between two columns, which are float16 and so is their mean.
    expected = (row[columns] + row[columns + 1]) / 2
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, atol=2e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "max"},
        {"coordinate_transformation_mode": "output_half_pixel"},
        {"sampling_ratio": 0},
    ],
    ids=["max", "no half pixel", "adaptive"],
)
def test_other_modes_stay_as_they_are(changes: dict[str, Any]) -> None:
    lowered = lowered_for_tensorrt(model_of(feed(), **changes), "primitives")
    assert operators(lowered) == ["RoiAlign"]
