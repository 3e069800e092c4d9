"""What the pipeline has to know of a model family, and nothing of it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from export.zoo.reference import ReferenceClass

if TYPE_CHECKING:
    from export.samples import Sample
    from export.weights import Reference
    from runtime.preparation import Preparation

StateDict = dict[str, Tensor]
Samples: TypeAlias = "Callable[[Reference, Sequence[Sample]], Sequence[Sample]]"


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
class Part:
    """A further graph of a family's reference; it becomes a bundle within the bundle.

    Attributes:
        module: the reference module -> the part, which shares its weights; called with the
            graph's inputs by keyword, it returns its outputs by name.
        outputs: names of the graph outputs.
        samples: the reference, samples of the family's main graph -> the part's own.
        check: the reference module and the part's preprocessing; ValueError where trained weights
            and a file of the preprocessing do not belong together.
    """

    module: Callable[[nn.Module], nn.Module]
    outputs: tuple[str, ...]
    samples: Samples
    check: Callable[[nn.Module, Preparation], None] | None = None


def _itself(module: nn.Module) -> nn.Module:
    return module


@dataclass(frozen=True)
class Family:
    """A family of models that share a reference class.

    Attributes:
        reference: builds the reference.
        outputs: names of the graph outputs, keys of what the main module returns.
        ragged: whether images of one batch may differ in size, so that the graph takes a
            `pixel_mask` and its height and width are dynamic.
        use_operators: puts the `vitrine` operators into a reference module, in place.
        conventions: the tensor namings this family understands besides the reference's own.
        main: the reference module -> what of it the main graph is made of.
        parts: further graphs, by name.
        with_state: the reference, samples -> the samples that calibration and golden probes see,
            one for each in the same order, where the graph also takes what it gave for an earlier
            frame.
    """

    reference: ReferenceClass
    outputs: tuple[str, ...]
    ragged: bool
    use_operators: Callable[[nn.Module], None]
    conventions: tuple[Convention, ...] = ()
    main: Callable[[nn.Module], nn.Module] = _itself
    parts: Mapping[str, Part] = field(default_factory=dict)
    with_state: Samples | None = None

    def of_part(self, name: str) -> Family:
        """The same family with a part for its main graph."""
        part = self.parts[name]
        return replace(self, outputs=part.outputs, main=part.module, parts={}, with_state=None)


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
