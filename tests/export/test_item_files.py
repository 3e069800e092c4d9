"""Folders of texts and of images, as models of either kind read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.item_files import item_files, read_item, readable_files
from export.samples import split
from export.spec import Calibration
from export.zoo.dalle_samples import encoder_samples
from runtime import EngineError
from runtime.tasks.codes import read_drawings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three texts, of which two have a picture, and a broken image."""
    for index, text in enumerate(("a red star\n", "\ufeff  the blue heart", "ein grüner Pfeil")):
        (tmp_path / f"{index}.txt").write_text(text, encoding="utf-8")
    for index in range(2):
        Image.new("RGB", (4, 3), (index, 2, 3)).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def test_a_model_of_texts_reads_texts(folder: Path) -> None:
    paths = item_files(folder, "texts")
    assert [read_item(path) for path in paths] == [
        "a red star", "the blue heart", "ein grüner Pfeil",
    ]  # fmt: skip
    assert list(readable_files(folder, "texts")) == list(paths)


@pytest.mark.parametrize("kind", ["frames", "colours"])
def test_other_models_read_images(folder: Path, kind: str) -> None:
    assert [path.name for path in item_files(folder, kind)] == ["0.png", "1.png", "broken.png"]
    readable = readable_files(folder, kind)
    assert [path.name for path in readable] == ["0.png", "1.png"]
    np.testing.assert_array_equal(read_item(readable[1])[0, 0], [1, 2, 3])


def test_texts_and_their_pictures_make_a_split(folder: Path) -> None:
    found = split(Calibration(held_out=1), folder, 2, 0, "codes", "texts")
    samples = [*found.calibration, *found.held_out]
    by_name = {sample.name: sample for sample in samples}
    assert sorted(by_name) == ["0.txt", "1.txt", "2.txt"]
    assert by_name["0.txt"].read() == "a red star" and by_name["1.txt"].label[0, 0, 0] == 1
    assert by_name["2.txt"].label is None
    with pytest.raises(EngineError, match=r"^2\.txt has no picture; put the one"):
        encoder_samples(None, samples)  # type: ignore[arg-type]


def test_what_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "3.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(EngineError, match=r"3\.txt is not a readable text \(.*write it in UTF-8"):
        read_item(folder / "3.txt")
    found = split(Calibration(held_out=1), folder, 3, 0, "codes", "texts")
    assert list(found.skipped) == ["3.txt"]
    assert [path.name for path in readable_files(folder, "texts")] == ["0.txt", "1.txt", "2.txt"]
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "nowhere"):
        with pytest.raises(EngineError, match=f"{missing} holds no text; give a folder"):
            item_files(tmp_path / missing, "texts")
    (folder / "1.png").write_bytes(b"no image")
    with pytest.raises(EngineError, match=r"1\.png is not a readable image"):
        read_drawings(folder)
