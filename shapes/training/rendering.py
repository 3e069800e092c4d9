"""Rendering of whole data sets in several processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")

_CHUNK = 500


def render_all(
    render: Callable[[int, int], Item], seed: int, count: int, workers: int = 2
) -> list[Item]:
    """Renders images 0..`count` of the set `seed` with `render(seed, index)`, in order.

    Args:
        render: a function of a module, such as `shapes.datasets.detection_image`.
        seed: the set.
        count: images.
        workers: processes.
    """
    spans = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    # Forking a process that runs torch's threads can deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(chain.from_iterable(pool.map(partial(_render_span, render, seed), spans)))


def _render_span(render: Callable[[int, int], Item], seed: int, span: range) -> list[Item]:
    return [render(seed, index) for index in span]
