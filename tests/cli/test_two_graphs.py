"""A model of two graphs, through the commands: one bundle within the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime import Engine, EngineError
from runtime.zero_shot import zero_shot
from shapes.datasets import DATASETS
from shapes.render import write
from tests.cli.conftest import Outcome, run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    write(folder, DATASETS["captions"], 5, 40)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Outcome:
    out = tmp_path_factory.mktemp("parts")
    outcome = run(
        "build", "--model", "clip_tiny_shapes", "--precision", "fp32",
        "--calibration", images, "--images", "8", "--out", out, "--json",
        # The record's limits need more images than this to be sure of.
        "--max-drift", "zero_shot_agreement=0.5", "--max-drift", "embedding_cosine=0.9",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome


def test_the_whole_and_its_part_are_bundles(built: Outcome) -> None:
    bundle = Path(built.json["bundle"])
    whole = json.loads((bundle / "manifest.json").read_text())
    part = json.loads((bundle / "text" / "manifest.json").read_text())
    assert list(whole["parts"]) == ["text"]
    assert part["model"] == "clip_tiny_shapes.text"
    assert "merges.txt" in part["files"]
    assert {m["name"] for m in whole["drift"]["measurements"]} >= {"zero_shot_agreement"}
    assert run("verify", bundle).code == 0


def test_words_and_frames_meet(built: Outcome, images: Path) -> None:
    frames = [DATASETS["captions"].image(5, index).frame for index in range(20)]
    truths = [DATASETS["captions"].image(5, index).truth for index in range(20)]
    with Engine.load(built.json["bundle"]) as engine:
        prompts = [f"a photo of a {label}" for label in engine.labels]
        found = zero_shot(engine, frames, prompts)
    # 95 % of images are right (shapes/checkpoints); 15 of 20 or fewer has a chance of 0.3 %.
    assert (found.argmax(axis=1) == np.array(truths)).sum() > 15


def test_the_gate_measures_the_part_alone(built: Outcome, images: Path) -> None:
    part = Path(built.json["bundle"]) / "text"
    outcome = run("drift", part, "--images", images, "--json")
    assert outcome.json["model"] == "clip_tiny_shapes.text"
    (cosine,) = [m for m in outcome.json["measurements"] if m["name"] == "embedding_cosine"]
    assert cosine["value"] > 0.9999  # rounding of float32 sums


def test_verify_reads_the_part(built: Outcome, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(built.json["bundle"], copy)
    (copy / "text" / "merges.txt").write_bytes(b"#version\n")
    outcome = run("verify", copy)
    assert outcome.code == 1 and "merges.txt has sha256" in outcome.err
    with (
        Engine.load(copy) as engine,
        pytest.raises(EngineError, match=r"merges\.txt has sha256"),
    ):
        engine.part("text")
