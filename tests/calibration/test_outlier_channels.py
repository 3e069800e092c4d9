"""Outlier channels leave the int8 product, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.calibrate import Settings
from calibration.quantise import quantised_from_onnx
from calibration.ranges import ChannelStatistics
from calibration.sensitivity import layer_errors
from calibration.transforms.outlier_channels import outlier_channels, split_outliers
from tests.calibration.float_graphs import (
    CHANNELS,
    HIDDEN,
    images,
    mlp,
    operators,
    reference,
    run,
)
from tests.calibration.test_transforms import statistics

LOUD = 7


def loud_mlp() -> ir.Model:
    """One channel after GELU is 60 times as large as the others, and so are its weights."""
    model = mlp()
    for name, index in (("w1", (slice(None), LOUD)), ("b1", LOUD), ("w2", LOUD)):
        value = model.graph.initializers[name]
        array = value.const_value.numpy().copy()
        array[index] *= 60.0
        value.const_value = ir.tensor(array, name=name)
    return model


def test_the_outlier_is_found() -> None:
    model, batches = loud_mlp(), images(8, 5, CHANNELS)
    matrix = model.graph.initializers["w2"].const_value.numpy()
    found = outlier_channels(statistics(model, batches)["active"], matrix)
    assert found.tolist() == [LOUD]


@pytest.mark.parametrize("loud", [0, 12], ids=["none", "too-many-to-be-exceptions"])
def test_no_outliers(loud: int) -> None:
    channels = ChannelStatistics()
    values = np.random.default_rng(0).normal(size=(1, 200, HIDDEN)).astype(np.float32)
    values[..., :loud] *= 1000.0
    channels.add(values)
    assert outlier_channels(channels, np.ones((HIDDEN, 4), np.float32)).size == 0


def test_the_split_leaves_the_output() -> None:
    model, batches = loud_mlp(), images(8, 5, CHANNELS)
    split = split_outliers(model, statistics(model, batches), {"fc1", "fc2"})
    assert operators(split) == [
        "LayerNormalization", "MatMul", "Add", "Gelu",
        "Gather", "MatMul", "MatMul", "Add", "Add",
        "Add",
    ]  # fmt: skip
    assert not split.graph.initializers["w2"].const_value.numpy()[LOUD].any()
    feed = images(1, 5, CHANNELS, seed=5)[0]
    exact = run(model, feed)[0]
    for result in (run(split, feed)[0], reference(split, feed)[0]):
        # Sums of 32 float32 products in another order, relative to the largest.
        assert np.abs(result - exact).max() <= 1e-5 * np.abs(exact).max()


def test_linears_without_outliers_are_left_alone() -> None:
    model, batches = mlp(), images(8, 5, CHANNELS)
    split = split_outliers(model, statistics(model, batches), {"fc1", "fc2"})
    assert operators(split) == operators(model)


def test_the_other_channels_keep_their_resolution() -> None:
    model, batches = loud_mlp(), images(32, 5, CHANNELS)
    result = quantised_from_onnx(model, batches, Settings(threads=1))
    assert result.precision_map["fc2"]["type"] == "int8"
    held_out = images(8, 5, CHANNELS, seed=9)
    (fc2,) = [
        layer
        for layer in layer_errors(model, result.model, ["fc1", "fc2"], held_out, threads=1)
        if layer.name == "fc2"
    ]
    # Eight bits of noise from fc1 in the loud channel itself, about 1 %; compared where the
    # outlier's own product has been added.
    assert fc2.relative_error < 0.02
