"""The commands from the outside: what they print, write and return."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from runtime import Engine
from shapes.datasets.classification import classification_image
from shapes.datasets.detection import detection_image
from tests.cli.conftest import Outcome, run

ROOT = Path(__file__).resolve().parents[2]


def test_build_reports_what_it_kept(built: Outcome) -> None:
    record = built.json
    assert record["accepted"] is True
    assert record["precision"] == "int8"
    assert record["backend"] in ("openvino", "openvino-bf16", "onnxruntime")
    names = {candidate["name"] for candidate in record["candidates"]}
    backends = {"fp32": ("openvino", "onnxruntime")}
    backends["int8"] = (*backends["fp32"], "openvino-bf16")
    assert names == {f"{p} on {b}" for p, known in backends.items() for b in known}


def test_build_writes_the_bundle_of_the_design(bundle: Path) -> None:
    files = {path.name for path in bundle.iterdir()}
    assert files == {
        "model.onnx", "golden.npz", "drift.json", "report.html", "manifest.json",
        "precision_map.yaml",
    }  # fmt: skip
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert manifest["source"]["sha256"] and manifest["calibration"]["images"] == 32


def test_predictions_are_right(bundle: Path) -> None:
    portraits = [classification_image(99, index) for index in range(64)]
    with Engine.load(bundle) as engine:
        found = [p.top[0].class_index for p in engine([p.frame for p in portraits])]
    right = np.mean([f == p.label for f, p in zip(found, portraits, strict=True)])
    # The checkpoint reaches 95 % or more; 64 images have a standard error of 2.7 points, and three
    # of them are allowed.
    assert right >= 0.87


def test_run_prints_a_line_an_image(bundle: Path, photo: Path) -> None:
    outcome = run("run", bundle, photo, photo)
    assert outcome.code == 0
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == [str(photo)] * 2


def test_run_prints_json_only(bundle: Path, photo: Path) -> None:
    (entry,) = run("run", bundle, photo, "--json").json["predictions"]
    assert entry["image"] == str(photo)
    assert len(entry["top"]) == 5
    assert 0 < entry["top"][0]["probability"] <= 1


def test_run_saves_pictures_only(bundle: Path, photo: Path, tmp_path: Path) -> None:
    outcome = run("run", bundle, photo, "--save", tmp_path / "out")
    assert outcome.code == 2
    assert "is no picture" in outcome.err
    assert not (tmp_path / "out").exists()


def test_drift_writes_junit_markdown_and_json(bundle: Path, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "drift.xml", tmp_path / "drift.md"
    outcome = run("drift", bundle, "--junit", junit, "--markdown", markdown, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["verdict"] == "pass"
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None and suite.get("failures") == "0"
    assert "top1_agreement" in markdown.read_text()


def test_drift_says_no_to_a_limit_that_cannot_hold(bundle: Path, tmp_path: Path) -> None:
    junit = tmp_path / "drift.xml"
    outcome = run("drift", bundle, "--max-drift", "logit_cosine=0.9999999", "--junit", junit)
    assert outcome.code == 1
    assert "verdict: fail" in outcome.out
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None and suite.get("failures") == "1"


def test_drift_needs_enough_images(bundle: Path, tmp_path: Path) -> None:
    for index in range(3):
        frame = classification_image(5, index).frame
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    outcome = run("drift", bundle, "--images", tmp_path)
    assert outcome.code == 1
    assert "inconclusive" in outcome.out and "give more images" in outcome.err


def test_build_is_refused_when_drift_is_over_its_limit(tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "fp16", "--images", "8",
        "--max-drift", "logit_cosine=1", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 1
    assert not (tmp_path / "vit_tiny_shapes-fp16-cpu").exists()
    rejected = tmp_path / "vit_tiny_shapes-fp16-cpu.rejected"
    assert (rejected / "report.html").exists() and not (rejected / "manifest.json").exists()
    assert "REFUSED" in outcome.out


def test_random_weights_are_said_aloud(tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "fp32", "--weights", "random",
        "--images", "4", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "random weights" in outcome.err
    manifest = json.loads((tmp_path / "vit_tiny_shapes-fp32-cpu" / "manifest.json").read_text())
    assert manifest["source"]["weights"] == "random"


@pytest.mark.slow
def test_detr_auto_build_finds_objects(tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "detr_tiny_shapes", "--precision", "auto", "--images", "16",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    scene = detection_image(99, 0)
    path = tmp_path / "scene.png"
    Image.fromarray(scene.frame).save(path)
    (entry,) = run("run", outcome.json["bundle"], path, "--json").json["predictions"]
    height, width = scene.frame.shape[:2]
    assert entry["objects"]
    for found in entry["objects"]:
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_bench_prints_latency(bundle: Path) -> None:
    rows = run("bench", bundle, "--batch", "1", "--rounds", "3", "--json").json["latency"]
    assert [row["batch"] for row in rows] == [1]
    assert rows[0]["p10_ms"] <= rows[0]["median_ms"] <= rows[0]["p90_ms"]


def test_models_and_doctor_list_what_there_is() -> None:
    assert {"swin_t", "detr_r50", "vit_tiny_shapes"} <= set(run("models", "--json").json["models"])
    found = run("doctor", "--json").json
    assert "builds and runs with" in found["targets"]["cpu"]
    assert "makes a device kit, does not finish one" in found["targets"]["orin-jp6"]
    assert "TensorRT" in found["gpu"]["problem 1"] or found["gpu"]["TensorRT"] != "none found"


def test_the_plain_command_works_from_anywhere(tmp_path: Path) -> None:
    """`python export/build.py` must find its siblings, and its folder must shadow nothing."""
    done = subprocess.run(
        [sys.executable, ROOT / "export" / "build.py", "--help"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--precision" in done.stdout
