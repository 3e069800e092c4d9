"""Engines that are changed from odd places: out of callbacks, under their feet, on a bad device."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import Engine, EngineError, loading
from runtime.errors import GoldenProbeError
from runtime.golden import Golden, load_golden, save_golden
from runtime.observer import Observer
from runtime.reverify import Reverifier
from tests.pipeline.controlled import LONG, in_time
from tests.runtime.bundles import CLASSIFIER, MEAN_COLOUR, solid, write_bundle

RED = solid(255, 0, 0)
TURNED = dataclasses.replace(CLASSIFIER, labels=CLASSIFIER.labels[::-1])
BOTH = dataclasses.replace(
    CLASSIFIER, engine=dataclasses.replace(CLASSIFIER.engine, fallbacks=("openvino",))
)
NEGATIVE = MEAN_COLOUR.replace(
    "logits = ReduceMean<keepdims = 0>(pixel_values, axes)",
    "mean = ReduceMean<keepdims = 0>(pixel_values, axes) logits = Neg(mean)",
)


class Reacts(Observer):
    """Does something when probes have run or a bundle was loaded, once."""

    def __init__(self, when: str, what: Callable[[], None]) -> None:
        self._when, self._what = when, what
        self.errors: list[BaseException] = []
        self.armed = False

    def probe(self, cosine: float, passed: bool) -> None:
        self._react("probe")

    def reload(self, outcome: str) -> None:
        self._react("reload")

    def _react(self, name: str) -> None:
        if self.armed and name == self._when:
            self.armed = False
            try:
                self._what()
            except BaseException as error:
                self.errors.append(error)


def best(engine: Engine) -> str:
    return str(engine([RED])[0].top[0].label)  # type: ignore[union-attr]


def spoilt(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the session answer the negative from now on."""
    with engine.hold() as model:
        right = model.session.run
        monkeypatch.setattr(
            model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
        )


@pytest.mark.parametrize("fallback", [False, True], ids=["refusing", "falling back"])
def test_an_observer_may_reload_when_probes_fail(
    fallback: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "both", BOTH)
    turned = write_bundle(tmp_path / "turned", TURNED)
    observer = Reacts("probe", lambda: engine.reload(turned))
    engine = Engine.load(bundle, observer=observer, fallback=fallback)
    spoilt(engine, monkeypatch)
    observer.armed = True
    with pytest.raises(GoldenProbeError):
        in_time(engine.verify)
    assert observer.errors == []
    assert best(engine) == "blue"  # what failed is no longer in use, so nothing is refused
    engine.close()


@pytest.mark.parametrize("every", [None, 0.005], ids=["alone", "verified meanwhile"])
@pytest.mark.parametrize("when", ["probe", "reload"])
def test_an_observer_may_close_the_engine(when: str, every: float | None, bundle: Path) -> None:
    observer = Reacts(when, lambda: engine.close())
    engine = Engine.load(bundle, observer=observer, reverify_every=every)
    note = bundle.with_name(f".{bundle.name}.proved.json")
    with engine.hold() as model:
        pass
    note.unlink()  # so that the reload below runs the probes
    observer.armed = True
    with pytest.raises(ValueError, match="closed") if when == "probe" else contextlib.nullcontext():
        in_time(engine.reload)
    in_time(engine.close)
    assert observer.errors == []
    with pytest.raises(ValueError, match="closed"):
        model.hold()
    with pytest.raises(ValueError, match="closed"):  # and not what was being loaded meanwhile
        engine([RED])
    left = [thread for thread in threading.enumerate() if thread.name == "vitrine-reverify"]
    for thread in left:
        thread.join(LONG)
        assert not thread.is_alive()


def test_closed_from_its_own_verification(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()

    def close() -> None:
        engine.close()
        closed.set()

    observer = Reacts("probe", close)
    engine = Engine.load(bundle, observer=observer, reverify_every=0.005)
    observer.armed = True
    assert closed.wait(LONG)
    for thread in threading.enumerate():
        if thread.name == "vitrine-reverify":
            thread.join(LONG)
            assert not thread.is_alive()
    assert observer.errors == []
    assert caplog.records == []


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), OSError("disk")], ids=repr)
def test_no_error_ends_the_verifications(error: Exception) -> None:
    twice = threading.Semaphore(0)

    def fails() -> float:
        twice.release()
        raise error

    reverifier = Reverifier(fails, lambda seconds: True, 0.01)
    for _ in range(2):
        assert twice.acquire(timeout=LONG)
    reverifier.stop()


def replaced(bundle: Path, new: Path) -> None:
    """Put a new build in the place of the old one, as `vitrine build` does."""
    bundle.rename(bundle.with_name("old"))
    new.rename(bundle)


