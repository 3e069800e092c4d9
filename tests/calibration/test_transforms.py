"""Transformations keep the float output and make the graph easier to quantise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.linears import find_linears
from calibration.local_error import Affine
from calibration.ranges import ChannelStatistics, observe
from calibration.search import search_affines
from calibration.transforms.candidates import activation_candidates
from calibration.transforms.migrate_scales import migrate_scales
from calibration.transforms.post_gelu import centre_activations, lopsided_linears
from tests.calibration.float_graphs import (
    CHANNELS,
    HEADER,
    HIDDEN,
    attention_inputs,
    images,
    mlp,
    model_from_text,
    operators,
    run,
)

# Scaling and unscaling rounds each factor once (6e-8); sums of 32 terms of order 10.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-4}


def statistics(model: ir.Model, batches: list[dict[str, np.ndarray]]) -> dict:
    found = {str(linear.source.name): ChannelStatistics() for linear in find_linears(model)}
    observe(model, {name: [channels] for name, channels in found.items()}, batches, 1)
    return found


def spread_of(model: ir.Model, value: str, batches: list[dict[str, np.ndarray]]) -> float:
    """Largest over smallest channel."""
    channels = ChannelStatistics()
    observe(model, {value: [channels]}, batches, 1)
    size = np.maximum(channels.high, -channels.low)
    return float(size.max() / size.min())


@pytest.mark.parametrize("transposed", [False, True], ids=["matmul", "gemm"])
def test_migrated_scales_are_shared_and_leave_the_output(transposed: bool) -> None:
    model, batches = attention_inputs(transposed), images(8, CHANNELS)
    changed = migrate_scales(model, statistics(model, batches), {"q", "k", "v"})
    assert operators(changed) == operators(model)
    for ours, theirs in zip(run(changed, batches[0]), run(model, batches[0]), strict=True):
        assert np.allclose(ours, theirs, **FLOAT32)
    assert spread_of(changed, "n", batches) < spread_of(model, "n", batches) / 2


def test_a_linear_that_stays_float_needs_no_statistics() -> None:
    """The last block's queries: they read rows of their own and may be too small for int8."""
    text = (
        HEADER
        + """
    g (float[2, 16, 16] x) => (y, z) {
        n = LayerNormalization(x, gamma)
        m = Gather<axis: int = 1>(n, first)
        [q] y = MatMul(m, w)
        [k] z = MatMul(n, w)
    }"""
    )
    random = np.random.default_rng(0)
    constants = {
        "gamma": np.exp(random.normal(0, 2, 16)).astype(np.float32),
        "w": random.normal(size=(16, 16)).astype(np.float32),
        "first": np.array(0),
    }
    model = ir.from_proto(ir.to_proto(model_from_text(text, constants)))
    feed = {"x": random.normal(size=(2, 16, 16)).astype(np.float32)}
    read_by_k = ChannelStatistics()
    read_by_k.add(run_value(model, "n", feed))
    changed = migrate_scales(model, {"n": read_by_k}, {"k"})
    before, after = (np.abs(run_value(m, "n", feed)).max(axis=(0, 1)) for m in (model, changed))
    assert after.max() / after.min() < before.max() / before.min() / 2
    for ours, theirs in zip(run(changed, feed), run(model, feed), strict=True):
        assert np.allclose(ours, theirs, **FLOAT32)


def test_the_argument_is_left_as_it_was() -> None:
    model, batches = mlp(), images(4, 5, CHANNELS)
    before = ir.to_proto(model).SerializeToString()
    changed = migrate_scales(model, statistics(model, batches), {"fc1", "fc2"})
    changed = centre_activations(changed, {"fc2": Affine(np.full(HIDDEN, 2.0), np.ones(HIDDEN))})
    assert operators(changed) != operators(model)
    assert ir.to_proto(model).SerializeToString() == before


OTHER_READERS = {
    "a residual": "z = Add(n, p)",
    "an activation": "g = Gelu(n)\n z = Add(p, g)",
}


