"""Resize as constants, against ONNX Runtime, ONNX's reference evaluator and PyTorch."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper
from safe_forms import Arrays, one_node, reference, safe
from small_graphs import operators, run

from calibration.half import half_from_onnx
from export.lowering.for_tensorrt import lowered_for_tensorrt

random = np.random.default_rng(0)
# Coordinates are float32 in ONNX Runtime and float64 here: up to 20, times differences of pixels.
NEAR = 2e-5
MODES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


def image(*shape: int) -> Arrays:
    return {"x": random.normal(size=shape).astype(np.float32)}


def resize(feed: Arrays, factors: tuple[float, float], **more: object) -> ir.Model:
    """Of the last two axes, by scales."""
    scales = np.array([1.0, 1.0, *factors], np.float32)
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **more)
    return one_node(node, feed, {"scales": scales})


def resized_to(feed: Arrays, size: tuple[int, int], **more: object) -> ir.Model:
    """Of the last two axes, by sizes."""
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=[2, 3], **more)
    return one_node(node, feed, {"sizes": np.array(size)})


def close(model: ir.Model, feed: Arrays, atol: float = NEAR, *, evaluator: bool = True) -> None:
    lowered = safe(model, "Resize")
    for batch in (1, len(feed["x"])):
        part = {"x": feed["x"][:batch]}
        ours = run(lowered, part)[0]
        np.testing.assert_allclose(ours, run(model, part)[0], atol=atol)
    if evaluator:
        np.testing.assert_allclose(ours, reference(model, feed), atol=atol)


@pytest.mark.parametrize("place", MODES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_larger_and_smaller(mode: str, place: str) -> None:
    feed = image(2, 3, 5, 8)
    # Enlarged, shrunk, one of each, and a scale that moves pixels without adding any; all but the
    # first leave a part of a pixel.
    for factors in ((3.0, 2.5), (0.6, 0.4), (0.5, 1.3), (1.1, 2.0)):
        model = resize(feed, factors, mode=mode, coordinate_transformation_mode=place)
        # Corners are aligned to the last output; the evaluator takes the part of a pixel for one.
        whole = factors == (3.0, 2.5)
        close(model, feed, evaluator=whole or place != "align_corners")


def test_scales_that_add_no_pixel_on_any_axis_copy() -> None:
    # As ONNX Runtime and PyTorch do; the evaluator moves pixels.
    feed = image(2, 3, 5, 8)
    model = resize(feed, (1.1, 1.05), mode="linear")
    close(model, feed, atol=0, evaluator=False)
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(feed["x"]), scale_factor=(1.1, 1.05), mode="bilinear"
    )
    np.testing.assert_array_equal(run(model, feed)[0], scaled)


@pytest.mark.parametrize("place", MODES)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(rounding: str, place: str) -> None:
    feed = image(2, 3, 6, 8)
    # Coordinates are exact in float32 too, ties among them; with corners of 11 and 22 outputs not.
    for factors in ((2.0, 4.0), (0.5, 1.5)) if place != "align_corners" else ((0.5, 0.5),):
        model = resize(
            feed, factors, mode="nearest", nearest_mode=rounding,
            coordinate_transformation_mode=place,
        )  # fmt: skip
        if place == "asymmetric" and rounding == "floor" and factors == (2.0, 4.0):
            assert operators(lowered_for_tensorrt(model, "primitives")) == ["Resize"]
        else:
            close(model, feed, atol=0)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_sizes_instead_of_scales(mode: str) -> None:
    feed = image(2, 3, 6, 9)
    close(resized_to(feed, (15, 6), mode=mode), feed)


def test_sizes_that_hold_the_batch() -> None:
    # As PyTorch's exporter writes interpolate(x, size).
    feed = image(2, 3, 6, 9)
    nodes = [
        helper.make_node("Shape", ["x"], ["first"], start=0, end=2),
        helper.make_node("Concat", ["first", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    size = numpy_helper.from_array(np.array([12, 20]), "size")
    shapes = {"x": ["batch", 3, 6, 9], "y": ["batch", 3, 12, 20]}
    infos = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "sizes", infos[:1], infos[1:], [size])
    opsets = [helper.make_opsetid("", 20)]
    close(ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10)), feed)


@pytest.mark.parametrize("outside", [0, 1], ids=["nearest-inside", "left-out"])
@pytest.mark.parametrize("a", [-0.5, -0.75])
def test_cubic_attributes(a: float, outside: int) -> None:
    feed = image(2, 1, 6, 5)
    attributes = {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": outside}
    close(resize(feed, (1.7, 0.6), **attributes), feed)


@pytest.mark.parametrize("outside", [0, 1], ids=["nearest-inside", "left-out"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiasing(mode: str, outside: int) -> None:
    feed = image(2, 3, 13, 16)
    close(resize(feed, (0.4, 0.25), mode=mode, antialias=1, exclude_outside=outside), feed)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiasing_is_pytorchs(mode: str) -> None:
    feed = image(2, 3, 12, 16)
    attributes = {"antialias": 1, "exclude_outside": 1, "cubic_coeff_a": -0.5}
    ours = run(safe(resized_to(feed, (5, 4), mode=mode, **attributes), "Resize"), feed)[0]
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(feed["x"]), size=(5, 4), antialias=True,
        mode={"linear": "bilinear", "cubic": "bicubic"}[mode],
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=NEAR)


@pytest.mark.parametrize("place", MODES)
def test_one_pixel(place: str) -> None:
    feed = image(2, 1, 1, 4)
    close(resized_to(feed, (3, 1), mode="linear", coordinate_transformation_mode=place), feed)


def test_channels_last() -> None:
    feed = image(2, 5, 6, 3)
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", axes=[1, 2])
    model = one_node(node, feed, {"scales": np.array([2.0, 1.5], np.float32)})
    close(model, feed)


def test_float16() -> None:
    feed = image(2, 3, 7, 7)
    model = resize(feed, (4.0, 4.0), mode="linear")
    typed = half_from_onnx(model, [feed]).model
    lowered = safe(typed, "Resize")
    products = [node for node in lowered.graph if node.op_type == "MatMul"]
    assert len(products) == 2
    assert {value.dtype for node in products for value in node.inputs} == {ir.DataType.FLOAT16}
    # Values up to 4 and their products with weights, each rounded to 2^-11, twice.
    np.testing.assert_allclose(run(lowered, feed)[0], run(model, feed)[0], atol=8e-3)


def test_what_follows_the_input_is_left_alone() -> None:
    feed = image(2, 3, 5, 8)
    model = resize(feed, (2.0, 2.0), mode="linear")
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "rows", "columns"])
    for value in model.graph.outputs:
        value.shape = None
    lowered = lowered_for_tensorrt(model, "primitives")
    assert operators(lowered) == ["Resize"]


def test_a_crop_is_left_alone() -> None:
    feed = image(2, 3, 5, 8)
    node = helper.make_node(
        "Resize", ["x", "roi", "scales"], ["y"], mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    )  # fmt: skip
    constants = {
        "roi": np.array([0, 0, 0.1, 0.1, 1, 1, 0.9, 0.9], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    lowered = lowered_for_tensorrt(one_node(node, feed, constants), "primitives")
    assert operators(lowered) == ["Resize"]
