"""A user's mistake: one line that says what to do, exit code 2, nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export.spec
from engines.bundle_writer import open_writer
from runtime import Engine, EngineError
from tests.cli.conftest import run

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "shapes" / "checkpoints" / "vit_tiny_shapes.safetensors"
BUILD = ("build", "--model", "vit_tiny_shapes", "--precision", "fp32", "--images", "4")


def refused(*arguments: str | Path) -> str:
    """The one line that a mistake prints."""
    outcome = run(*arguments)
    assert outcome.code == 2, outcome.out + outcome.err
    assert "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("vitrine: ")]
    return line


def test_unknown_model_names_the_nearest() -> None:
    assert "did you mean swin_t" in refused("build", "--model", "swin_tt")


def test_unknown_precision_lists_the_known() -> None:
    line = refused("build", "--model", "swin_t", "--precision", "int4")
    assert "expected one of fp32, fp16, int8, auto" in line


def test_unknown_target_names_the_nearest(tmp_path: Path) -> None:
    line = refused(*BUILD, "--target", "h1000", "--out", tmp_path)
    assert "expected one of h100" in line


def test_unknown_metric_names_the_nearest(tmp_path: Path) -> None:
    line = refused(*BUILD, "--max-drift", "top1_agrement=0.9", "--out", tmp_path)
    assert "top1_agreement" in line
    assert "METRIC=VALUE" in refused(*BUILD, "--max-drift", "top1", "--out", tmp_path)


def test_unknown_key_in_models_yaml_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "models.yaml").read_text()
    broken = text.replace("  vit_s_16:\n", "  vit_s_16:\n    familly: vit\n")
    path = tmp_path / "models.yaml"
    path.write_text(broken)
    monkeypatch.setattr(export.spec, "MODELS_FILE", path)
    number = broken.splitlines().index("    familly: vit") + 1
    line = refused("models")
    assert f"models.yaml, line {number}" in line and "`family`" in line


def test_weights_of_another_architecture_list_the_tensors(tmp_path: Path) -> None:
    line = refused(
        "build", "--model", "swin_tiny_shapes", "--weights", CHECKPOINT, "--out", tmp_path
    )
    assert "missing" in line and "surplus" in line and "vit.embeddings.cls_token" in line


def test_truncated_safetensors(tmp_path: Path) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(CHECKPOINT.read_bytes()[:-100])
    assert "not a whole safetensors file" in refused(*BUILD, "--weights", short, "--out", tmp_path)


def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(witness),)

    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Payload()))
    assert "pickles that run code are refused" in refused(
        *BUILD, "--weights", evil, "--out", tmp_path
    )
    assert not witness.exists()


def test_missing_and_empty_calibration_folder(tmp_path: Path) -> None:
    absent, empty = tmp_path / "absent", tmp_path / "empty"
    empty.mkdir()
    assert "not a folder" in refused(*BUILD, "--calibration", absent, "--out", tmp_path)
    assert "holds no image" in refused(*BUILD, "--calibration", empty, "--out", tmp_path)


def test_no_folder_where_nothing_can_be_rendered(tmp_path: Path) -> None:
    line = refused(
        "build", "--model", "vit_ti_16", "--weights", "random", "--precision", "fp32",
        "--out", tmp_path,
    )  # fmt: skip
    assert "--calibration DIR" in line


def test_corrupt_image_among_good_ones_is_skipped_and_named(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index}.jpg")
    whole = (images / "3.jpg").read_bytes()
    (images / "3.jpg").write_bytes(whole[: len(whole) // 3])
    outcome = run(*BUILD, "--calibration", images, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert list(outcome.json["skipped_images"]) == ["3.jpg"]


def odd_images(folder: Path) -> dict[str, Path]:
    """Images that a camera or a scanner may deliver."""
    grey = np.linspace(0, 255, 40 * 30).reshape(40, 30)
    made = {
        "grey": Image.fromarray(grey.astype(np.uint8)),
        "rgba": Image.fromarray(np.full((40, 30, 4), 128, np.uint8)),
        "sixteen-bit": Image.fromarray((grey * 257).astype(np.uint16)),
        "one-pixel": Image.fromarray(np.full((1, 1, 3), 9, np.uint8)),
        "palette": Image.fromarray(grey.astype(np.uint8)).convert("P"),
    }
    paths = {}
    for name, image in made.items():
        paths[name] = folder / f"{name}.png"
        image.save(paths[name])
    rotated = Image.fromarray(np.full((20, 40, 3), 77, np.uint8))
    exif = rotated.getexif()
    exif[0x0112] = 6  # orientation: turn clockwise
    paths["exif-rotated"] = folder / "exif.jpg"
    rotated.save(paths["exif-rotated"], exif=exif)
    return paths


def test_odd_images_are_predicted(bundle: Path, tmp_path: Path) -> None:
    paths = odd_images(tmp_path)
    outcome = run("run", bundle, *paths.values(), "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.json["predictions"]) == len(paths)


def test_unreadable_image_is_named(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    assert "broken.jpg" in refused("run", bundle, broken)


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        pytest.param(np.zeros((1, 3, 32, 32), np.float32), ValueError, id="shape"),
        pytest.param(np.zeros((1, 3, 64, 64), np.float64), TypeError, id="dtype"),
        pytest.param(np.full((1, 3, 64, 64), np.nan, np.float32), ValueError, id="nan"),
    ],
)
def test_infer_refuses(bundle: Path, batch: np.ndarray, error: type[Exception]) -> None:
    with Engine.load(bundle) as engine, pytest.raises(error):
        engine.infer(batch)


def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def test_tampered_file_in_a_bundle(bundle: Path, photo: Path, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    line = refused("run", copy, photo)
    assert "model.onnx" in line and "sha256" in line


def test_bundle_of_a_newer_schema(bundle: Path, photo: Path, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    record = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(record | {"schema": 99}))
    line = refused("run", copy, photo)
    assert "schema 99" in line and "update Vitrine" in line


def test_failed_golden_probe_is_the_gates_no(bundle: Path, photo: Path, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    record = json.loads((copy / "manifest.json").read_text())
    record["golden"]["min_cosine"] = 0.99999999
    (copy / "manifest.json").write_text(json.dumps(record))
    outcome = run("run", copy, photo)
    assert outcome.code == 1
    assert "golden probe" in outcome.err


def test_two_builds_of_one_bundle_at_once(tmp_path: Path) -> None:
    with open_writer(tmp_path / "vit_tiny_shapes-fp32-cpu"):
        line = refused(*BUILD, "--out", tmp_path)
    assert "another build" in line and "--out" in line


def build_process(out: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """A build in another process, its files bounded to `limit` bytes as on a full disk."""

    def bound() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "export.cli", *BUILD, "--out", str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, preexec_fn=bound, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
def test_full_disk_leaves_no_bundle_and_says_so(tmp_path: Path) -> None:
    process = build_process(tmp_path, limit=1 << 20)  # the graph alone is larger
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert "vitrine: " in err and "Traceback" not in err
    assert not (tmp_path / "vit_tiny_shapes-fp32-cpu").exists()


@pytest.mark.slow
def test_killed_build_leaves_nothing_loadable(tmp_path: Path) -> None:
    work = tmp_path / ".vit_tiny_shapes-fp32-cpu.building"
    process = build_process(tmp_path)
    while process.poll() is None and not (work / "model.onnx").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for folder in (work, tmp_path / "vit_tiny_shapes-fp32-cpu"):
        with pytest.raises(EngineError):
            Engine.load(folder)
    outcome = run(*BUILD, "--out", tmp_path)  # the next build clears up and succeeds
    assert outcome.code == 0, outcome.err
    assert not work.exists()
    Engine.load(tmp_path / "vit_tiny_shapes-fp32-cpu").close()
