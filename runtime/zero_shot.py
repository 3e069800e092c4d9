"""Classes and searches in plain words, with an engine that embeds images and texts (CLIP).

with Engine.load("engines/built/clip_vit_b_32-int8-cpu") as engine:
    probabilities = zero_shot(engine, frames, ["a photo of a cat", "a photo of a dog"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.engine import Engine
from runtime.pixels import Frame
from runtime.tasks.embeddings import Embedding
from runtime.tasks.scores import softmax


class Match(NamedTuple):
    """What was found: which of the candidates, by index, and its cosine to the query."""

    candidate: int
    cosine: float


class ZeroShot:
    """A classifier made of one prompt for each class, which is embedded once.

    Attributes:
        prompts: in the order of the probabilities.
    """

    def __init__(self, engine: Engine, prompts: Sequence[str]) -> None:
        """Embed the prompts.

        Args:
            engine: of the image tower, with the text tower as its part "text"; it stays the
                caller's to close.
            prompts: one or more, such as "a photo of a dog".

        Raises:
            ValueError, TypeError: no prompts, not texts, a text that is too long, or an engine
                that does not embed.
            EngineError: the bundle has no text tower, or the back end fails.
        """
        if not prompts:
            raise ValueError("found no prompts; give at least one")
        texts = embeddings_of(engine.part("text"), prompts)
        self.prompts = tuple(prompts)
        self._engine = engine
        # A scaled embedding is a class's weights (Radford et al. 2021, section 3.1.2).
        self._weights = np.stack([(text.scale or 1.0) * text.vector for text in texts], axis=1)

    def __call__(self, frames: Sequence[Frame], *, pixels: str = "RGB") -> npt.NDArray[np.float32]:
        """Probabilities of the prompts, (frames, prompts), in sum 1 for each frame.

        Args:
            frames: as `Engine` takes them.
            pixels: their layout.
        """
        images = embeddings_of(self._engine, frames, pixels)
        vectors = np.array([image.vector for image in images], np.float32)
        return softmax(vectors.reshape(-1, len(self._weights)) @ self._weights)


def zero_shot(
    engine: Engine, frames: Sequence[Frame], prompts: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Which of the prompts describes each frame: probabilities (frames, prompts).

    For more frames than fit into one list, make a `ZeroShot` once; see there for the errors.
    """
    return ZeroShot(engine, prompts)(frames)


def retrieve(
    queries: Sequence[Embedding], candidates: Sequence[Embedding], top: int = 5
) -> list[list[Match]]:
    """The candidates that are most alike to each query, the best first.

    Args:
        queries: of texts (`engine.part("text")(texts)`) or of frames (`engine(frames)`).
        candidates: likewise; frames for texts, texts for frames, or frames for frames.
        top: how many, where there are as many.

    Raises:
        ValueError: `top` is less than 1.
    """
    if top < 1:
        raise ValueError(f"top is {top}; give at least 1")
    if not queries or not candidates:
        return [[] for _ in queries]
    left, right = (np.stack([one.vector for one in side]) for side in (queries, candidates))
    cosines = left @ right.T
    # Stable, so that equal ones keep their order.
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    return [
        [Match(int(i), float(row[i])) for i in indices]
        for row, indices in zip(cosines, best, strict=True)
    ]


def embeddings_of(engine: Engine, items: Sequence[object], pixels: str = "RGB") -> list[Embedding]:
    """What an engine makes of images, or its part "text" of texts.

    Raises:
        ValueError, TypeError: an engine that does not embed, or something is no item of it.
        EngineError: the back end fails.
    """
    if engine.manifest.task != "embeddings":
        raise ValueError(
            f"found an engine for {engine.manifest.task}, expected one for embeddings; load a "
            "CLIP's bundle"
        )
    found = engine(items, pixels=pixels)
    return [one for one in found if isinstance(one, Embedding)]
