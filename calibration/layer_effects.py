"""What each linear costs in accuracy when it alone runs in int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from calibration.activations import Batches, single_images
from calibration.search import squared_error
from calibration.switchable import Switchable


def layer_effects(
    graph: Switchable, names: Sequence[str], batches: Batches, images: int = 8
) -> dict[str, float]:
    """Squared error of the model's outputs, relative to their own square, by int8 layer.

    The mean over images of the sum over outputs; infinite where an output is not finite. Rounding
    errors of different layers are nearly independent, so effects of a set nearly add up.

    Args:
        graph: In which each layer runs in int8 in turn, all others in float.
        names: The layers.
        batches: Calibration inputs, of which the first few images are used.
        images: How many.

    Raises:
        ValueError: No images.
    """
    totals, count = dict.fromkeys(names, 0.0), 0
    for count, feed in enumerate(islice(single_images(batches), images), 1):  # noqa: B007
        exact = graph.run(feed, ())
        for name in names:
            error = squared_error(graph.run(feed, (name,)), exact)
            totals[name] += error if math.isfinite(error) else math.inf
    if not count:
        raise ValueError("found no calibration images; give at least one")
    return {name: total / count for name, total in totals.items()}
