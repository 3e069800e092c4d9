"""Run a verified engine on images: the part of Vitrine that is deployed.

Importing this package loads numpy and the standard library only; a back end is
imported when an engine loads, and Pillow when the first image is resized or read.
"""

from __future__ import annotations

import logging

from runtime.engine import Engine
from runtime.errors import EngineError
from runtime.pipeline import Pipeline
from runtime.preprocess import Preprocess

__all__ = ["Engine", "EngineError", "Pipeline", "Preprocess"]

# Silent until the application gives a handler to "vitrine" or the root logger.
logging.getLogger("vitrine").addHandler(logging.NullHandler())
