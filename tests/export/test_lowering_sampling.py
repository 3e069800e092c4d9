"""GridSample as gathers, against ONNX Runtime, ONNX's reference evaluator and PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper
from safe_forms import one_node, reference, safe
from small_graphs import run

from calibration.half import half_from_onnx

random = np.random.default_rng(0)


def places(batch: int, farthest: float) -> np.ndarray:
    """Grid coordinates: random ones in and around the image, its exact edges, and far outside."""
    edges = itertools.product((-1.0, 1.0, 0.0, -1.7, 40.0, -farthest), repeat=2)
    inside = random.uniform(-1.6, 1.6, size=(batch, 84, 2))
    grid = np.concatenate([inside, np.tile(np.array(list(edges)), (batch, 1, 1))], axis=1)
    return grid.reshape(batch, 10, 12, 2).astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1], ids=["edges", "corners"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    node = helper.make_node(
        "GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=corners
    )
    # Reflected, a float32 that far outside has no fraction left to agree on.
    farthest = 40.0 if padding == "reflection" else 1e6
    for height, width in ((5, 7), (1, 4), (8, 8)):
        image = random.normal(size=(3, 2, height, width)).astype(np.float32)
        feed = {"x": image, "grid": places(3, farthest)}
        model = one_node(node, feed, {})
        lowered = safe(model, "GridSample")
        for batch in (1, 3):
            part = {name: array[:batch] for name, array in feed.items()}
            ours = run(lowered, part)[0]
            # Pixel coordinates of up to 164 have steps of 1.5e-5 in float32.
            np.testing.assert_allclose(ours, run(model, part)[0], atol=5e-5)
        if height > 1 or padding != "reflection":  # where the evaluator divides by zero
            single = {name: array[:1] for name, array in feed.items()}
            np.testing.assert_allclose(ours[:1], reference(model, single), atol=5e-5)
        sampled = torch.nn.functional.grid_sample(
            torch.from_numpy(image), torch.from_numpy(feed["grid"]),
            {"linear": "bilinear"}.get(mode, mode), padding, bool(corners),
        )  # fmt: skip
        np.testing.assert_allclose(ours, sampled, atol=5e-5)


def test_a_grid_of_unknown_size_is_sampled_too() -> None:
    feed = {
        "x": random.normal(size=(2, 3, 6, 4)).astype(np.float32),
        "grid": random.uniform(-1, 1, size=(2, 5, 9, 2)).astype(np.float32),
    }
    model = one_node(helper.make_node("GridSample", ["x", "grid"], ["y"]), feed, {})
    model.graph.inputs[1].shape = ir.Shape(["batch", "rows", "columns", 2])
    model.graph.outputs[0].shape = ir.Shape(["batch", 3, "rows", "columns"])
    # Four products of values of order 1, summed in another order.
    np.testing.assert_allclose(
        run(safe(model, "GridSample"), feed)[0], run(model, feed)[0], atol=3e-6
    )


def test_coordinates_of_a_float16_image_are_float32() -> None:
    width = 4096  # float16 has steps of 2 there
    image = random.normal(size=(1, 1, 1, width)).astype(np.float16)
    at = np.arange(1, width, 7)
    grid = np.zeros((1, 1, len(at), 2), np.float32)
    grid[0, 0, :, 0] = (2 * at + 1) / width - 1
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode="nearest")
    lowered = safe(one_node(node, {"x": image, "grid": grid}, {}), "GridSample")
    (gather,) = (node for node in lowered.graph if node.op_type == "GatherND")
    place = gather.inputs[1].producer()
    assert place.op_type == "Add"  # of rows times width, which floats would round in large images
    assert {value.dtype for value in place.inputs} == {ir.DataType.INT64}
    found = run(lowered, {"x": image, "grid": grid})[0]
    np.testing.assert_array_equal(found[0, 0, 0], image[0, 0, 0, at])


def test_float16_lowering_leaves_a_grid_its_digits() -> None:
    width = 4096
    feed = {
        "x": random.normal(size=(1, 1, 1, width)).astype(np.float32),
        "grid": np.zeros((1, 1, width, 2), np.float32),
    }
    feed["grid"][0, 0, :, 0] = (2 * np.arange(width) + 1) / width - 1
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode="nearest", name="sample")
    typed = half_from_onnx(one_node(node, feed, {}), [feed])
    assert typed.precision_map["sample"]["type"] == "fp16"
    found = run(safe(typed.model, "GridSample"), feed)[0]
    np.testing.assert_array_equal(found, feed["x"].astype(np.float16).astype(np.float32))
