"""Writes rendered images to a folder: `python -m shapes.render DIR --task detection`.

PNG files, of a clip a folder of them, and the truth about them as the task reads it: labels.csv,
boxes.json and others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shapes.datasets import DATASETS, Dataset


def main() -> int:
    """Parses the command line, renders, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shapes.render", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--task", choices=tuple(DATASETS), required=True)
    parser.add_argument("--images", type=int, default=128, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    if arguments.images < 1 or arguments.seed < 0:
        parser.error("--images must be at least 1 and --seed at least 0")
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        parser.error(f"{arguments.folder} is a file; give a folder")
    write(arguments.folder, DATASETS[arguments.task], arguments.seed, arguments.images)
    return 0


def write(folder: Path, dataset: Dataset, seed: int, images: int) -> None:
    """Writes images and their truths into an existing folder."""
    truths: dict[str, Any] = {}
    for index in range(images):
        frame, truth = dataset.image(seed, index)
        name = f"{index:06d}" if frame.ndim == 4 else f"{index:06d}.png"
        _save(folder / name, frame)
        truths[name] = truth
    dataset.write(folder, truths)


def _save(path: Path, frame: NDArray[np.uint8]) -> None:
    """A frame as a PNG file, or a clip as a folder of them."""
    if frame.ndim == 3:
        Image.fromarray(frame).save(path)
        return
    path.mkdir(exist_ok=True)
    for number, one in enumerate(frame):
        Image.fromarray(one).save(path / f"{number:04d}.png")


if __name__ == "__main__":
    raise SystemExit(main())
