from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime import Engine, EngineError
from runtime.observer import Observer
from tests.runtime.bundles import CLASSIFIER, DETECTOR, MASKED, MEAN_COLOUR, solid, write_bundle

RED = solid(255, 0, 0)
TURNED = CLASSIFIER.labels[::-1]


class Reloads(Observer):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def reload(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """The same model with its labels the other way round, so that one sees which bundle answers."""
    return write_bundle(tmp_path / "turned", dataclasses.replace(CLASSIFIER, labels=TURNED))


def best(engine: Engine) -> str:
    prediction = engine([RED])[0]
    assert hasattr(prediction, "top")
    return str(prediction.top[0].label)


def test_a_new_bundle_answers_after_a_reload(bundle: Path, turned: Path) -> None:
    observer = Reloads()
    with Engine.load(bundle, observer=observer) as engine:
        assert best(engine) == "red"
        engine.reload(turned)
        assert best(engine) == "blue"
        assert engine.labels == TURNED
        engine.reload()  # the folder that is in use now
        assert best(engine) == "blue"
    assert observer.outcomes == ["done", "done"]


def wrong_answers(folder: Path) -> Path:
    """A bundle whose model answers the negative of its golden answers."""
    mean = "logits = ReduceMean<keepdims = 0>(pixel_values, axes)"
    text = MEAN_COLOUR.replace(mean, mean.replace("logits", "mean") + " logits = Neg(mean)")
    return write_bundle(folder, text=text)


def other_task(folder: Path) -> Path:
    return write_bundle(folder, DETECTOR, MASKED)


def damaged(folder: Path) -> Path:
    bundle = write_bundle(folder)
    (bundle / "model.onnx").write_bytes(b"")
    return bundle


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(damaged, "sha256", id="a damaged file"),
        pytest.param(other_task, "is for detection, this engine for classification", id="task"),
        pytest.param(wrong_answers, "gives cosine -1.0000", id="probes fail"),
        pytest.param(lambda folder: folder, "not a folder", id="no bundle"),
    ],
)
def test_the_old_bundle_stays_when_the_new_one_is_refused(
    make: object, message: str, bundle: Path, tmp_path: Path
) -> None:
    assert callable(make)
    observer = Reloads()
    with Engine.load(bundle, observer=observer) as engine:
        with pytest.raises(EngineError, match=message):
            engine.reload(make(tmp_path / "new"))
        assert best(engine) == "red"
    assert observer.outcomes == ["refused"]


def test_a_model_in_use_closes_only_when_its_last_user_leaves(bundle: Path, turned: Path) -> None:
    with Engine.load(bundle) as engine:
        with engine.hold() as old:
            engine.reload(turned)
            batch = old.manifest.preprocess([RED])
            # Its session still runs: nothing was taken from those who hold it.
            assert old.run(batch.inputs)["logits"][0, 0] == 1
            assert old.manifest.labels == CLASSIFIER.labels
        with pytest.raises(ValueError, match="closed"):
            old.hold()


def test_no_call_fails_while_bundles_change(bundle: Path, turned: Path) -> None:
    answers: set[str] = set()
    changed = threading.Event()

    def ask() -> int:
        count = 0
        while not changed.is_set():
            answers.add(best(engine))
            count += 1
        return count

    with Engine.load(bundle, threads=1) as engine, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for index in range(20):
                engine.reload(bundle if index % 2 else turned)
        finally:
            changed.set()
        assert all(future.result() > 0 for future in asking)
    assert answers == {"red", "blue"}


def test_a_closed_engine_is_not_reloaded(bundle: Path) -> None:
    engine = Engine.load(bundle)
    engine.close()
    with pytest.raises(ValueError, match="the engine is closed"):
        engine.reload(bundle)
