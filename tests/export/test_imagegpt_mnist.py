"""A published iGPT, trained on MNIST, through an engine: its own logits, and what it reaches."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from export.pipeline import build
from export.request import Request
from export.spec import ModelSpec
from runtime import Engine
from runtime.tasks.pixels import Pixels
from tests.assets import asset

pytest.importorskip("onnxruntime")

WEIGHTS = "weights/igpt_xxs_mnist.safetensors"
DIGITS = "images/mnist-t10k-images-idx3-ubyte.gz"
HEADER, SIDE, MEASURED = 16, 28, 64  # bytes, pixels, images
pytestmark = [pytest.mark.assets, pytest.mark.slow]


def spec() -> ModelSpec:
    """Architecture as its authors describe it; the palette is in the file."""
    centroids = load_file(asset(WEIGHTS))["centroids"].astype(float) * 255
    return ModelSpec(
        name="igpt_xxs_mnist",
        family="imagegpt",
        task="pixels",
        config={
            "image_size": SIDE,
            "clusters": 16,
            "width": 16,
            "layers": 8,
            "heads": 2,
            "norm": "layer",
            "activation": "gelu",
            "residual": "normed",
        },
        preprocess={"kind": "colours", "size": SIDE, "clusters": centroids.tolist()},
        calibration={"images": 2, "held_out": 2},
        drift={"fp32": {"token_agreement": 0.99}},
    )


def digits() -> list[np.ndarray]:
    """The first images of the test set as frames."""
    with gzip.open(asset(DIGITS)) as file:
        data = file.read(HEADER + MEASURED * SIDE * SIDE)
    grey = np.frombuffer(data, np.uint8, offset=HEADER).reshape(MEASURED, SIDE, SIDE)
    return [np.repeat(image[..., None], 3, axis=2) for image in grey]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("digits")
    for index, frame in enumerate(digits()[:4]):
        Image.fromarray(frame).save(folder / f"{index}.png")
    request = Request(
        spec=spec(), precision="fp32", weights=str(asset(WEIGHTS)), calibration=folder,
        out=tmp_path_factory.mktemp("built"),
    )  # fmt: skip
    with Engine.load(build(request, lambda line: None).bundle) as engine:
        yield engine


def test_logits_are_those_of_its_authors(engine: Engine) -> None:
    stored = load_file(asset(WEIGHTS).with_suffix(".refio.safetensors"))
    found = engine.infer(np.ascontiguousarray(stored["tokens"].T))["logits"]
    # Logits of order 8 that PyTorch summed in another order: our module in PyTorch is as far off,
    # by 8e-5.
    np.testing.assert_allclose(found, stored["logits"].swapaxes(0, 1), atol=5e-4, rtol=0)


def test_digits_are_as_probable_as_they_should_be(engine: Engine) -> None:
    predictions = engine(digits())
    assert all(isinstance(prediction, Pixels) for prediction in predictions)
    nll = np.mean([prediction.nll for prediction in predictions])
    assert round(float(nll), 3) == 0.302
    tokens = engine.manifest.preprocess(digits()).inputs["input_ids"]
    likely = np.stack([prediction.most_likely.ravel() for prediction in predictions])
    assert round(float((likely == tokens).mean()), 3) == 0.902
