"""The logger, the errors and the progress monitor of a build, under the fake.

Under NVIDIA's own bindings they are made in tests/contract.
"""

from __future__ import annotations

import sys

import pytest

from engines.trt.listeners import Messages, make_logger, make_monitor
from tests.fakes import tensorrt_builder


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


def test_what_was_recorded_counts_before_what_was_logged() -> None:
    messages = Messages()
    assert [error.text for error in messages.failures()] == ["it gave no reason"]
    make_logger(messages).log(tensorrt_builder.ILogger.Severity.ERROR, "logged")
    assert [(error.code, error.text) for error in messages.failures()] == [("", "logged")]
    recorder = messages.record.recorder()
    recorder.report_error(tensorrt_builder.ErrorCodeTRT.INVALID_STATE, "one\n two")
    assert [(e.code, e.text) for e in messages.failures()] == [("INVALID_STATE", "one two")]
