"""Observers that raise, and observers that close what they watch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError, Pipeline
from runtime.errors import GoldenProbeError
from runtime.observer import Observer, guarded
from runtime.sources import Source
from tests.pipeline.controlled import LONG, in_time, number_in, numbered
from tests.runtime.bundles import write_bundle

METHODS = [name for name in vars(Observer) if not name.startswith("_")]


class Calls(Observer):
    """Calls something at each method that is named."""

    def __init__(self, when: set[str], what: Callable[[], None]) -> None:
        for name in METHODS:
            if name in when:
                setattr(self, name, lambda *arguments, **more: what())


def sources() -> dict[str, Any]:
    """A camera that is lost for good, with a corrupt frame, and a file."""

    def breaks() -> Any:
        yield numbered(1)
        yield EngineError("torn")
        raise EngineError("unplugged")

    return {
        "breaks": Source("breaks", breaks, live=True, reconnect=False),
        "file": [numbered(i) for i in range(20)],
    }


def fails() -> None:
    raise RuntimeError("no room on the dashboard")


def test_an_observer_that_raises_changes_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    observer = Calls(set(METHODS), fails)
    with (
        caplog.at_level(logging.ERROR, "vitrine"),
        Pipeline(engine, sources(), observer=observer) as pipeline,
    ):
        results = in_time(lambda: list(pipeline))
        stats = pipeline.stats()
    file = [number_in(result) for result in results if result.source == "file"]
    assert file == list(range(20))
    assert (stats["breaks"].received, stats["breaks"].corrupt) == (2, 1)
    assert "unplugged" not in stats["file"].detail
    told = [record for record in caplog.records if "observer" in record.getMessage()]
    assert {record.getMessage().split()[-1] for record in told} == {
        "frame", "queue", "batch", "stage", "event",
    }  # fmt: skip
    assert len(told) == 5  # once for each method, and not for every frame
    assert all(record.exc_info for record in told)


def test_an_observer_of_the_engine_that_raises_changes_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(bundle, observer=Calls(set(METHODS), fails)) as engine:
        engine.reload(write_bundle(tmp_path / "new"))
        with pytest.raises(EngineError, match="not a folder"):
            engine.reload(tmp_path / "none")
        assert engine.verify() == pytest.approx(1)
        with engine.hold() as model:
            monkeypatch.setattr(model.session, "run", lambda inputs: {"logits": np.zeros((1, 3))})
        with pytest.raises(GoldenProbeError):
            engine.verify()


def test_an_observer_is_told_only_what_it_listens_for() -> None:
    class Sizes(Observer):
        def batch(self, size: int) -> None:
            pass

    # What is not there is the method of `Observer`, which does nothing.
    assert set(vars(guarded(Sizes()))) == {"batch"}
    assert set(vars(guarded(Calls({"stage"}, fails)))) == {"stage"}


@pytest.mark.parametrize("method", ["frame", "queue", "batch", "stage", "event"])
def test_an_observer_may_close_the_pipeline(method: str, engine: Engine) -> None:
    before = set(threading.enumerate())
    made = threading.Event()

    def close() -> None:
        assert made.wait(LONG)
        pipeline.close()

    pipeline = Pipeline(engine, sources(), observer=Calls({method}, close))
    made.set()
    in_time(lambda: list(pipeline))
    in_time(pipeline.close)
    assert {thread for thread in threading.enumerate() if "vitrine" in thread.name} <= before
    with engine.hold() as model:
        assert model._users == 2  # the engine's and this one


def test_an_observer_may_close_the_pipeline_while_the_sources_are_looked_at(
    engine: Engine,
) -> None:
    """What watches for stalls waits for the source that tells of an event, and is waited for."""
    looked = threading.Event()

    class Closes(Observer):
        def event(self, event: Any) -> None:
            if event.kind == "connected":
                looked.wait(0.3)  # three times what it takes to look
                pipeline.close()

    begin = threading.Event()

    def camera() -> Any:
        assert begin.wait(LONG)
        yield numbered(1)

    pipeline = Pipeline(engine, {"camera": camera}, observer=Closes())
    begin.set()
    in_time(lambda: list(pipeline))
    in_time(pipeline.close)
