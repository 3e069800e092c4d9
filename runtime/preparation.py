"""What a model takes, and how it becomes a batch: one module for each kind of item.

The record of a manifest or of models.yaml names its `kind`; frames are what none means.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from runtime.batch import Batch, Prepared

KINDS = {
    "frames": ("runtime.preprocess", "Preprocess"),
    "texts": ("runtime.texts", "Texts"),
    "tensors": ("runtime.tensors", "Tensors"),
    "colours": ("runtime.colours", "Colours"),
    "clips": ("runtime.clips", "Clips"),
    "tracked": ("runtime.tracked", "Tracked"),
}
"""Kind -> the module and the class of its preparation, imported when first asked for."""


class Preparation(abc.ABC):
    """From items to a batch.

    Attributes:
        kind: of items, one of `KINDS`.
        pad: whether items of several sizes go into one batch.
    """

    kind: ClassVar[str]
    pad: bool = False

    @classmethod
    @abc.abstractmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preparation:
        """The inverse of `to_dict`; ValueError or TypeError, in one line, for anything else."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A record, made of JSON types only."""

    @property
    @abc.abstractmethod
    def example(self) -> Any:
        """An item of the usual size, for tracing and benchmarks; noise from a fixed seed."""

    @abc.abstractmethod
    def check(self, items: Sequence[Any], pixels: str) -> None:
        """Check that everything in a sequence is an item; ValueError or TypeError otherwise."""

    @abc.abstractmethod
    def prepare(self, item: Any, pixels: str = "RGB") -> Prepared:
        """One item for `collate`; ValueError or TypeError when it is none."""

    @abc.abstractmethod
    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """Prepared items as one batch; ValueError when there are none, or they do not fit."""

    def __call__(self, items: Sequence[Any], *, pixels: str = "RGB") -> Batch:
        """Make one batch.

        Args:
            items: frames, uint8 (H, W, 3), or what the kind takes; at least one.
            pixels: the layout of frames: "RGB", "BGR", "GREY" or "NV12" (`runtime.pixels`).

        Raises:
            ValueError, TypeError: no item, not an item, or frames that end up with different
                sizes although `pad` is off.
        """
        self.check(items, pixels)
        return self.collate([self.prepare(item, pixels) for item in items])

    @property
    def files(self) -> Mapping[str, bytes]:
        """What it has read, such as a tokenizer's file, by the name that a bundle has for it."""
        return {}

    def opened(self, path: Callable[[str], Path]) -> Preparation:
        """The same with its files read, from where `path` says that they are."""
        return self


def check_fields(kind: str, record: Mapping[str, Any], known: Sequence[str], needed: str) -> None:
    """Check that a record has no other fields than `known`, and the one that is needed.

    Raises:
        ValueError: it is otherwise.
    """
    unknown = sorted(str(key) for key in record if key not in known)
    if unknown or needed not in record:
        found = f"has {', '.join(unknown)}" if unknown else f"lacks {needed}"
        raise ValueError(f"preprocess of {kind} {found}; it knows {', '.join(known)}")


def read_preparation(record: Any) -> Preparation:
    """The preparation of a record.

    Raises:
        ValueError, TypeError: it is none, in one line.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"preprocess is {record!r}; give a mapping of its fields")
    fields = dict(record)
    kind = fields.pop("kind", "frames")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"preprocess.kind is {kind!r}; use one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: Preparation = getattr(importlib.import_module(module), name).from_dict(fields)
    return found
