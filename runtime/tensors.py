"""Items that are a model's inputs already, such as features, or tokens with a cache."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.batch import WHOLE, Batch, Prepared
from runtime.preparation import Preparation, check_fields

Item = Mapping[str, npt.NDArray[Any]]
_MOST = 1 << 30  # elements of one item; the cache of a DALL·E of 12 billion takes 0.65e9
_INTEGERS = "int64"


@dataclasses.dataclass(frozen=True)
class Tensors(Preparation):
    """Stacks arrays by name; those that are shorter than the model's go on with zeros.

    An item maps each name to its array, without a batch axis: float32, or int64 of those in
    `integers`. Golden probes stay small where a cache is mostly empty.

    Attributes:
        shapes: by input name, without the batch axis; () of a scalar.
        integers: names of inputs that are int64.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "tensors"

    shapes: Mapping[str, tuple[int, ...]]
    integers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.shapes, Mapping) or not self.shapes:
            raise ValueError(
                f"preprocess.shapes is {self.shapes!r}; give the shape of each input by its name"
            )
        shapes = {name: _shape(name, shape) for name, shape in self.shapes.items()}
        object.__setattr__(self, "shapes", shapes)
        elements = sum(map(math.prod, shapes.values()))
        if elements > _MOST:
            raise ValueError(
                f"preprocess.shapes is of {elements} elements in all; give at most {_MOST}"
            )
        if not isinstance(self.integers, (list, tuple)) or not set(self.integers) <= set(shapes):
            raise ValueError(
                f"preprocess.integers is {self.integers!r}; give names among {', '.join(shapes)}"
            )
        object.__setattr__(self, "integers", tuple(self.integers))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Tensors:
        """See `Preparation`."""
        check_fields(cls.kind, record, ("shapes", "integers"), needed="shapes")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """See `Preparation`."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"kind": self.kind, "shapes": shapes, "integers": list(self.integers)}

    @property
    def example(self) -> dict[str, npt.NDArray[Any]]:
        """See `Preparation`; integers are 0."""
        random = np.random.default_rng(0)
        return {
            name: np.zeros(shape, np.int64)
            if name in self.integers
            else random.standard_normal(shape, np.float32)
            for name, shape in self.shapes.items()
        }

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """See `Preparation`."""
        for item in items:
            self._check(item)

    def prepare(self, item: Item, pixels: str = "RGB") -> Prepared:
        """The arrays of one item at their full lengths, in an array of one object."""
        self._check(item)
        whole = np.empty(1, object)
        whole[0] = {name: self._lengthened(name, array) for name, array in item.items()}
        return Prepared(whole, (0, 0), (WHOLE,))

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """See `Preparation`."""
        if len(prepared) == 0:
            raise ValueError("found no items; a batch needs at least one")
        items = [one.images[0] for one in prepared]
        inputs = {name: np.stack([item[name] for item in items]) for name in self.shapes}
        count = len(items)
        return Batch(inputs, [(0, 0)] * count, [WHOLE] * count, [1] * count)

    def _check(self, item: Any) -> None:
        if not isinstance(item, Mapping) or item.keys() != self.shapes.keys():
            found = sorted(item) if isinstance(item, Mapping) else type(item).__name__
            raise TypeError(f"an item is {found}; give arrays for {', '.join(self.shapes)}")
        for name, array in item.items():
            self._check_array(name, array)

    def _check_array(self, name: str, array: Any) -> None:
        shape, dtype = self.shapes[name], _INTEGERS if name in self.integers else "float32"
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{name} is {found}; give a numpy array of {dtype}")
        if array.ndim != len(shape) or any(a > b for a, b in zip(array.shape, shape, strict=True)):
            raise ValueError(f"{name} has shape {array.shape}; give at most {shape}")

    def _lengthened(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        shape = self.shapes[name]
        missing = [(0, b - a) for a, b in zip(array.shape, shape, strict=True)]
        return np.pad(array, missing) if missing else array


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(name, str) or not isinstance(shape, (list, tuple)):
        raise TypeError(f"preprocess.shapes.{name} is {shape!r}; give a list of lengths")
    if not all(type(axis) is int and axis > 0 for axis in shape) or math.prod(shape) > _MOST:
        raise ValueError(
            f"preprocess.shapes.{name} is {shape!r}; give positive lengths, of {_MOST} elements "
            "at most"
        )
    return tuple(shape)
