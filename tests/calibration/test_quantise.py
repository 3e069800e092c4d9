"""The whole of int8: what is chosen, how close it stays, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from calibration.calibrate import Settings
from calibration.precision import kept_float
from calibration.quantise import quantised_from_onnx
from calibration.sensitivity import layer_errors
from tests.calibration.float_graphs import (
    CHANNELS,
    HEADER,
    cosine,
    images,
    mlp,
    model_from_text,
    operators,
    run,
)

ONE_THREAD = Settings(threads=1)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy", "output_mse"])
def test_an_mlp_stays_close(method: str) -> None:
    batches, held_out = images(32, 5, CHANNELS), images(8, 5, CHANNELS, seed=9)
    settings = dataclasses.replace(ONE_THREAD, method=method, percentile=99.9)  # type: ignore[arg-type]
    result = quantised_from_onnx(mlp(), batches, settings)
    assert {entry["type"] for entry in result.precision_map.values()} == {"int8"}
    assert result.calibrated.images == 32
    ours = [run(result.model, feed)[0] for feed in held_out]
    theirs = [run(mlp(), feed)[0] for feed in held_out]
    # Eight bits leave about 1 % noise (cosine 0.9999); entropy clips hardest (0.999).
    assert cosine(ours, theirs) > 0.998


def test_a_centred_input_keeps_its_range_whatever_the_method() -> None:
    batches = images(32, 5, CHANNELS)
    found = {
        method: quantised_from_onnx(
            mlp(), batches, dataclasses.replace(ONE_THREAD, method=method, percentile=90.0)
        ).calibrated
        for method in ("minmax", "percentile")
    }
    centred = "fc2.equalise.output"
    minmax, clipped = found["minmax"].thresholds, found["percentile"].thresholds
    assert clipped[centred] == minmax[centred]
    assert clipped["normed"] < minmax["normed"]


def test_smoothing_pays() -> None:
    batches, held_out = images(32, 5, CHANNELS), images(16, 5, CHANNELS, seed=9)
    exact = np.concatenate([run(mlp(), feed)[0] for feed in held_out])

    def error(smooth: bool) -> float:
        settings = dataclasses.replace(ONE_THREAD, smooth=smooth)
        model = quantised_from_onnx(mlp(), batches, settings).model
        ours = np.concatenate([run(model, feed)[0] for feed in held_out])
        return float(np.linalg.norm(ours - exact))

    # Measured: a third.
    assert error(smooth=True) < error(smooth=False) / 1.5


def test_result_is_the_same_for_any_batch_size_bit_for_bit() -> None:
    singles = images(6, 5, CHANNELS)
    together = [{"x": np.concatenate([image["x"] for image in singles])}]
    results = [quantised_from_onnx(mlp(), batches, ONE_THREAD) for batches in (singles, together)]
    assert results[0].calibrated.thresholds == results[1].calibrated.thresholds
    for name, value in results[0].model.graph.initializers.items():
        other = results[1].model.graph.initializers[name]
        assert np.array_equal(value.const_value.numpy(), other.const_value.numpy())


def test_patterns_keep_linears_float_and_say_why() -> None:
    keep = {"fc2*": "too coarse"}
    result = quantised_from_onnx(mlp(), images(4, 5, CHANNELS), ONE_THREAD, keep)
    assert result.precision_map["fc2"] == {"type": "fp32", "why": "too coarse"}
    assert result.precision_map["fc1"]["type"] == "int8"
    assert operators(result.model).count("QuantizeLinear") == 1


def test_first_matching_pattern_gives_the_reason() -> None:
    assert kept_float(["a.b", "a.c"], {"a.b": "one", "a.*": "two"}) == {"a.b": "one", "a.c": "two"}


def test_small_linears_stay_float() -> None:
    text = (
        HEADER
        + """
    g (float[batch, 3, 8, 8] x) => (float[batch, 8] y) {
        [patches] c = Conv<kernel_shape: ints = [8, 8], strides: ints = [8, 8]>(x, k)
        f = Flatten(c)
        [wide] h = MatMul(f, w)
        [head] y = MatMul(h, v)
    }"""
    )
    random = np.random.default_rng(0)
    constants = {
        "k": random.normal(size=(16, 3, 8, 8)),
        "w": random.normal(size=(16, 16)),
        "v": random.normal(size=(16, 8)),
    }
    model = model_from_text(text, {k: v.astype(np.float32) for k, v in constants.items()})
    result = quantised_from_onnx(model, images(3, 3, 8, 8), ONE_THREAD)
    assert [entry["type"] for entry in result.precision_map.values()] == ["int8", "int8", "fp32"]
    assert "16 x 8" in result.precision_map["head"]["why"]


def test_layer_errors_point_at_the_layer_that_suffers() -> None:
    batches = images(8, 5, CHANNELS)
    result = quantised_from_onnx(mlp(), batches, ONE_THREAD)
    spoiled = result.model.clone()
    scale = spoiled.graph.initializers["w2.scale"]
    scale.const_value = type(scale.const_value)(scale.const_value.numpy() * -1.0)  # type: ignore
    worst, best = layer_errors(mlp(), spoiled, ["fc1", "fc2"], batches, images=4, threads=1)
    assert (worst.name, best.name) == ("fc2", "fc1")
    assert worst.relative_error > 1.0
    # One linear in int8: about 1 % noise.
    assert best.cosine > 0.999


def test_refusals() -> None:
    batches = images(2, 5, CHANNELS)
    with pytest.raises(ValueError, match=r"pattern '\*.decoder.\*' matches none of the 7 nodes"):
        quantised_from_onnx(mlp(), batches, ONE_THREAD, {"*.decoder.*": "?"})
    with pytest.raises(ValueError, match="no linear is left to quantise"):
        quantised_from_onnx(mlp(), batches, ONE_THREAD, {"*": "all"})
    with pytest.raises(ValueError, match="the graph has no node 'fc3'"):
        layer_errors(mlp(), mlp(), ["fc3"], batches)
    twins = mlp()
    next(iter(twins.graph)).name = "fc1"
    with pytest.raises(ValueError, match="two nodes are named 'fc1'"):
        quantised_from_onnx(twins, batches, ONE_THREAD)
