"""Writes rendered images to a folder: `python -m shapes.render DIR --task detection`.

PNG files, of a clip a folder of them, of a text a text file, and the truth about them as the task
reads it: labels.csv, boxes.json and others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

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
        item, truth = dataset.image(seed, index)
        truths[_save(folder, f"{index:06d}", item)] = truth
    dataset.write(folder, truths)


def _save(folder: Path, stem: str, item: Any) -> str:
    """A text as a file, a frame as a PNG file, or a clip as a folder of them; its name."""
    if isinstance(item, str):
        name = f"{stem}.txt"
        (folder / name).write_text(f"{item}\n")
    elif item.ndim == 3:
        name = f"{stem}.png"
        Image.fromarray(item).save(folder / name)
    else:
        name = stem
        (folder / name).mkdir(exist_ok=True)
        for number, one in enumerate(item):
            Image.fromarray(one).save(folder / name / f"{number:04d}.png")
    return name


if __name__ == "__main__":
    raise SystemExit(main())
