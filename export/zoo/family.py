"""What the pipeline has to know of a model family, and nothing of it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from export.zoo.reference import ReferenceClass

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class Convention:
    """One published way to name a family's tensors.

    Attributes:
        name: "timm", "torchvision" or "Hugging Face", as messages show it.
        marker: a tensor name that only this convention has.
        convert: renames (and splits) to Hugging Face names; leaves unknown names as they are,
            so that the loader can list them.
    """

    name: str
    marker: str
    convert: Callable[[Mapping[str, Tensor]], StateDict]


@dataclass(frozen=True)
class Family:
    """A family of models that share a reference class.

    Attributes:
        reference: builds the reference.
        outputs: names of the graph outputs, keys of what the reference returns.
        ragged: whether images of one batch may differ in size, so that the graph takes a
            `pixel_mask` and its height and width are dynamic.
        use_operators: puts the `vitrine` operators into a reference module, in place.
        conventions: the tensor namings this family understands besides the reference's own.
    """

    reference: ReferenceClass
    outputs: tuple[str, ...]
    ragged: bool
    use_operators: Callable[[nn.Module], None]
    conventions: tuple[Convention, ...] = ()


def split_qkv(name: str, tensor: Tensor, targets: tuple[str, str, str]) -> StateDict:
    """One stacked projection, (3C, …), as three of (C, …); `name` ends in weight or bias."""
    suffix = name.rpartition(".")[2]
    parts = zip(targets, tensor.chunk(3), strict=True)
    return {f"{target}.{suffix}": part.contiguous() for target, part in parts}


def rename(name: str, table: Mapping[str, str]) -> str:
    """`name` with its longest prefix found in `table` replaced; unchanged when none is."""
    for prefix in sorted(table, key=len, reverse=True):
        if name == prefix or name.startswith(prefix + "."):
            return table[prefix] + name[len(prefix) :]
    return name
