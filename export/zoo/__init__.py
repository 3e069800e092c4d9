"""The reference models, one module a family, and the conversion of their published weights."""

from __future__ import annotations

from export.zoo import detr, swin, vit
from export.zoo.family import Family

FAMILIES: dict[str, Family] = {"vit": vit.FAMILY, "swin": swin.FAMILY, "detr": detr.FAMILY}

__all__ = ["FAMILIES", "Family"]
