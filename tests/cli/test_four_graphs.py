"""A model that draws texts, through the commands and the example: four graphs in one bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.spec import ROOT
from runtime import Engine
from runtime.text_to_image import reconstruct
from shapes.datasets.drawings import DATASET, drawing
from shapes.render import write
from shapes.training.painter_scores import shapes_in
from tests.cli.conftest import Outcome, run


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    out = tmp_path_factory.mktemp("drawings")
    write(out, DATASET, 5, 12)
    outcome = run(
        "build", "--model", "dalle_tiny_shapes", "--precision", "fp32", "--calibration", out,
        "--images", "4", "--out", out / "built", "--json",
        # The record's limits need more images than this to be sure of.
        "--max-drift", "code_agreement=0.5", "--max-drift", "logit_cosine=0.9",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome


def example(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/text_to_image.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def test_texts_become_what_they_say(built: Outcome, tmp_path: Path) -> None:
    drawings = [drawing(77, index) for index in range(10)]
    texts = [one.text for one in drawings]
    ran = example(built.json["bundle"], *texts, "--out", tmp_path / "a", "--temperature", "0.5")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [f"{tmp_path}/a/{index:02d}-00.png" for index in range(10)]
    seen = shapes_in(pictures(tmp_path / "a"))
    # At least 80 % of many are seen as what was said; 5 of 10 or fewer has a chance of 3 %.
    assert (seen == [one.facts.shape for one in drawings]).sum() > 5


def test_the_first_code_of_a_text_in_a_file(built: Outcome, tmp_path: Path) -> None:
    (tmp_path / "star.txt").write_text("a red star\n")
    found = run("run", built.json["bundle"], tmp_path / "star.txt", "--json")
    with Engine.load(built.json["bundle"]) as engine:
        (expected,) = engine(["a red star"])
    assert found.json["predictions"] == [
        {"image": str(tmp_path / "star.txt"), **expected.as_json()}
    ]


def test_the_seed_repeats_and_changes_what_is_drawn(built: Outcome, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        ran = example(
            built.json["bundle"], "a red star", "--candidates", "3", "--seed", seed,
            "--out", tmp_path / name,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
    first, again, other = (np.stack(pictures(tmp_path / name)) for name in "abc")
    np.testing.assert_array_equal(first, again)
    assert len(first) == 3 and not np.array_equal(first, other)


def test_a_frame_survives_its_codes(built: Outcome) -> None:
    frames = [drawing(77, index).frame for index in range(10)]
    with Engine.load(built.json["bundle"]) as engine:
        seen = engine.part("encoder").manifest.preprocess(frames).inputs["pixel_values"]
        made = np.stack(reconstruct(engine, frames)).transpose(0, 3, 1, 2) / 255
    errors = np.square(made - seen).mean(axis=(1, 2, 3))
    assert (-10 * np.log10(errors)).mean() > 22  # what the dVAE was trained to reach at least


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "a star"], "nowhere"),
        (["BUNDLE", "a star", "--candidates", "0"], "candidates is 0; give"),
        (["BUNDLE", "star " * 40], "shorten it"),
        (["BUNDLE", "a star", "--temperature", "-1"], "temperature is -1.0; give"),
        (["BUNDLE", "a star", "--rank-by", "BUNDLE"], "found no part 'text'"),
    ],
    ids=["folder", "candidates", "text", "temperature", "ranking"],
)
def test_misuse_of_the_example_is_one_line(
    built: Outcome, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [built.json["bundle"] if word == "BUNDLE" else word for word in arguments]
    ran = example(*given, "--out", tmp_path / "none")
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("text_to_image: ") and message in ran.stderr
    assert not (tmp_path / "none").exists()
