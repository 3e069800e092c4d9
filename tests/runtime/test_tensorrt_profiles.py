"""Which shapes an engine takes, and in which of its optimisation profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.backends.tensorrt_tensors import choose_profile
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import _plan, _refused
from tests.runtime.toy_sessions import Opener, refused, rows


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


def test_the_profile_that_admits_the_shapes_is_used(opened: Opener) -> None:
    profiles = [[[1, 4], [1, 4], [2, 4]], [[8, 4], [8, 4], [16, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    for count in (2, 8, 16, 1, 1, 8, 8, 1):
        x = rows(count)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    refused(
        session,
        {"x": rows(5)},
        r"found x \(5, 4\), the engine's profiles admit x \(1, 4\)\.\.\(2, 4\); or "
        r"x \(8, 4\)\.\.\(16, 4\): infer within one",
    )
    refused(session, {"x": np.zeros(4, np.float32)}, r"found x \(4,\)")
    assert session.run({"x": rows(2)})["y"].shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "profile"),
    [
        pytest.param((2, 4), 0, id="lying"),
        pytest.param((4, 2), 1, id="standing"),
        pytest.param((3, 3), 0, id="as-near-to-both"),
    ],
)
def test_of_several_profiles_the_one_tuned_nearest_is_used(
    opened: Opener, shape: tuple[int, int], profile: int
) -> None:
    profiles = [[[1, 1], [2, 4], [4, 4]], [[1, 1], [4, 2], [4, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    tensors = session._engine.inputs
    x = np.ones(shape, np.float32)
    assert choose_profile(tensors, {"x": x}) == profile
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)


def test_an_input_of_fixed_shape(opened: Opener) -> None:
    session = opened(_plan("affine", {"x": ["FLOAT", [[[2, 4]] * 3]]}, {"y": "FLOAT"}))
    assert session.run({"x": rows(2)})["y"].shape == (2, 4)
    refused(session, {"x": rows(3)}, r"admit x \(2, 4\)\.\.\(2, 4\)")


def test_a_profile_that_tensorrt_refuses(opened: Opener) -> None:
    profiles = [[[1, 4], [1, 4], [2, 4]], [[8, 4], [8, 4], [16, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    _refused.add("set_optimization_profile_async")
    refused(session, {"x": rows(8)}, r"refuses optimisation profile 1 \(profile is in use\)")


def test_shapes_that_contradict_each_other_within_the_graph(opened: Opener) -> None:
    session = opened()
    _refused.add("infer_shapes")
    refused(session, {"x": rows(2)}, r"cannot infer shapes for \(\(2, 4\),\) \(Reshape: -1 wildc")
