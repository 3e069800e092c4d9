"""One picture is the same numbers to a model wherever it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from export.answers import SingleImages
from export.cli import app
from export.samples import split
from export.spec import Calibration
from runtime import Engine, Preprocess
from runtime.backends.onnxruntime_session import OnnxRuntimeSession
from runtime.pipeline import Pipeline
from runtime.sources.source import Source
from tests.runtime.bundles import CLASSIFIER, DETECTOR, MASKED, MEAN_COLOUR, write_bundle

Feed = Mapping[str, np.ndarray]
STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MODELS = {
    "crop": Preprocess("shortest_edge", 10, crop=8, interpolation="bicubic", **STATISTICS),
    "exact": Preprocess("exact", 8, interpolation="lanczos", color="BGR", **STATISTICS),
    "letterbox": Preprocess("letterbox", 8, fill=114, **STATISTICS),
    "pad": Preprocess("shortest_edge", 48, max_size=80, pad=True, **STATISTICS),
}


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Feed]:
    """What the back end was given, run by run."""
    given: list[Feed] = []
    original = OnnxRuntimeSession.run

    def run(self: OnnxRuntimeSession, inputs: Feed) -> dict[str, Any]:
        given.append({name: array.copy() for name, array in inputs.items()})
        return original(self, inputs)

    monkeypatch.setattr(OnnxRuntimeSession, "run", run)
    return given


def command(bundle: Path, file: Path) -> None:
    assert CliRunner().invoke(app, ["run", str(bundle), str(file)]).exit_code == 0


def engine(bundle: Path, file: Path) -> None:
    with Engine.load(bundle, verify=False) as loaded, Image.open(file) as image:
        loaded([np.asarray(image)])


def camera(bundle: Path, file: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    with Engine.load(bundle, verify=False) as loaded:
        loaded([cv2.imread(str(file))], pixels="BGR")


def stream(bundle: Path, file: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    frames = [cv2.imread(str(file))]
    source = Source("camera", lambda: iter(frames), live=False, reconnect=False, pixels="BGR")
    with Engine.load(bundle, verify=False) as loaded, Pipeline(loaded, [source]) as pipeline:
        assert len(list(pipeline)) == 1


@pytest.mark.parametrize("way", [command, engine, camera, stream], ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", MODELS)
def test_as_in_calibration(
    kind: str, way: Callable[[Path, Path], None], fed: list[Feed], tmp_path: Path
) -> None:
    preprocess = MODELS[kind]
    manifest, text = (DETECTOR, MASKED) if preprocess.pad else (CLASSIFIER, MEAN_COLOUR)
    manifest = dataclasses.replace(
        manifest,
        preprocess=preprocess,
        golden=dataclasses.replace(manifest.golden, min_cosine=-1.0),  # they are of other sizes
    )
    bundle = write_bundle(tmp_path / "bundle", manifest, text)
    (tmp_path / "images").mkdir()
    file = tmp_path / "images" / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    settings = Calibration(images=1, seed=0, method="minmax")
    (calibrated,) = SingleImages(
        split(settings, tmp_path / "images", 1, 0, "classification").calibration, preprocess
    )
    way(bundle, file)
    given = fed[-1]
    assert given.keys() == calibrated.keys()
    for name, array in calibrated.items():
        assert given[name].dtype == array.dtype
        np.testing.assert_array_equal(given[name], array)
    assert np.ptp(calibrated["pixel_values"]) > 0.1  # it is the picture, not a blank
