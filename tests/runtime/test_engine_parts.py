"""A bundle within a bundle: loaded when asked for, held to the whole's manifest, closed with it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime import Engine, EngineError, loading
from runtime.bundle import open_bundle, open_parts
from runtime.engine_parts import graph_of
from tests.runtime.bundles import CLASSIFIER, solid, write_bundle


def add_part(whole: Path, name: str = "text") -> Path:
    """Puts a second classifier, with other labels, into a bundle."""
    manifest = dataclasses.replace(CLASSIFIER, labels=("warm", "leafy", "cold"))
    part = write_bundle(whole / name, manifest)
    record = json.loads((whole / "manifest.json").read_text())
    record["parts"] = {name: hashlib.sha256((part / "manifest.json").read_bytes()).hexdigest()}
    (whole / "manifest.json").write_text(json.dumps(record))
    return part


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    folder = write_bundle(tmp_path / "whole")
    add_part(folder)
    return folder


def test_a_part_is_an_engine_of_its_own(whole: Path) -> None:
    with Engine.load(whole) as engine:
        assert engine([solid(255, 0, 0)])[0].entries()[0].label == "red"
        part = engine.part("text")
        assert part([solid(255, 0, 0)])[0].entries()[0].label == "warm"
        assert engine.part("text") is part
        assert part.proof is not None
    with pytest.raises(ValueError, match="closed"):
        part([solid(1, 2, 3)])


def test_a_part_that_is_there_waits_for_no_probes(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probing, done = threading.Event(), threading.Event()
    with Engine.load(whole) as engine:
        part = engine.part("text")
        proved = engine.proof

        def slowly(*_: object) -> object:
            probing.set()
            assert done.wait(30)
            return proved

        monkeypatch.setattr(loading, "prove", slowly)
        with ThreadPoolExecutor() as pool:
            verifying = pool.submit(engine.verify)
            assert probing.wait(30)
            asked = pool.submit(engine.part, "text")
            try:
                assert asked.result(timeout=10) is part
            finally:
                done.set()
            verifying.result()


def test_an_unknown_part(whole: Path) -> None:
    with Engine.load(whole) as engine, pytest.raises(EngineError, match=r"no part 'x'.* has text"):
        engine.part("x")
    with (
        Engine.load(whole / "text") as engine,
        pytest.raises(EngineError, match=r"no part 'text'.* has none"),
    ):
        engine.part("text")


def test_a_part_that_was_exchanged_is_refused(whole: Path, tmp_path: Path) -> None:
    """Its own hashes are right; the whole's manifest knows better."""
    shutil.rmtree(whole / "text")
    write_bundle(whole / "text")
    with Engine.load(whole) as engine, pytest.raises(EngineError, match="is not the one that was"):
        engine.part("text")
    with pytest.raises(EngineError, match="is not the one that was"):
        open_parts(open_bundle(whole))


def test_a_damaged_part_is_refused(whole: Path) -> None:
    (whole / "text" / "model.onnx").write_bytes(b"")
    with Engine.load(whole) as engine, pytest.raises(EngineError, match=r"model\.onnx has sha256"):
        engine.part("text")


@pytest.mark.parametrize("name", ["../text", "a/b", ".hidden", "MANIFEST.json", "Model.onnx"])
def test_a_part_lies_within(name: str, whole: Path) -> None:
    record = json.loads((whole / "manifest.json").read_text())
    record["parts"] = {name: "0" * 64}
    (whole / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(EngineError, match="expected a plain file name of its own"):
        Engine.load(whole)


def test_reloading_takes_the_new_parts(whole: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other")
    add_part(other, "more")
    with Engine.load(whole) as engine:
        old = engine.part("text")
        engine.reload(other)
        assert engine.part("more")([solid(0, 0, 255)])[0].entries()[0].label == "cold"
        with pytest.raises(ValueError, match="closed"):
            old([solid(1, 2, 3)])
        with pytest.raises(EngineError, match="no part 'text'"):
            engine.part("text")


def test_a_graph_takes_any_number_of_rows(whole: Path) -> None:
    with Engine.load(whole, max_batch=2) as engine:
        graph = graph_of(engine)
        frames = [solid(shade, 0, 0) for shade in range(5)]
        found = graph.run(graph.preprocess(frames).inputs)["logits"]
        # Means of equal values in float32.
        np.testing.assert_allclose(found[:, 0] * 255, range(5), atol=1e-5)


def test_whoever_does_not_know_parts_reads_bundles_without(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "plain") / "manifest.json"
    assert "parts" not in json.loads(manifest.read_text())
