"""Errors with their codes: kept by session, from any thread, and turned into remedies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import EngineError
from runtime.tensorrt_errors import ErrorRecord, Reported
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import ErrorCodeTRT, _refused
from tests.runtime.toy_sessions import Opener, rows

MEMORY = "close other users of the device's memory, or build for smaller batches"


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


@pytest.mark.parametrize(
    ("reported", "is_memory"),
    [
        pytest.param(Reported("FAILED_ALLOCATION", "no details"), True, id="by-its-code"),
        # As TensorRT 8 to 10 say it; see `Reported.is_memory`.
        pytest.param(
            Reported("INTERNAL_ERROR", "Error Code 2: OutOfMemory (no further information)"),
            True,
            id="own-allocator",
        ),
        pytest.param(
            Reported("UNSPECIFIED_ERROR", "Error Code 1: Cuda Runtime (out of memory)"),
            True,
            id="cuda",
        ),
        pytest.param(
            Reported(
                "UNSPECIFIED_ERROR", "Cuda Runtime (an illegal memory access was encountered)"
            ),
            False,
            id="another-kind-of-memory",
        ),
    ],
)
def test_memory_that_ran_out_is_told_from_other_errors(reported: Reported, is_memory: bool) -> None:
    assert reported.is_memory == is_memory


def test_errors_are_taken_once_with_their_codes(machine: Machine) -> None:
    record = ErrorRecord()
    recorder = record.recorder()
    assert recorder.report_error(ErrorCodeTRT.INVALID_STATE, "in\n two lines") is True
    recorder.report_error(ErrorCodeTRT.INTERNAL_ERROR, "then")
    assert (recorder.num_errors(), recorder.has_overflowed()) == (2, False)
    assert recorder.get_error_code(1) is ErrorCodeTRT.INTERNAL_ERROR
    assert recorder.get_error_desc(0) == "in\n two lines"
    assert record.take() == [
        Reported("INVALID_STATE", "in two lines"),
        Reported("INTERNAL_ERROR", "then"),
    ]
    assert (record.take(), recorder.num_errors()) == ([], 0)


def test_a_flood_of_errors_is_bounded_and_the_newest_stay(machine: Machine) -> None:
    record = ErrorRecord()
    recorder = record.recorder()
    for number in range(100):
        recorder.report_error(ErrorCodeTRT.INTERNAL_ERROR, str(number))
    assert recorder.has_overflowed()
    assert [error.text for error in record.take()] == [str(number) for number in range(84, 100)]
    assert not recorder.has_overflowed()


def test_no_error_of_several_threads_is_lost(machine: Machine) -> None:
    record, taken = ErrorRecord(), []
    recorder = record.recorder()
    turns = threading.Barrier(5)

    def report(thread: int) -> None:
        for number in range(50):
            turns.wait()
            recorder.report_error(ErrorCodeTRT.INTERNAL_ERROR, f"{thread}.{number}")

    threads = [threading.Thread(target=report, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):  # four errors a turn, so that none overflows
        turns.wait()
        taken += record.take()
    for thread in threads:
        thread.join()
    taken += record.take()
    assert sorted(error.text for error in taken) == sorted(
        f"{thread}.{number}" for thread in range(4) for number in range(50)
    )


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        pytest.param(
            "infer_shapes", "infer in other shapes, or build the bundle again", id="wrong"
        ),
        pytest.param("execute_async_v3", "start the process again; if it stays, build", id="lost"),
    ],
)
def test_the_remedy_of_a_failed_run_follows_from_its_code(
    opened: Opener, call: str, remedy: str
) -> None:
    session = opened()
    _refused.add(call)
    with pytest.raises(EngineError, match=remedy):
        session.run({"x": rows(2)})


@pytest.mark.parametrize("code", ["FAILED_ALLOCATION", "INTERNAL_ERROR"])
def test_want_of_memory_has_its_own_remedy_at_run(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(context: Any, stream_handle: int) -> bool:
        recorder = context._runtime.error_recorder
        recorder.report_error(ErrorCodeTRT[code], "Error Code 2: OutOfMemory (900 bytes)")
        return False

    session = opened()
    monkeypatch.setattr("tests.fakes.tensorrt_runtime.IExecutionContext.execute_async_v3", refuse)
    with pytest.raises(EngineError) as caught:
        session.run({"x": rows(2)})
    line = "TensorRT failed to run (Error Code 2: OutOfMemory (900 bytes)); "
    assert str(caught.value) == line + MEMORY


def test_a_session_does_not_tell_of_the_errors_of_another(opened: Opener) -> None:
    ours, theirs = opened(), opened()
    recorder = theirs._engine._runtime.error_recorder
    recorder.report_error(ErrorCodeTRT.FAILED_ALLOCATION, "theirs")
    _refused.add("execute_async_v3")
    with pytest.raises(EngineError, match=r"\(Error Code 1: Cuda Runtime .*; start the process"):
        ours.run({"x": rows(2)})
    _refused.clear()


def test_what_an_earlier_run_got_over_is_not_why_this_one_fails(opened: Opener) -> None:
    session = opened()
    recorder = session._engine._runtime.error_recorder
    recorder.report_error(ErrorCodeTRT.FAILED_ALLOCATION, "earlier")
    _refused.add("execute_async_v3")
    with pytest.raises(EngineError, match=r"\(Error Code 1: Cuda Runtime .*; start the process"):
        session.run({"x": rows(2)})
    _refused.clear()
