"""`python -m shapes.render`: the files that it leaves."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shapes
from shapes import render


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["render", *arguments])
    return render.main()


def test_classification_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "folder"
    arguments = ("--task", "classification", "--images", "5", "--seed", "9")
    assert _run(monkeypatch, str(folder), *arguments) == 0
    with (folder / "labels.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["file"] for row in rows] == [f"{index:06d}.png" for index in range(5)]
    for row, (frame, label) in zip(rows, shapes.classification(9, 5), strict=True):
        assert np.array_equal(np.asarray(Image.open(folder / row["file"])), frame)
        assert (int(row["label"]), row["name"]) == (label, shapes.NAMES[label])


def test_detection_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, str(tmp_path), "--task", "detection", "--images", "4") == 0
    records = json.loads((tmp_path / "boxes.json").read_text())
    for record, image in zip(records, shapes.detection(0, 4), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / record["file"])), image.frame)
        boxes = np.array(record["boxes"])
        assert np.array_equal(boxes[:, :4], image.boxes)
        assert np.array_equal(boxes[:, 4], image.labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("--images", "0"), "--images must be at least 1", id="no images"),
        pytest.param(("--seed", "-1"), "--seed at least 0", id="negative seed"),
    ],
)
def test_wrong_use_exits_with_2_and_one_line(
    arguments: tuple[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        _run(monkeypatch, str(tmp_path), "--task", "detection", *arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]
