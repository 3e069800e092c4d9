"""Whether an engine computes in the precision that its graph asks for.

A strongly typed build keeps every type by contract, and two things escape it: a quantised linear
whose Q/DQ pair the builder could not pull in runs in float, as slow as one that was never
quantised, and a graph that was never lowered to FP16 builds in FP32 without a word. Both show in
the engine's layers. FP32 parts are not checked: a kernel that reads FP16 may well compute in FP32.

A build is refused only on evidence: at least one layer that carries the node is a product, what
those multiply is told by the names of their kernels, and no layer of the node reads what was asked
for. All else becomes a note, such as a whole network that is one `{ForeignNode[...]}`.
Inferred, and never run on a real TensorRT, as `engines.trt.inspection` is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from engines.trt.inspection import EngineLayer
from runtime.errors import EngineError

_SHOWN = 3  # names in a message


def check_precision(layers: Sequence[EngineLayer], wanted: Mapping[str, str]) -> list[str]:
    """Compares the engine with the graph.

    Args:
        layers: of the engine.
        wanted: ONNX node -> "int8", "fp16" or "fp32".

    Returns:
        What could not be told, a line each.

    Raises:
        EngineError: nodes run in another precision; names them.
    """
    checked = {node: asked for node, asked in wanted.items() if asked != "fp32"}
    if checked and not layers:
        return ["the engine's inspector describes no layers, so their precision is not checked"]
    carriers = defaultdict(list)
    for layer in layers:
        for node in layer.nodes & checked.keys():
            carriers[node].append(layer)
    verdicts = {node: _verdict(asked, carriers[node], wanted) for node, asked in checked.items()}
    wrong = {node: found for node, found in verdicts.items() if found not in ("", checked[node])}
    if wrong:
        raise _refusal(wrong, checked)
    unknown = [node for node, found in verdicts.items() if not found]
    if not unknown:
        return []
    return [
        f"the precision of {len(unknown)} of {len(checked)} nodes cannot be told from the engine's "
        f"layers ({_names(unknown)})"
    ]


def _verdict(asked: str, layers: Sequence[EngineLayer], wanted: Mapping[str, str]) -> str:
    """`asked`, the precision found instead, or empty when the layers do not tell."""
    enough = {"int8", asked}  # an int8 product is not worse than what an fp16 node asks
    if any(layer.reads & enough for layer in layers):
        return asked
    if asked == "fp16" and any(asked in layer.writes for layer in layers):
        return asked  # reads FP32 because a cast was fused into it
    products = [layer for layer in layers if layer.is_product]
    # A kernel of nodes that ask different things tells nothing of each.
    told = all(
        p.is_told and {wanted[n] for n in p.nodes & wanted.keys()} == {asked} for p in products
    )
    if any(layer.is_region for layer in layers) or not told:
        return ""
    return "/".join(sorted(frozenset().union(*(layer.reads for layer in products))))


def _refusal(wrong: Mapping[str, str], checked: Mapping[str, str]) -> EngineError:
    node = next(iter(wrong))
    asked, found = checked[node], wrong[node]
    alike = [each for each in wrong if (checked[each], wrong[each]) == (asked, found)]
    remedy = (
        "TensorRT did not fuse the Q/DQ there, so int8 gains nothing: keep those nodes float, or "
        "build another precision"
        if asked == "int8"
        else "the graph's types are not FP16 there: lower it again for this target"
    )
    return EngineError(f"{_names(alike)} came out in {found}, the graph asks for {asked}; {remedy}")


def _names(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
    return ", ".join(nodes[:_SHOWN]) + more
