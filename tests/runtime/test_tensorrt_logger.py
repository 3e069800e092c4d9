from __future__ import annotations

from typing import Any

from runtime.tensorrt_logger import last_errors, shared_logger
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import ILogger


def say(logger: Any, *messages: str, severity: Any = ILogger.ERROR) -> None:
    for message in messages:
        logger.log(severity, message)


def test_only_errors_are_kept_and_read_once(machine: Machine) -> None:
    logger: Any = shared_logger()
    say(logger, "slow", severity=ILogger.WARNING)
    say(logger, "loading", severity=ILogger.VERBOSE)
    assert last_errors() == "TensorRT gave no reason"
    say(logger, "first\n  in two lines", "second", "second")
    say(logger, "last", severity=ILogger.INTERNAL_ERROR)
    assert last_errors() == "first in two lines; second; last"
    assert last_errors() == "TensorRT gave no reason"


def test_a_flood_keeps_the_end(machine: Machine) -> None:
    logger: Any = shared_logger()
    say(logger, *(f"error {i}" for i in range(100)))
    assert last_errors() == "error 96; error 97; error 98; error 99"
