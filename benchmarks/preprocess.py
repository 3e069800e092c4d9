"""What preprocessing takes, as a share of the inference that it feeds, on one core.

    python -m benchmarks.preprocess engines/built/swin_t-int8-cpu --size 1080 1920

Batch 1. Every layout of frames is timed in turn with an inference by one thread, and compared with
that inference.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.tables import machine, markdown, paired_ratio
from runtime import Engine
from runtime.preprocess import Frame, Preprocess

_FRAMES = 4  # of each layout, so that no cache keeps them from one round to the next
Times = dict[str, list[float]]


def frames(height: int, width: int) -> dict[str, list[Frame]]:
    """Noise in every layout; what it shows does not change how long it takes."""
    random = np.random.default_rng(0)
    shapes = {
        "RGB": (height, width, 3),
        "BGR": (height, width, 3),
        "NV12": (height * 3 // 2, width),
        "GREY": (height, width),
    }
    return {
        pixels: [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(_FRAMES)]
        for pixels, shape in shapes.items()
    }


def measure(bundle: Path, pictures: dict[str, list[Frame]], rounds: int) -> tuple[Times, Times]:
    """Milliseconds of preprocessing by layout, and of the inference after each."""
    taken: Times = {pixels: [] for pixels in pictures}
    inference: Times = {pixels: [] for pixels in pictures}
    with Engine.load(bundle, threads=1, verify=False) as engine:
        preprocess = engine.manifest.preprocess
        for number in range(-1, rounds):  # the first is not counted
            gc.collect()
            gc.disable()
            for pixels, choice in pictures.items():
                start = time.perf_counter()
                inputs = _inputs(preprocess, choice[number % _FRAMES], pixels)
                between = time.perf_counter()
                engine.infer(inputs.pop(engine.manifest.inputs[0].name), **inputs)
                end = time.perf_counter()
                if number >= 0:
                    taken[pixels].append(1e3 * (between - start))
                    inference[pixels].append(1e3 * (end - between))
            gc.enable()
    return taken, inference


def _inputs(preprocess: Preprocess, frame: Frame, pixels: str) -> dict[str, np.ndarray]:
    return preprocess([frame], pixels=pixels).inputs


def table(taken: Times, inference: Times) -> str:
    """One row a layout."""
    rows = []
    for pixels, times in taken.items():
        middle, low, high = paired_ratio(times, inference[pixels])
        rows.append(
            [
                pixels,
                f"{np.median(times):.1f}",
                f"{np.median(inference[pixels]):.1f}",
                f"{middle:.1%} ({low:.1%} to {high:.1%})",
            ]
        )
    return markdown(["frames", "preprocessing ms", "inference ms", "share of inference"], rows)


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--size", nargs=2, type=int, default=[1080, 1920], help="of the frames")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write all times here")
    arguments = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    pictures = frames(*arguments.size)
    record = {}
    for bundle in arguments.bundles:
        taken, inference = measure(bundle, pictures, arguments.rounds)
        record[bundle.name] = {"preprocessing": taken, "inference": inference}
        print(f"### {bundle.name}, {arguments.size[0]} x {arguments.size[1]}\n")
        print(f"{table(taken, inference)}\n", flush=True)
    if arguments.json:
        whole = {"machine": machine(), "size": arguments.size, "milliseconds": record}
        arguments.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
