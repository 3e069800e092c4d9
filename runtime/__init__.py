"""Run a verified engine on images: the part of Vitrine that is deployed.

Importing this package loads numpy and the standard library only; a back end is
imported when an engine loads, and Pillow when the first image is resized or read.
"""

from __future__ import annotations

from runtime.engine import Engine
from runtime.errors import EngineError
from runtime.preprocess import Preprocess

__all__ = ["Engine", "EngineError", "Preprocess"]
