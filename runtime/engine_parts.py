"""Engines as graphs of one model, and further ones, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.bundle import Bundle
from runtime.errors import EngineError
from runtime.pieces import in_pieces
from runtime.tasks.task import Graph, Outputs

if TYPE_CHECKING:
    from runtime.engine import Engine


def graph_of(engine: Engine) -> Graph:
    """The engine's graph for any number of items, and what prepares its inputs."""

    def run(inputs: Outputs) -> Outputs:
        with engine.hold() as model:
            return in_pieces(model.infer, inputs, model.max_batch)

    return Graph(run, engine.manifest.preprocess)


class Parts:
    """The parts of whatever bundle is in use; its owner lets one thread at a time change them."""

    def __init__(self, load: Callable[[Path, str], Engine]) -> None:
        """Args: load: a part's folder and the sha256 of its manifest -> its engine."""
        self._load = load
        self._loaded: dict[str, tuple[Bundle, Engine]] = {}

    def loaded(self, bundle: Bundle, name: str) -> Engine | None:
        """The engine of a part where it is loaded already, of that very bundle, at any time."""
        whole, engine = self._loaded.get(name, (None, None))
        return engine if whole is bundle else None

    def get(self, bundle: Bundle, name: str) -> Engine:
        """The engine of a part; `EngineError` when the bundle has none of that name."""
        expected = bundle.manifest.parts.get(name)
        if expected is None:
            known = ", ".join(bundle.manifest.parts) or "none"
            raise EngineError(f"found no part {name!r} of {bundle.path}; it has {known}")
        if name not in self._loaded:
            self._loaded[name] = bundle, self._load(bundle.path / name, expected)
        return self._loaded[name][1]

    def close(self) -> None:
        """Close those that were loaded; they are loaded anew when they are asked for again."""
        gone, self._loaded = self._loaded, {}  # none is given away while others are closed
        for _, engine in gone.values():
            engine.close()
