"""Predictions that are pictures become files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.predictions import as_text, save_pictures
from runtime import EngineError
from runtime.tasks.classification import Classification, Guess
from runtime.tasks.detection import Detections
from runtime.tasks.embeddings import Embedding
from runtime.tasks.restoration import Restoration
from runtime.tasks.segmentation import Segmentation
from runtime.tasks.task import Prediction

RESTORED = Restoration(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
CLASSES = Segmentation(np.array([[0, 299], [1, 0]], np.uint16), tuple(map(str, range(300))))


@pytest.mark.parametrize("found", [RESTORED, CLASSES], ids=["colours", "16 bits of grey"])
def test_a_picture_is_kept_without_loss(found: Restoration | Segmentation, tmp_path: Path) -> None:
    (file,) = save_pictures(tmp_path / "new", [("folder/photo.jpg", found)])
    assert file == tmp_path / "new" / "photo.png"
    np.testing.assert_array_equal(np.asarray(Image.open(file)), found.picture())
    assert [path.name for path in file.parent.iterdir()] == ["photo.png"]


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    found = Classification((Guess("cat", 0, 1.0),))
    with pytest.raises(EngineError, match=r"a\.png is no picture .*leave --save out"):
        save_pictures(tmp_path, [("a.png", found)])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"file/a\.png cannot be written .*another folder"):
        save_pictures(tmp_path / "file", [("a.png", RESTORED)])


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (), np.zeros(0, int))
SEEN = {
    "a picture": (RESTORED, "a picture of 3 x 2 pixels; --save DIR keeps it"),
    "an embedding": (
        Embedding(np.ones(2, np.float32)),
        "an embedding of 2 numbers, to be compared with others",
    ),
    "nothing": (NOTHING, "nothing found"),
}


@pytest.mark.parametrize(("found", "text"), SEEN.values(), ids=SEEN.keys())
def test_what_has_no_entries_is_described(found: Prediction, text: str) -> None:
    assert as_text(found) == text
