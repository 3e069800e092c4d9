"""`vitrine build --target DEVICE` and `vitrine finish`."""

from __future__ import annotations

import json
import platform
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import device_check, finish
from engines.trt.installation import Installed
from runtime import Engine, EngineError
from tests.cli.conftest import run
from tests.cli.device import ORIN, Device, finished, onnxruntime


def test_a_kit_holds_everything_but_an_engine_and_hashes_it(kit: Path) -> None:
    record = json.loads((kit / "kit.json").read_text())
    assert set(record["manifest"]["files"]) == {f.name for f in kit.iterdir()} - {"kit.json"}
    assert {f.name for f in kit.glob("*.onnx")} == {
        "int8-primitives.onnx", "int8-plugin.onnx", "fp16-primitives.onnx",
    }  # fmt: skip
    assert {"golden.npz", "plugins.zip", "precision_map.yaml", "drift.json", "report.html"} <= set(
        record["manifest"]["files"]
    )
    assert [graph["wanted"] for graph in record["graphs"]] == [True, True, False]


def test_a_kit_is_no_bundle(kit: Path) -> None:
    with pytest.raises(EngineError, match=r"device kit, not yet a bundle.*vitrine finish"):
        Engine.load(kit)


def test_finishing_makes_a_bundle_of_the_fastest_engine_that_is_right(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    record = outcome.json
    assert [c["name"] for c in record["candidates"]] == [
        "int8 on tensorrt (primitives)",
        "int8 on tensorrt (plugin)",
        "fp16 on tensorrt (primitives)",
    ]
    assert "nvcc is not installed" in record["candidates"][1]["obstacle"]
    assert set(record["candidates"][0]["latency_ms"]) == {"1", "4"}
    bundle = Path(record["bundle"])
    assert bundle == tmp_path / "vit_tiny_shapes-int8-orin-jp6"
    assert {f.name for f in bundle.iterdir()} == {
        "manifest.json", "model.onnx", "model.plan", "golden.npz", "drift.json", "report.html",
        "precision_map.yaml",
    }  # fmt: skip
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["engine"] == {
        "backend": "tensorrt", "version": "10.3.0", "device": "Orin", "compute_capability": "8.7",
        "platform": f"{platform.system()}-{platform.machine()}", "options": [],
    }  # fmt: skip
    assert manifest["latency"]["plan"]["notes"] == ["a note"]
    fused = "12 layers are fused attention, by their kernels' names"
    assert record["notes"] == ["a note", fused]
    assert (bundle / "model.onnx").read_bytes() == (kit / "int8-primitives.onnx").read_bytes()


def test_an_engine_with_plugins_keeps_their_library(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_library(archive: Path, library: Path, capability: str, *_: object) -> Path:
        asked.append((archive.name, capability))
        library.write_bytes(b"compiled")
        return library

    monkeypatch.setattr(finish, "compile_from_archive", compile_library)
    device.fastest = "plugin"
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.json["kept"].startswith("int8 on tensorrt (plugin)")
    assert asked == [("plugins.zip", "8.7")]
    bundle = Path(outcome.json["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {"model.plan", "libvitrine_plugins.so"} <= set(manifest["files"])
    assert not list(bundle.glob("*-*.plan"))
    assert (bundle / "model.onnx").read_bytes() == (kit / "int8-plugin.onnx").read_bytes()


def test_the_device_is_asked_for_what_the_graphs_say(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    assert finished(kit, tmp_path, "--workspace", "512", "--optimisation-level", "5").code == 0
    int8, fp16 = device.orders
    assert int8.workspace == 512 << 20
    assert int8.optimisation_level == 5
    assert [p.shapes["pixel_values"][2][0] for p in int8.profiles] == [1, 4]
    assert set(int8.precision_map.values()) <= {"int8", "fp16", "fp32"}
    linears = {name for name, kind in int8.precision_map.items() if kind == "int8"}
    assert "vit.layers.0.mlp.fc1" in linears
    assert set(fp16.precision_map.values()) <= {"fp16", "fp32"}


def test_without_tensorrt_onnx_runtimes_gpu_providers_will_do(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.here = replace(ORIN, tensorrt="", problems=("TensorRT is not installed; install it",))
    monkeypatch.setattr(device_check, "onnxruntime_on_gpu", lambda: True)
    outcome = finished(kit, tmp_path)
    assert outcome.code == 0, outcome.err
    assert [c["name"] for c in outcome.json["candidates"]] == [
        f"{precision} on {backend} (primitives)"
        for precision in ("int8", "fp16")
        for backend in ("onnxruntime-tensorrt", "onnxruntime-cuda")
    ]
    bundle = Path(outcome.json["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["engine"]["backend"].startswith("onnxruntime-")
    assert manifest["engine"]["version"] == onnxruntime.__version__
    assert "model.plan" not in manifest["files"]
    assert not device.orders


def test_an_engine_that_fails_its_probes_is_not_kept(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    device.broken = "int8-primitives"
    outcome = finished(kit, tmp_path)
    assert outcome.code == 2
    assert re.search(
        r"int8 on tensorrt \(primitives\): golden probe \d+ gives cosine -", outcome.err
    )
    assert not list(tmp_path.glob("*/manifest.json"))


def test_int8_that_is_slower_than_float_is_refused(
    kit: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "faster_float", lambda kept, candidates: "it takes 2 ms")
    outcome = run("finish", kit, "--out", tmp_path, "--json")
    assert outcome.code == 1
    assert outcome.json["refused"] == "it takes 2 ms"
    assert outcome.json["bundle"].endswith(".rejected")


def test_another_precision_of_the_kit_has_its_own_evidence(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    # As of a build with --precision auto, whose FP16 may be kept too.
    copy = tmp_path / "auto.kit"
    shutil.copytree(kit, copy)
    record = json.loads((copy / "kit.json").read_text())
    record["name"] = "vit_tiny_shapes-auto-orin-jp6"
    record["graphs"][2]["wanted"] = True
    drift = {**record["evidence"]["int8"]["drift"], "verdict": "inconclusive"}
    record["evidence"]["fp16"] = {"drift": drift, "min_cosine": 0.25}
    (copy / "kit.json").write_text(json.dumps(record))
    device.fastest = "fp16"
    outcome = finished(copy, tmp_path)
    assert outcome.code == 0, outcome.err
    bundle = Path(outcome.json["bundle"])
    assert bundle.name == "vit_tiny_shapes-auto-orin-jp6"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["precision"], manifest["golden"]["min_cosine"]) == ("fp16", 0.25)
    assert manifest["drift"] == json.loads((bundle / "drift.json").read_text()) == drift
    assert not (bundle / "precision_map.yaml").exists()  # the int8 graph's


@pytest.mark.slow
def test_int8_attention_is_a_form_with_evidence_of_its_own(
    kit: Path, device: Device, tmp_path: Path
) -> None:
    device.here = Installed()  # elsewhere, for now
    built = run(
        "build", "--model", "swin_tiny_shapes", "--precision", "int8", "--target", "orin-jp6",
        "--calibration", kit.parent / "images", "--images", "8", "--max-batch", "2",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert built.code == 0, built.err
    assert "int8 attention: 6 of 6 qualify" in built.err
    folder = Path(built.json["bundle"])
    record = json.loads((folder / "kit.json").read_text())
    assert [g["file"].removesuffix(".onnx") for g in record["graphs"] if g["wanted"]] == [
        "int8-primitives", "int8-plugin", "int8-quantised",
    ]  # fmt: skip
    quantised = record["graphs"][2]
    int8 = {n for n in quantised["nodes"] if quantised["precision_map"][n]["type"] == "int8"}
    assert "swin.encoder.layers.0.blocks.0.attention" in int8
    evidence = record["evidence"]
    assert set(evidence) == {"int8", "int8-quantised"}
    assert evidence["int8"]["drift"] != evidence["int8-quantised"]["drift"]

    evidence["int8-quantised"]["min_cosine"] = 0.25  # to tell whose was taken
    device.here = ORIN
    (folder / "kit.json").write_text(json.dumps(record))
    device.fastest = "quantised"
    outcome = finished(folder, tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.json["kept"].startswith("int8 on tensorrt (quantised)")
    bundle = Path(outcome.json["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert (manifest["precision"], manifest["golden"]["min_cosine"]) == ("int8", 0.25)
    assert manifest["drift"] == evidence["int8-quantised"]["drift"]
    assert not {"report.html", "precision_map.yaml"} & set(manifest["files"])  # the other graph's


@pytest.mark.slow
def test_a_precision_that_auto_leaves_out_is_said(kit: Path, tmp_path: Path) -> None:
    outcome = run(
        "build", "--model", "vit_tiny_shapes", "--precision", "auto", "--target", "h100",
        "--calibration", kit.parent / "images", "--images", "8", "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "no int8 in the kit: 8 calibration images cannot show" in outcome.err
    record = json.loads((tmp_path / "vit_tiny_shapes-auto-h100.kit" / "kit.json").read_text())
    assert {graph["precision"] for graph in record["graphs"]} == {"fp16"}
    assert set(record["evidence"]) == {"fp16"}
    assert record["manifest"]["drift"] == record["evidence"]["fp16"]["drift"]


def test_the_archive_is_the_sources_and_equal_every_time(kit: Path, tmp_path: Path) -> None:
    from engines.plugin_archive import archive_sources

    archive_sources(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (kit / "plugins.zip").read_bytes()


def test_golden_probes_of_a_kit_are_more_than_an_engines(kit: Path) -> None:
    with np.load(kit / "golden.npz") as probes:
        assert sum(name.startswith("image") for name in probes.files) == 16
