"""Frames that are cut into tiles, on their way through a build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from engines.bundle_writer import open_writer
from export.answers import Runner, SingleImages, comparable
from export.bundle_contents import write_golden
from export.samples import Sample
from export.weights import Reference
from runtime import Preprocess
from runtime.golden import check, load_golden
from runtime.tasks.task import Graph

TILES = Preprocess(resize="tiles", size=8, overlap=2, mean=(0, 0, 0), std=(1, 1, 1))
SIZES = [(8, 8), (20, 20), (5, 14)]


def frame(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


SAMPLES = [Sample(str(size), lambda size=size: frame(*size)) for size in SIZES]  # type: ignore[misc]


def negative(inputs: Mapping[str, Any]) -> dict[str, Any]:
    assert len(inputs["pixel_values"]) <= 8  # as many as a build gives an engine at once
    return {"restored": 1 - inputs["pixel_values"]}


def test_each_tile_is_an_image_of_its_own_to_calibration() -> None:
    feeds = [feed["pixel_values"] for feed in SingleImages(SAMPLES, TILES)]
    assert [feed.shape for feed in feeds] == [(1, 3, 8, 8)] * (1 + 9 + 2)
    expected = np.concatenate([TILES([sample.read()]).inputs["pixel_values"] for sample in SAMPLES])
    np.testing.assert_array_equal(np.concatenate(feeds), expected)


def test_answers_are_compared_as_whole_images() -> None:
    answers = Runner("restoration", Graph(negative, TILES)).answers(SAMPLES)
    found = comparable("restoration", answers, ())
    for sample, image in zip(SAMPLES, found, strict=True):
        # 1 - x in float32, times 255.
        np.testing.assert_allclose(image, 255.0 - sample.read(), atol=1e-4, rtol=0)


def test_a_golden_probe_is_one_tile(tmp_path: Path) -> None:
    reference = Reference(nn.Identity(), TILES, ())
    with open_writer(tmp_path / "bundle") as writer:
        write_golden(writer, reference, SAMPLES, negative)
        golden = load_golden(writer.path("golden.npz"))
        writer.reject()
    assert [probe.shape for probe in golden.items] == [(8, 8, 3)] * 3
    np.testing.assert_array_equal(golden.items[1], frame(20, 20)[6:14, 6:14])
    assert check(negative, TILES, golden, 0.99999) <= 1
