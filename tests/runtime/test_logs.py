"""What a pipeline logs: nothing by itself, and records with fields to a handler."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Engine, EngineError, Pipeline
from runtime.observer import Observer
from runtime.sources.events import SourceEvent
from tests.runtime.bundles import solid


class Loss(Observer):
    """Waits for a source to be lost."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def event(self, event: SourceEvent) -> None:
        if event.kind == "lost":
            self.told.set()


def breaking() -> Iterator[object]:
    """A camera that sends a frame and a torn one, and is gone."""
    yield solid(255, 0, 0)
    yield EngineError("a torn frame")
    raise EngineError("the cable is out")


def run_badly(bundle: str | Path) -> None:
    """All that is worth a warning: a torn frame, a lost camera, a bundle that is refused."""
    loss = Loss()
    with (
        Engine.load(bundle) as engine,
        Pipeline(engine, {"gate": breaking}, observer=loss) as pipeline,
    ):
        next(iter(pipeline))
        assert loss.told.wait(20)  # seconds; it takes milliseconds
        with pytest.raises(EngineError):
            engine.reload("nowhere")


def test_a_run_in_which_much_goes_wrong_prints_nothing(bundle: Path) -> None:
    code = "import sys; from tests.runtime.test_logs import run_badly; run_badly(sys.argv[1])"
    ran = subprocess.run(
        [sys.executable, "-c", code, bundle], capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("", "")


def test_records_carry_fields_for_those_who_listen(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vitrine"):
        run_badly(bundle)
    assert {record.name.partition(".")[0] for record in caplog.records} == {"vitrine"}
    events = {
        record.event: record for record in caplog.records if getattr(record, "source", "") == "gate"
    }
    assert set(events) >= {"connected", "corrupt", "lost"}
    assert events["connected"].levelno == logging.INFO
    assert events["corrupt"].levelno == events["lost"].levelno == logging.WARNING
    assert "a torn frame" in events["corrupt"].detail
    assert "the cable is out" in events["lost"].detail
    assert "gate" in events["lost"].getMessage()
    assert any("nowhere" in record.getMessage() for record in caplog.records)