def test_a_new_build_in_the_folder_does_not_make_the_old_one_fail(
    bundle: Path, tmp_path: Path
) -> None:
    with Engine.load(bundle) as engine:
        replaced(bundle, other_answers(tmp_path / "new"))
        with pytest.raises(EngineError, match="sha256") as caught:
            engine.verify()
        assert not isinstance(caught.value, GoldenProbeError)
        assert best(engine) == "red"
        engine.reload()
        assert engine([RED])[0].top[-1].label == "red"  # type: ignore[union-attr]


def other_answers(folder: Path) -> Path:
    """A bundle of another model, with its own golden answers."""
    write_bundle(folder, text=NEGATIVE)
    golden = load_golden(folder / "golden.npz")
    negative = [{name: -value for name, value in row.items()} for row in golden.outputs]
    save_golden(folder / "golden.npz", Golden(golden.items, negative))
    files = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("golden.npz", "model.onnx")
    }
    manifest = dataclasses.replace(CLASSIFIER, files=files)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_no_fallback_to_files_that_are_not_the_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "both", BOTH)
    with Engine.load(bundle, fallback=True) as engine:
        spoilt(engine, monkeypatch)
        prove = loading.prove

        def replacing(*arguments: Any) -> Any:
            try:
                return prove(*arguments)
            except GoldenProbeError:
                replaced(bundle, other_answers(tmp_path / "new"))
                raise

        with monkeypatch.context() as patch:
            patch.setattr(loading, "prove", replacing)
            with pytest.raises(GoldenProbeError):
                engine.verify()
        assert engine.session.name == "onnxruntime"
        with pytest.raises(GoldenProbeError):
            engine([RED])


def test_after_a_failure_notes_are_not_believed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = write_bundle(tmp_path / "turned", TURNED)
    Engine.load(turned).close()  # notes that it has passed here
    open_session = loading.open_session

    def opened(*arguments: Any, **options: Any) -> Any:
        session = open_session(*arguments, **options)
        right = session.run
        session.run = lambda inputs: {k: -v for k, v in right(inputs).items()}  # type: ignore[method-assign]
        return session

    with Engine.load(bundle) as engine:
        with monkeypatch.context() as patch:
            spoilt(engine, patch)
            patch.setattr(loading, "open_session", opened)
            with pytest.raises(GoldenProbeError):
                engine.verify()
            with pytest.raises(GoldenProbeError):
                engine.reload(turned)
            with pytest.raises(GoldenProbeError):
                engine([RED])
        engine.reload(turned)
        assert best(engine) == "blue"


def test_a_fallback_that_breaks_in_another_way_is_no_help(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: Any, **options: Any) -> Any:
        raise MemoryError

    with Engine.load(bundle, fallback=True) as engine:
        spoilt(engine, monkeypatch)
        monkeypatch.setattr(loading, "load_from", breaks)
        with pytest.raises(GoldenProbeError):
            engine.verify()
        with pytest.raises(GoldenProbeError):
            engine([RED])


@pytest.mark.parametrize("batch", [1, 4], ids=str)
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_fixed_batch_takes_fewer_frames(batch: int, backend: str, tmp_path: Path) -> None:
    tensor = dataclasses.replace(CLASSIFIER.inputs[0], shape=(batch, 3, 8, 8))
    manifest = dataclasses.replace(CLASSIFIER, inputs=(tensor,))
    path = write_bundle(
        tmp_path / "fixed", manifest, MEAN_COLOUR.replace("batch", str(batch)), backend
    )
    colours = [RED, solid(0, 255, 0), solid(0, 0, 255)]
    with Engine.load(path, warm_up=True) as engine:
        for count in range(10):
            frames = [colours[i % 3] for i in range(count)]
            found = [one.top[0].label for one in engine(frames)]  # type: ignore[union-attr]
            assert found == [engine.labels[i % 3] for i in range(count)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_the_note_does_not_hang(bundle: Path) -> None:
    os.mkfifo(bundle.with_name(f".{bundle.name}.proved.json"))
    in_time(lambda: Engine.load(bundle).close())


def test_a_reload_within_a_reload_wins(bundle: Path, tmp_path: Path) -> None:
    turned = write_bundle(tmp_path / "turned", TURNED)
    third = write_bundle(tmp_path / "third")
    observer = Reacts("probe", lambda: engine.reload(turned))
    with Engine.load(bundle, observer=observer) as engine:
        observer.armed = True
        with pytest.raises(EngineError, match=r"third comes too late, .*turned"):
            in_time(lambda: engine.reload(third))
        assert best(engine) == "blue"
    assert observer.errors == []


def test_a_fixed_batch_has_a_limit(tmp_path: Path) -> None:
    tensor = dataclasses.replace(CLASSIFIER.inputs[0], shape=(1 << 30, 3, 8, 8))
    path = write_bundle(tmp_path / "huge", dataclasses.replace(CLASSIFIER, inputs=(tensor,)))
    with pytest.raises(EngineError, match="1073741824 images at once, expected at most 256"):
        Engine.load(path)
