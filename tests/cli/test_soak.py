"""Two minutes of the benchmark that runs for half an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import BadCamera, Checked, Report, soak
from runtime.pipeline import Result
from runtime.tasks.classification import Classification, Guess

SECONDS = 120.0


@pytest.mark.slow
def test_bad_cameras_lose_mix_up_and_leak_nothing(bundle: Path) -> None:
    report = soak(bundle, SECONDS, seed=0)
    assert report.faults == []
    assert report.received == report.delivered + report.dropped + report.corrupt
    # That it was a trial at all: 8 sources at up to 60 frames a second, a loss every second or two.
    assert report.delivered > 10 * SECONDS
    assert report.corrupt > SECONDS
    assert report.connections > SECONDS / 4


def result(frame_id: int, label: str) -> Result:
    prediction = Classification((Guess(label, 0, 1.0),))
    return Result("camera", frame_id, 0.0, 1.0, prediction, None, "RGB")  # type: ignore[arg-type]


def test_what_it_looks_for_is_seen() -> None:
    camera = BadCamera("camera", [], 0)
    camera.sent.extend([0, 1, -1, 1])
    checked = Checked(camera, ["cat", "dog"])
    assert checked.fault(result(0, "cat")) == ""
    assert "another picture's" in checked.fault(result(1, "cat"))
    assert "came after" in checked.fault(result(1, "dog"))
    assert "was none" in checked.fault(result(2, "dog"))
    assert checked.fault(result(3, "dog")) == ""
    assert Report(1.0).faults == []
