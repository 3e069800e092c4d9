"""Draws texts with a DALL·E's engine: PNG files in a folder.

python examples/text_to_image.py BUNDLE "a red star on a black background" --candidates 4 --seed 3
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from PIL import Image

from runtime import Engine, EngineError
from runtime.generation import Sampling
from runtime.text_to_image import generate


def main() -> int:
    """Draw, save, and name what was saved; gives the exit code."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("bundle", metavar="BUNDLE")
    options.add_argument("texts", metavar="TEXT", nargs="+")
    options.add_argument("--out", type=Path, default=Path("drawings"), metavar="DIR")
    options.add_argument("--candidates", type=int, default=1, metavar="N", help="images a text")
    options.add_argument("--rank-by", metavar="BUNDLE", help="a CLIP, which puts them in order")
    options.add_argument("--temperature", type=float, default=1.0, help="0: the most probable")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    try:
        for path in draw(arguments):
            print(path)
    except (EngineError, ValueError, TypeError, OSError) as error:
        print(f"text_to_image: {error}", file=sys.stderr)
        return 2
    return 0


def draw(arguments: argparse.Namespace) -> list[Path]:
    """The files of all images: NUMBER of the text, then of the candidate."""
    sampling = Sampling(arguments.temperature, seed=arguments.seed)
    clip = Engine.load(arguments.rank_by) if arguments.rank_by else nullcontext()
    with Engine.load(arguments.bundle) as engine, clip as ranking:
        drawn = generate(
            engine, arguments.texts, candidates=arguments.candidates, rank_by=ranking,
            sampling=sampling,
        )  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, frames in enumerate(drawn):
        for candidate, frame in enumerate(frames):
            paths.append(arguments.out / f"{number:02d}-{candidate:02d}.png")
            Image.fromarray(frame).save(paths[-1])
    return paths


if __name__ == "__main__":
    sys.exit(main())
