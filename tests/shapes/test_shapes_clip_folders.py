"""Clips on disk: folders of frames, written, listed and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.samples import split
from export.spec import Calibration
from runtime import EngineError
from runtime.images import ImageSet, read_image
from shapes.datasets import DATASETS
from shapes.render import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write(folder, DATASETS["clips"], 3, 4)
    return folder


def test_what_is_written_is_read(folder: Path) -> None:
    found = dict(ImageSet(folder))
    assert sorted(found) == ["000000", "000001", "000002", "000003"]
    for index, name in enumerate(sorted(found)):
        np.testing.assert_array_equal(found[name], DATASETS["clips"].image(3, index).frame)


def test_a_build_takes_them_with_their_labels(folder: Path) -> None:
    samples = split(Calibration(held_out=2), folder, 2, 0, "classification")
    both = [*samples.calibration, *samples.held_out]
    assert len(both) == 4
    for sample in both:
        frame, label = DATASETS["clips"].image(3, int(sample.name))
        assert sample.label == label
        np.testing.assert_array_equal(sample.read(), frame)


def test_images_come_before_clips(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for path in ("a.png", "clip/b.png"):
        Image.new("RGB", (3, 2)).save(tmp_path / path)
    assert [path.name for path in ImageSet(tmp_path).paths] == ["a.png"]


@pytest.mark.parametrize("sizes", [[], [(3, 2), (2, 3)]], ids=["none", "two sizes"])
def test_what_is_no_clip_is_refused(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    for index, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    with pytest.raises(EngineError, match="give the frames of a clip, all of one size"):
        read_image(tmp_path)
