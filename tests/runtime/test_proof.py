from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import Engine, EngineError, proof
from runtime.errors import GoldenProbeError
from runtime.observer import Observer
from tests.runtime.bundles import CLASSIFIER, MEAN_COLOUR, solid, write_bundle


class Probes(Observer):
    def __init__(self) -> None:
        self.passed: list[bool] = []

    def probe(self, cosine: float, passed: bool) -> None:
        self.passed.append(passed)


def note(bundle: Path) -> Path:
    return bundle.with_name(f".{bundle.name}.proved.json")


def probed(bundle: Path, **options: Any) -> bool:
    """Whether loading ran the probes."""
    probes = Probes()
    with Engine.load(bundle, observer=probes, **options) as engine:
        assert (engine.proof is None) == (options.get("verify") is False)
    return bool(probes.passed)


def test_probes_run_at_the_first_load_only(bundle: Path) -> None:
    assert probed(bundle)
    assert not probed(bundle)
    assert not probed(bundle, verify=False)
    with Engine.load(bundle) as engine:
        found = engine.proof
    assert found is not None
    assert (found.cosine, found.backend) == (pytest.approx(1), "onnxruntime")
    assert list(bundle.parent.iterdir()) != []
    assert sorted(path.name for path in bundle.iterdir()) == [
        "golden.npz", "manifest.json", "model.onnx",
    ]  # fmt: skip


def another_driver(bundle: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proof, "_cpu", lambda: ["another processor"])


def another_manifest(bundle: Path, patch: pytest.MonkeyPatch) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": {"seed": 1}}))


