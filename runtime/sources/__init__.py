"""Where frames come from: files, cameras, streams and anything that yields arrays."""

from __future__ import annotations

from runtime.sources.opening import open_source
from runtime.sources.source import Item, Source

__all__ = ["Item", "Source", "open_source"]
