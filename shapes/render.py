"""Writes rendered images to a folder: `python -m shapes.render DIR --task detection`.

Classification: PNG files and labels.csv (file, label, name). Detection: PNG files and boxes.json, a
list of {"file": ..., "boxes": [[x1, y1, x2, y2, label], ...]} in pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shapes.datasets import classification, detection
from shapes.figures import NAMES


def main() -> int:
    """Parses the command line, renders, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shapes.render", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--task", choices=("classification", "detection"), required=True)
    parser.add_argument("--images", type=int, default=128, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    if arguments.images < 1 or arguments.seed < 0:
        parser.error("--images must be at least 1 and --seed at least 0")
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        parser.error(f"{arguments.folder} is a file; give a folder")
    write = write_classification if arguments.task == "classification" else write_detection
    write(arguments.folder, arguments.seed, arguments.images)
    return 0


def write_classification(folder: Path, seed: int, images: int) -> None:
    """Writes images and labels.csv into an existing folder."""
    with (folder / "labels.csv").open("w", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("file", "label", "name"))
        for index, (frame, label) in enumerate(classification(seed, images)):
            rows.writerow((_write(folder, index, frame), label, NAMES[label]))


def write_detection(folder: Path, seed: int, images: int) -> None:
    """Writes images and boxes.json into an existing folder."""
    records = []
    for index, image in enumerate(detection(seed, images)):
        boxes = [
            [*map(int, box), int(label)]
            for box, label in zip(image.boxes, image.labels, strict=True)
        ]
        records.append({"file": _write(folder, index, image.frame), "boxes": boxes})
    lines = ",\n".join(json.dumps(record) for record in records)
    (folder / "boxes.json").write_text(f"[\n{lines}\n]\n")


def _write(folder: Path, index: int, frame: NDArray[np.uint8]) -> str:
    name = f"{index:06d}.png"
    Image.fromarray(frame).save(folder / name)
    return name


if __name__ == "__main__":
    raise SystemExit(main())
