"""Any number of images through a model that takes only so many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], Arrays]


def in_pieces(run: Run, inputs: Arrays, most: int) -> Arrays:
    """What `run` gives for `inputs`, of which it is given at most `most` images at a time.

    Args:
        run: arrays by input name to arrays by output name, both with the images as first axis.
        inputs: by name.
        most: images.
    """
    count = len(next(iter(inputs.values())))
    if count <= most:
        return run(inputs)
    parts = [
        run({name: array[start : start + most] for name, array in inputs.items()})
        for start in range(0, count, most)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
