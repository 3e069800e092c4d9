"""Every way the build's process can end is an answer or one line, and leaves no half plan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.tensorrt import build_plan
from engines.trt import child_process
from runtime.errors import EngineError
from tests.fakes.builder_machine import Machine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds; what is waited for takes well under one, on a busy machine a few


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (
            "SIGSEGV",
            'TensorRT crashed (SIGSEGV) during "TensorRT: Building" after printing \'to standard '
            "output'; no plan was written; try another optimisation level or TensorRT version",
        ),
        (
            "SIGKILL",
            'the TensorRT process was killed during "TensorRT: Building", most likely for want '
            "of memory; give a smaller --workspace or a smaller largest batch, or close other "
            "programs",
        ),
        (
            "exits",
            'the TensorRT process ended with code 3 during "TensorRT: Building" after printing '
            "'to standard output'; no plan was written; check the installation with `vitrine "
            "doctor`",
        ),
        ("raises", "TensorRT failed (RuntimeError: a C++ exception of two lines)"),
    ],
)
def test_a_build_that_dies_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, expected: str
) -> None:
    machine = Machine(tmp_path, monkeypatch, build=way)
    with pytest.raises(EngineError) as caught:
        machine.build()
    assert str(caught.value) == expected
    assert machine.left() == []


def test_where_memory_runs_out_the_kernel_takes_the_build_and_not_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.build()
    assert machine.asked["oom_score"] > int(Path("/proc/self/oom_score_adj").read_text())


def test_ctrl_c_cancels_through_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, build="endless")

    def interrupt(stage: str) -> None:
        if stage == "TensorRT: Building":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(machine.order(), interrupt)
    assert machine.was_cancelled
    assert machine.left() == []


def test_a_build_that_does_not_hear_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, build="deaf")
    monkeypatch.setattr(child_process, "GRACE", 0.2)

    def interrupt(stage: str) -> None:
        if stage == "TensorRT: Building":
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_plan(machine.order(), interrupt)
    assert time.monotonic() - started < PATIENCE  # the fake sleeps ten minutes
    assert machine.left() == []


TOOL = """
import signal, sys
from pathlib import Path
from engines.tensorrt import PlanOrder, Profile, build_plan

# A shell that starts tests in the background has them ignore Ctrl-C, and so would this process.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = Path(sys.argv[1])
shape = (1, 3, 224, 224)
order = PlanOrder(
    folder / "model.onnx", folder / "out" / "model.plan",
    (Profile({"pixel_values": (shape, shape, shape)}),), {}, 1 << 20,
)
try:
    build_plan(order, lambda text: (folder / "stage").write_text(text))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("signals", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_tool_that_is_stopped_takes_the_build_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: signal.Signals, code: int
) -> None:
    """As a terminal does it: Ctrl-C goes to the tool's group, in which the child is not."""
    machine = Machine(tmp_path, monkeypatch, build="endless")
    stage = tmp_path / "stage"
    tool = subprocess.Popen([sys.executable, "-c", TOOL, str(tmp_path)], cwd=ROOT, process_group=0)
    try:
        wait_until(lambda: stage.exists() and stage.read_text() == "TensorRT: Building")
        os.killpg(tool.pid, signals)
        assert tool.wait(PATIENCE) == code
        # The monitor saw it: the process did not just vanish.
        wait_until(lambda: machine.was_cancelled)
        assert machine.left() == []
    finally:
        tool.kill()
        tool.wait()
