"""When launches become CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import tensorrt_runtime
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t
from tests.fakes.tensorrt_runtime import _calls
from tests.runtime.toy_sessions import Opener, rows


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


def test_a_graph_is_captured_at_the_second_sight_and_replayed(
    opened: Opener, machine: Machine
) -> None:
    session = opened()
    launches = []
    for seed in range(5):
        _calls.clear()
        machine.calls.clear()
        x = rows(3, seed)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
        launches.append((_calls.count("execute_async_v3"), "cudaGraphLaunch" in machine.calls))
    # Plainly; in a context of its own and once more for the capture; then by the graph alone.
    assert launches == [(1, False), (2, False), (0, True), (0, True), (0, True)]


def test_graphs_are_bounded_and_the_least_recently_used_goes(
    opened: Opener, machine: Machine
) -> None:
    session = opened()
    session.run({"x": rows(64)})  # so that the addresses stay
    replayed = {}
    for count in range(2, 22):
        for rounds in (count, count, 1):  # a single row is used all the time
            x = rows(rounds, count)
            np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    assert machine.left()["graphs"] == 8
    for count in (1, 21, 15, 14):  # as many as there are graphs, and one more
        machine.calls.clear()
        session.run({"x": rows(count)})
        replayed[count] = "cudaGraphLaunch" in machine.calls
    assert replayed == {1: True, 21: True, 15: True, 14: False}


@pytest.mark.parametrize(
    "failing",
    [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
    ],
)
def test_what_cannot_be_captured_is_launched_plainly(
    opened: Opener, machine: Machine, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    session = opened()
    machine.failures[failing] = cudaError_t.cudaErrorStreamCaptureUnsupported
    with caplog.at_level("INFO"):
        for seed in range(4):
            x = rows(3, seed)
            np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    (record,) = caplog.records
    assert "no CUDA graph, launching plainly" in record.message
    assert "cudaErrorStreamCaptureUnsupported" in record.message


def test_a_launch_that_fails_while_captured(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened()
    session.run({"x": rows(3)})
    context = tensorrt_runtime.IExecutionContext
    monkeypatch.setattr(context, "_warm", property(lambda _: False, lambda *_: None), raising=False)
    for seed in range(3):
        x = rows(3, seed)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
