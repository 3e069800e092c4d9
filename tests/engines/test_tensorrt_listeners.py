"""The logger and the progress monitor, under the fake and under NVIDIA's own bindings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.trt.listeners import Messages, make_logger, make_monitor
from tests.fakes import tensorrt_builder

ROOT = Path(__file__).resolve().parents[2]
STUBS = os.environ.get("VITRINE_TENSORRT_STUBS", "")


@pytest.fixture(autouse=True)
def fake_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_builder)


def test_the_monitor_tells_outermost_phases_and_now_and_then_a_step() -> None:
    said: list[str] = []
    monitor = make_monitor(said.append, lambda: False, between=0.0)
    monitor.phase_start("Building", "", 2)
    monitor.phase_start("Timing", "Building", 7)
    assert monitor.step_complete("Timing", 0)
    monitor.phase_finish("Timing")
    monitor.phase_finish("Building")
    assert said == ["TensorRT: Building", "TensorRT: Timing, 1 of 7"]


def test_the_monitor_does_not_tell_every_step() -> None:
    said: list[str] = []
    monitor = make_monitor(said.append, lambda: False)
    for step in range(1000):
        monitor.step_complete("Timing", step)
    assert said == []


def test_the_monitor_stops_a_cancelled_build() -> None:
    cancelled = False
    monitor = make_monitor(lambda _: None, lambda: cancelled)
    assert monitor.step_complete("Timing", 0) is True
    cancelled = True
    assert monitor.step_complete("Timing", 1) is False


def test_the_logger_keeps_errors_and_warnings_apart() -> None:
    messages = Messages()
    logger = make_logger(messages)
    severity = tensorrt_builder.ILogger.Severity
    logger.log(severity.INFO, "hello")
    logger.log(severity.WARNING, "tight memory")
    assert messages.last_error == ""
    logger.log(severity.INTERNAL_ERROR, "one\n  two")
    logger.log(severity.ERROR, "Out Of Memory")
    assert list(messages.errors) == ["one two", "Out Of Memory"]
    assert list(messages.warnings) == ["tight memory"]
    assert messages.last_error == "Out Of Memory"
    assert messages.mention("out of memory")
    assert messages.mention("tight")
    assert not messages.mention("hello")


UNDER_NVIDIA = """
import tensorrt as trt
from engines.trt.listeners import Messages, make_logger, make_monitor

messages = Messages()
logger = make_logger(messages)
logger.log(trt.ILogger.Severity.ERROR, "lost")
assert isinstance(logger, trt.ILogger) and messages.last_error == "lost"
said = []
monitor = make_monitor(said.append, lambda: bool(said), between=0.0)
assert isinstance(monitor, trt.IProgressMonitor)
monitor.phase_start("Building", None, 2)
assert not monitor.step_complete("Building", 0)
monitor.phase_finish("Building")
assert said == ["TensorRT: Building", "TensorRT: Building, 1 of 2"]
"""


@pytest.mark.skipif(not STUBS, reason="VITRINE_TENSORRT_STUBS does not name NVIDIA's bindings")
@pytest.mark.parametrize("version", ["10.3.0", "11.4.0"])
def test_nvidias_bindings_take_the_listeners(version: str) -> None:
    folder = Path(STUBS) / version / "import"
    environment = {
        **os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "LD_LIBRARY_PATH": str(folder / "lib")
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", UNDER_NVIDIA], check=True, env=environment)
