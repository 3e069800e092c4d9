"""The reference models, one module a family, and the conversion of their published weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.zoo.family import Family

FAMILIES = (
    "vit",
    "swin",
    "detr",
    "resnet",
    "vit_hybrid",
    "transpose",
    "setr",
    "ipt",
    "vtn",
    "istr",
    "clip",
    "clip_resnet",
    "imagegpt",
    "trackformer",
    "dalle",
)
"""Each is a module of this package with a `FAMILY`."""


def find_family(name: str) -> Family:
    """The family of that name, one of `FAMILIES`; its module is imported when first asked for."""
    family: Family = importlib.import_module(f"export.zoo.{name}").FAMILY
    return family


__all__ = ["FAMILIES", "find_family"]
