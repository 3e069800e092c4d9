"""What a session computes and what it holds, on the fake device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import _plan
from tests.runtime.toy_sessions import POSITIVE, ROWS, Opener, rows


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


def test_answers_of_changing_shapes_belong_to_the_caller(opened: Opener) -> None:
    session = opened()
    assert (session.name, session.version) == ("tensorrt", "10.3.0")
    kept = []
    for count in (2, 5, 5, 1, 5, 5, 64, 2, 2):  # each grows, shrinks or repeats
        x = rows(count, seed=len(kept))
        kept.append((x, session.run({"x": x})["y"]))
    for x, y in kept:  # later runs have left them alone
        np.testing.assert_array_equal(y, 2 * x + 1)  # exact: the fake computes the same
        y[:] = 0  # writable


@pytest.mark.parametrize("kind", ["FLOAT", "HALF", "INT8", "UINT8", "INT32", "INT64"])
def test_dtypes(opened: Opener, kind: str) -> None:
    session = opened(_plan("affine", {"x": [kind, ROWS]}, {"y": kind}))
    dtype = {"FLOAT": "float32", "HALF": "float16"}.get(kind, kind.lower())
    x = np.arange(8).reshape(2, 4).astype(dtype)
    found = session.run({"x": x})["y"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [[1, 3, 5, 7], [9, 11, 13, 15]])


def test_booleans(opened: Opener) -> None:
    session = opened(_plan("invert", {"mask": ["BOOL", ROWS]}, {"y": "BOOL"}))
    found = session.run({"mask": np.array([[True, False, False, True]])})["y"]
    np.testing.assert_array_equal(found, [[False, True, True, False]])


def test_strided_inputs_and_several_outputs(opened: Opener) -> None:
    profiles = [[[1, 1], [2, 2], [4, 4]]]
    session = opened(
        _plan(
            "sum_and_difference",
            {"a": ["FLOAT", profiles], "b": ["FLOAT", profiles]},
            {"sum": "FLOAT", "difference": "FLOAT"},
        )
    )
    a = np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2]
    found = session.run({"b": a.T, "a": a})
    assert list(found) == ["sum", "difference"]
    np.testing.assert_array_equal(found["sum"], a + a.T)
    np.testing.assert_array_equal(found["difference"], a - a.T)


def test_memory_is_allocated_once_and_waited_for_once(opened: Opener, machine: Machine) -> None:
    session = opened()
    session.run({"x": rows(64)})
    for count in (3, 9, 64):
        machine.calls.clear()
        session.run({"x": rows(count)})
        assert not {"cudaMalloc", "cudaFree", "cudaMallocHost"} & set(machine.calls)
        assert machine.calls.count("cudaStreamSynchronize") == 1 + (count == 64)  # one captures


def test_outputs_shaped_by_the_data(opened: Opener, machine: Machine) -> None:
    session = opened(POSITIVE)
    none = -np.ones((2, 4), np.float32)
    for x in (rows(2), rows(40), none, rows(40, 1), rows(40, 2), rows(3)):
        found = session.run({"x": x})
        np.testing.assert_array_equal(found["found"], x[x > 0])
        np.testing.assert_array_equal(found["top"], x.max(axis=0))
    assert "cudaStreamBeginCapture" not in machine.calls


def test_two_sessions_close_in_either_order(opened: Opener) -> None:
    first, second = opened(), opened()
    first.close()
    x = rows(2)
    np.testing.assert_array_equal(second.run({"x": x})["y"], 2 * x + 1)


def test_closing_twice(opened: Opener) -> None:
    session = opened(POSITIVE)
    session.run({"x": rows(2)})
    session.close()
    session.close()


def test_an_empty_output_of_known_shape(opened: Opener) -> None:
    session = opened(_plan("without_two_rows", {"x": ["FLOAT", ROWS]}, {"y": "FLOAT"}))
    for count in (2, 3, 2, 2):  # plainly, and the last one captured
        x = rows(count)
        np.testing.assert_array_equal(session.run({"x": x})["y"], x[2:])


def test_a_second_device(opened: Opener, machine: Machine) -> None:
    machine.device_count = 2
    machine.device = 1
    session = opened()
    machine.device = 0  # as a thread of the application has it
    session.run({"x": rows(2)})
    assert set(machine.where.values()) == {1}
    assert machine.device == 0
