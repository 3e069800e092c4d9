"""One session for every subset: it computes what the graph of that subset computes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.calibrate import Settings, calibrate
from calibration.layer_effects import layer_effects
from calibration.layer_shapes import layer_shapes
from calibration.quantise import decide, int8_names, quantise
from calibration.search import squared_error
from calibration.switchable import Switchable
from tests.calibration.float_graphs import (
    CHANNELS,
    HEADER,
    HIDDEN,
    attention_inputs,
    images,
    mlp,
    model_from_text,
    residual_blocks,
    run,
)


def convolutions() -> ir.Model:
    """Two Convs, a Gemm and a MatMul; biases in the node, in an Add, and absent."""
    text = (
        HEADER
        + """
    g (float[batch, 3, 8, 8] x) => (float[batch, 16] y, float[batch, 16, 4, 4] d) {
        [stem] a = Conv<kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]>(x, k1, c1)
        r = Relu(a)
        [down] d = Conv<kernel_shape: ints = [2, 2], strides: ints = [2, 2]>(r, k2)
        f = Flatten(d)
        [wide] h = Gemm<transB: int = 1>(f, w1, c2)
        u = Relu(h)
        [head] y = MatMul(u, w2)
    }"""
    )
    random = np.random.default_rng(0)
    shapes = {
        "k1": (16, 3, 3, 3), "c1": (16,), "k2": (16, 16, 2, 2),
        "w1": (32, 256), "c2": (32,), "w2": (32, 16),
    }  # fmt: skip
    constants = {k: random.normal(0.0, 0.3, s).astype(np.float32) for k, s in shapes.items()}
    return model_from_text(text, constants)


GRAPHS = {
    "mlp": (mlp, (5, CHANNELS)),
    "shared input": (attention_inputs, (CHANNELS,)),
    "shared input, Gemm": (lambda: attention_inputs(transposed=True), (CHANNELS,)),
    "convolutions": (convolutions, (3, 8, 8)),
    "residual blocks": (residual_blocks, (3, 16, 16)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_any_subset_equals_its_own_graph(name: str) -> None:
    make, shape = GRAPHS[name]
    model = make()
    names = sorted(int8_names(decide(model, {})))
    calibrated = calibrate(model, names, images(8, *shape), Settings(threads=1))
    graph = Switchable(calibrated, names, threads=1)
    generator = np.random.default_rng(4)
    subsets = [[], names, *([n for n in names if generator.random() < 0.5] for _ in range(4))]
    for subset in subsets:
        written = quantise(calibrated, subset)
        for feed in images(3, *shape, seed=8):
            for ours, theirs in zip(graph.run(feed, subset), run(written, feed), strict=True):
                # float32 sums in another order; values are of order 1 to 10.
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=str(subset))


def test_int8_is_not_float() -> None:
    """The comparison above would not notice a switch that does nothing on a graph too easy."""
    names = ["fc1", "fc2"]
    calibrated = calibrate(mlp(), names, images(8, 5, CHANNELS), Settings(threads=1))
    graph, (feed,) = Switchable(calibrated, names, threads=1), images(1, 5, CHANNELS, seed=8)
    exact = graph.run(feed, [])
    errors = [squared_error(graph.run(feed, [name]), exact) for name in names]
    # Eight bits: about 1e-2 relative, 1e-4 squared.
    assert all(1e-6 < error < 1e-2 for error in errors)


def test_effects_are_the_relative_squared_errors_of_each_layer_alone() -> None:
    names = ["fc1", "fc2"]
    few = images(3, 5, CHANNELS, seed=8)
    calibrated = calibrate(mlp(), names, images(8, 5, CHANNELS), Settings(threads=1))
    found = layer_effects(Switchable(calibrated, names, threads=1), names, few, images=2)
    for name in names:
        alone = quantise(calibrated, [name])
        errors = []
        for feed in few[:2]:
            exact, rounded = run(mlp(), feed)[0], run(alone, feed)[0]
            errors.append(np.sum((rounded - exact) ** 2.0) / np.sum(exact**2.0))
        # The float graph of `calibrated` has other scales: its outputs differ by 1e-6, relative,
        # against errors of 1e-2.
        assert found[name] == pytest.approx(np.mean(errors), rel=1e-3)


def test_effects_need_images() -> None:
    calibrated = calibrate(mlp(), ["fc1"], images(2, 5, CHANNELS), Settings(threads=1))
    with pytest.raises(ValueError, match="no calibration images"):
        layer_effects(Switchable(calibrated, ["fc1"], threads=1), ["fc1"], [])


def test_work_of_matrices_and_convolutions() -> None:
    found = layer_shapes(mlp(), ["fc1", "fc2"], images(2, 5, CHANNELS), threads=1)
    assert found["fc1"].source == (1, 5, CHANNELS)
    assert found["fc1"].macs == found["fc2"].macs == 5 * CHANNELS * HIDDEN
    found = layer_shapes(convolutions(), ["stem", "down", "wide"], images(1, 3, 8, 8), threads=1)
    assert list(found) == ["stem", "down", "wide"]
    assert found["stem"].macs == 8 * 8 * 16 * 3 * 3 * 3
    assert found["down"].macs == 4 * 4 * 16 * 16 * 2 * 2
    assert found["wide"].macs == 256 * 32
    assert found["down"].attributes == (("kernel_shape", (2, 2)), ("strides", (2, 2)))
    assert found["wide"].attributes == (("transB", 1),)
