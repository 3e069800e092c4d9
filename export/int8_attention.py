"""A further INT8 graph for GPUs: attention in int8 as well, where that is measured faithful."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calibration.attention import float_scores
from calibration.attention_int8 import quantise_products
from calibration.attention_products import LIMIT, fits, measure_products
from export.answers import SingleImages
from export.lowering.window_heads import WINDOWS_AS_HEADS
from export.operators import DOMAIN
from export.simplify import simplify
from export.typed import Typed

_IMAGES = 32
_LEAST_SHARE = 0.5
"""Of the attentions; with fewer in int8 an engine of its own is not worth the minutes it takes."""


def with_int8_attention(
    typed: Typed, images: SingleImages, say: Callable[[str], None]
) -> Typed | None:
    """The graph with both products of attention in int8, wherever the error is within `LIMIT`.

    Args:
        typed: an int8 graph with float32 parts; Q/DQ on its queries and keys is replaced.
        images: for calibration.
        say: told what was found.

    Returns:
        None where fewer than half of the attentions qualify. Windows are heads in what is
        returned, and an int8 attention is written out as primitives (`calibration.attention_int8`).
    """
    graph = simplify(WINDOWS_AS_HEADS.apply(float_scores(typed.model.clone())))
    every = [str(node.name) for node in graph.graph if node.domain == DOMAIN]
    fitting = sum(fits(node) for node in graph.graph)
    found = measure_products(graph, images.first(_IMAGES))
    chosen = {name: each for name, each in found.items() if each.error <= LIMIT}
    least = f", errors from {min(e.error for e in found.values()):.1e}" if found else ""
    say(
        f"int8 attention: {len(chosen)} of {len(every)} qualify; {fitting} are of a size that is "
        f"fused{least}, limit {LIMIT:.0e}"
    )
    if not chosen or len(chosen) < _LEAST_SHARE * len(every):
        return None
    decided: dict[str, Mapping[str, str]] = dict(typed.precision_map)
    for name, each in chosen.items():
        why = f"both products; relative squared error {each.error:.1e}, limit {LIMIT:.0e}"
        decided[name] = {"type": "int8", "why": why}
    layers = [layer for layer in typed.layers if layer.name not in every]
    return Typed(quantise_products(graph, chosen), decided, layers)