def another_back_end(bundle: Path, patch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    patch.setattr(onnxruntime, "__version__", "0.0")


def a_note_of(text: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def write(bundle: Path, patch: pytest.MonkeyPatch) -> None:
        kept = json.loads(note(bundle).read_text())
        note(bundle).write_text(text % next(iter(kept)) if "%s" in text else text)

    return write


def a_link(bundle: Path, patch: pytest.MonkeyPatch) -> None:
    elsewhere = bundle.parent / "elsewhere"
    note(bundle).rename(elsewhere)
    note(bundle).symlink_to(elsewhere)


@pytest.mark.parametrize(
    "change",
    [
        another_driver,
        another_manifest,
        another_back_end,
        a_link,
        pytest.param(a_note_of("{"), id="half a note"),
        pytest.param(a_note_of("[]"), id="another kind"),
        pytest.param(a_note_of('{"%s": 1}'), id="no record"),
        pytest.param(a_note_of('{"%s": {"cosine": 0.5, "time": 1}}'), id="below the limit"),
        pytest.param(a_note_of('{"%s": {"cosine": 7, "time": 1}}'), id="no cosine"),
        pytest.param(a_note_of('{"%s": {"cosine": NaN, "time": 1}}'), id="not a number"),
        pytest.param(a_note_of('{"%s": {"cosine": 1, "time": 1e12}}'), id="of the future"),
        pytest.param(a_note_of("[" * 100_000), id="deep"),
        pytest.param(a_note_of(" " * 100_000 + "{}"), id="long"),
    ],
)
def test_any_doubt_means_probing_again(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert probed(bundle)
    change(bundle, monkeypatch)
    assert probed(bundle)


def test_a_note_is_for_one_machine_and_notes_of_others_stay(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probed(bundle)
    with monkeypatch.context() as patch:
        another_driver(bundle, patch)
        assert probed(bundle)
        assert not probed(bundle)
    assert not probed(bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_only_costs_time(bundle: Path) -> None:
    bundle.parent.chmod(0o500)
    try:
        assert probed(bundle)
        assert probed(bundle)
    finally:
        bundle.parent.chmod(0o700)


def test_a_note_that_cannot_be_written_only_costs_time(bundle: Path) -> None:
    note(bundle).mkdir()
    assert probed(bundle)
    assert probed(bundle)


def test_a_killed_writer_leaves_nothing_in_the_way(bundle: Path) -> None:
    half = note(bundle).with_name(f"{note(bundle).name}.new")
    half.write_text('{"half a no')
    assert probed(bundle)
    assert not probed(bundle)
    assert not half.exists()


def test_what_fails_later_is_probed_at_the_next_load(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(bundle) as engine:
        with engine.hold() as model:
            right = model.session.run
            monkeypatch.setattr(
                model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
            )
        with pytest.raises(GoldenProbeError):
            engine.verify()
    assert probed(bundle)


NEGATIVE = MEAN_COLOUR.replace(
    "logits = ReduceMean<keepdims = 0>(pixel_values, axes)",
    "mean = ReduceMean<keepdims = 0>(pixel_values, axes) logits = Neg(mean)",
)
BOTH = dataclasses.replace(
    CLASSIFIER, engine=dataclasses.replace(CLASSIFIER.engine, fallbacks=("openvino",))
)


class Fallbacks(Probes):
    def __init__(self) -> None:
        super().__init__()
        self.backends: list[str] = []

    def fallback(self, backend: str) -> None:
        self.backends.append(backend)


def wrong_in(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a back end answer the negative."""
    from runtime import loading

    open_session = loading.open_session

    def opened(name: str, *arguments: Any, **options: Any) -> Any:
        session = open_session(name, *arguments, **options)
        if name == backend:
            right = session.run
            session.run = lambda inputs: {k: -v for k, v in right(inputs).items()}  # type: ignore[method-assign]
        return session

    monkeypatch.setattr(loading, "open_session", opened)


def test_a_back_end_that_fails_is_refused_without_a_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_in("onnxruntime", monkeypatch)
    with pytest.raises(GoldenProbeError):
        Engine.load(write_bundle(tmp_path / "both", BOTH))


def test_the_next_faithful_back_end_takes_over_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong_in("onnxruntime", monkeypatch)
    observer = Fallbacks()
    bundle = write_bundle(tmp_path / "both", BOTH)
    with Engine.load(bundle, fallback=True, observer=observer) as engine:
        assert engine.session.name == "openvino"
        assert engine([solid(255, 0, 0)])[0].top[0].label == "red"  # type: ignore[union-attr]
    assert observer.backends == ["openvino"]
    assert observer.passed == [False, True]
    assert "running in openvino instead" in caplog.text


def test_a_fallback_that_fails_too_is_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "both", BOTH, NEGATIVE)
    with pytest.raises(GoldenProbeError) as caught:
        Engine.load(bundle, fallback=True)
    assert "\n" not in str(caught.value)


def test_an_engine_whose_probes_fail_while_it_runs_refuses_frames(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = solid(255, 0, 0)
    with Engine.load(bundle) as engine:
        with engine.hold() as model, monkeypatch.context() as patch:
            right = model.session.run
            patch.setattr(
                model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
            )
            with pytest.raises(GoldenProbeError):
                engine.verify()
            for use in (lambda: engine([frame]), lambda: engine.infer(frame)):
                with pytest.raises(GoldenProbeError, match="golden probe"):
                    use()
        assert engine.verify() == pytest.approx(1)  # the device is right again
        assert engine([frame])[0].top[0].label == "red"  # type: ignore[union-attr]


def test_a_running_engine_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = Fallbacks()
    bundle = write_bundle(tmp_path / "both", BOTH)
    with Engine.load(bundle, fallback=True, observer=observer) as engine:
        assert engine.session.name == "onnxruntime"
        with engine.hold() as model:
            right = model.session.run
            monkeypatch.setattr(
                model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
            )
        assert engine.verify() == pytest.approx(1)
        assert engine.session.name == "openvino"
        assert engine.proof is not None
        assert engine.proof.backend == "openvino"
    assert (observer.passed, observer.backends) == ([True, False, True], ["openvino"])


def test_without_a_bundle_file_the_engine_goes_on(bundle: Path) -> None:
    with Engine.load(bundle) as engine:
        (bundle / "golden.npz").unlink()
        with pytest.raises(EngineError, match=r"golden\.npz"):
            engine.verify()
        assert engine([solid(255, 0, 0)])  # that says nothing about the device
