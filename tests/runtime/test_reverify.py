from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from runtime import Engine
from runtime.errors import EngineError, GoldenProbeError
from runtime.observer import Observer
from runtime.reverify import Reverifier
from tests.runtime.bundles import solid

LONG = 20.0  # seconds after which something that should have happened has not


class Probes(Observer):
    def __init__(self, wanted: int) -> None:
        self.passed: list[bool] = []
        self.enough = threading.Event()
        self._wanted = wanted

    def probe(self, cosine: float, passed: bool) -> None:
        self.passed.append(passed)
        if len(self.passed) >= self._wanted:
            self.enough.set()


def test_an_idle_engine_proves_itself_again_and_again(bundle: Path) -> None:
    probes = Probes(4)
    with Engine.load(bundle, reverify_every=0.01, observer=probes):
        assert probes.enough.wait(LONG)
    assert all(probes.passed)
    count = len(probes.passed)
    time.sleep(0.1)  # nothing can be waited for that must not come
    assert len(probes.passed) == count


def test_an_engine_that_has_gone_wrong_refuses_frames(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = Probes(3)
    with Engine.load(bundle, reverify_every=0.01, observer=probes) as engine:
        with engine.hold() as model:
            right = model.session.run
            monkeypatch.setattr(
                model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
            )
        assert probes.enough.wait(LONG)
        with pytest.raises(GoldenProbeError, match="golden probe"):
            while True:  # until the verdict that is under way is in
                engine([solid(255, 0, 0)])


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "never idle"])
def test_it_waits_for_an_idle_moment_but_not_for_ever(idle: bool) -> None:
    every, began, verified = 0.2, time.monotonic(), threading.Event()
    asked: list[float] = []

    def verify() -> float:
        verified.set()
        return 1.0

    def is_idle(seconds: float) -> bool:
        asked.append(seconds)
        return idle

    reverifier = Reverifier(verify, is_idle, every)
    assert verified.wait(LONG)
    waited = time.monotonic() - began
    reverifier.stop()
    assert asked
    assert waited >= every * (1 if idle else 2)


def test_an_error_does_not_end_it() -> None:
    twice = threading.Semaphore(0)

    def fails() -> float:
        twice.release()
        raise EngineError("the golden probes cannot be read")

    reverifier = Reverifier(fails, lambda seconds: True, 0.01)
    assert twice.acquire(timeout=LONG)
    assert twice.acquire(timeout=LONG)
    reverifier.stop()


@pytest.mark.parametrize("every", [0, -1, float("nan")], ids=str)
def test_a_wrong_interval_is_refused(every: float, bundle: Path) -> None:
    with pytest.raises(ValueError, match="reverify_every is"):
        Engine.load(bundle, reverify_every=every)