@pytest.mark.parametrize("reader", OTHER_READERS.values(), ids=OTHER_READERS.keys())
def test_a_norm_that_others_read_is_left_alone(reader: str) -> None:
    text = (
        HEADER
        + f"""
    g (float[batch, 16] x) => (float[batch, 16] z) {{
        n = LayerNormalization(x, gamma, beta)
        [fc] p = MatMul(n, w)
        {reader}
    }}"""
    )
    random = np.random.default_rng(0)
    constants = {
        "gamma": np.exp(random.normal(0, 2, 16)).astype(np.float32),
        "beta": np.zeros(16, np.float32),
        "w": random.normal(size=(16, 16)).astype(np.float32),
    }
    model, batches = model_from_text(text, constants), images(4, 16)
    changed = migrate_scales(model, statistics(model, batches), {"fc"})
    assert np.array_equal(changed.graph.initializers["w"].const_value.numpy(), constants["w"])


@pytest.mark.parametrize(
    ("path", "folds"),
    [
        ("Reshape(n, tokens)", True),
        ("Transpose<perm: ints = [1, 0, 2]>(n)", True),
        ("Gather<axis: int = 1>(n, first)", True),
        ("Transpose<perm: ints = [0, 2, 1]>(n)", False),
        ("Gather<axis: int = 2>(n, permutation)", False),
    ],
    ids=["reshape", "transpose", "first-token", "mixes-channels", "permutes-channels"],
)
def test_only_whole_rows_may_be_moved_between_norm_and_linear(path: str, folds: bool) -> None:
    text = (
        HEADER
        + f"""
    g (float[2, 16, 16] x) => (z) {{
        n = LayerNormalization(x, gamma)
        m = {path}
        [fc] z = MatMul(m, w)
    }}"""
    )
    random = np.random.default_rng(0)
    constants = {
        "gamma": np.exp(random.normal(0, 2, 16)).astype(np.float32),
        "w": random.normal(size=(16, 16)).astype(np.float32),
        "tokens": np.array([32, 16]),
        "first": np.array(0),
        "permutation": np.arange(16)[::-1].copy(),
    }
    proto = ir.to_proto(model_from_text(text, constants))
    model = ir.from_proto(proto)
    feed = {"x": random.normal(size=(2, 16, 16)).astype(np.float32)}
    source = ChannelStatistics()
    source.add(run_value(model, "m", feed))
    changed = migrate_scales(model, {"m": source}, {"fc"})
    moved = not np.array_equal(changed.graph.initializers["w"].const_value.numpy(), constants["w"])
    assert moved == folds
    assert np.allclose(run(changed, feed)[0], run(model, feed)[0], **FLOAT32)


def run_value(model: ir.Model, name: str, feed: dict[str, np.ndarray]) -> np.ndarray:
    copy = model.clone()
    value = next(v for node in copy.graph for v in node.outputs if v.name == name)
    copy.graph.outputs[:] = [value]
    return run(copy, feed)[0]


def test_centring_inserts_sub_and_mul_and_leaves_the_output() -> None:
    model, batches = mlp(), images(8, 5, CHANNELS)
    observed = statistics(model, batches)["active"]
    matrix = next(linear for linear in find_linears(model) if linear.name == "fc2").matrix()
    affine = activation_candidates(observed, matrix)[-1]
    changed = centre_activations(model, {"fc2": affine})
    assert operators(changed) == [
        "LayerNormalization", "MatMul", "Add", "Gelu", "Sub", "Mul", "MatMul", "Add", "Add",
    ]  # fmt: skip
    assert np.allclose(run(changed, batches[0])[0], run(model, batches[0])[0], **FLOAT32)


def test_a_quiet_channel_keeps_room_for_what_calibration_did_not_show() -> None:
    observed = ChannelStatistics()
    rows = np.random.default_rng(0).normal(size=(1, 200, 8)).clip(0).astype(np.float32)
    rows[..., 3] *= 0.01
    observed.add(rows)
    _, *candidates = activation_candidates(observed, np.ones((8, 16), np.float32))
    full = candidates[-1]
    reach = (np.quantile(observed.high, 0.75) - full.offset) / full.scale
    assert reach[3] <= reach.max() * 1.001


def test_search_prefers_what_helps_the_output() -> None:
    model, batches = mlp(), images(8, 5, CHANNELS)
    observed = statistics(model, batches)
    assert lopsided_linears(model, {"fc1", "fc2"}) == ["fc2"]
    matrix = next(linear for linear in find_linears(model) if linear.name == "fc2").matrix()
    candidates = {"fc2": activation_candidates(observed["active"], matrix)}
    chosen = search_affines(model, observed, candidates, batches, threads=1)["fc2"]
    # Half of the range is idle without centring: any centred candidate has a quarter the error.
    assert not chosen.is_identity
