"""Images of texts, with an engine that knows a text and an image's codes as one sequence (DALL·E).

with Engine.load("engines/built/dalle_tiny_shapes-int8-cpu") as engine:
    [(frame,)] = generate(engine, ["a red star"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.engine_parts import graph_of
from runtime.errors import EngineError
from runtime.generation import Sampling
from runtime.pixels import Frame
from runtime.tasks.codes import codes_after
from runtime.tasks.embeddings import Embedding
from runtime.tasks.task import Graph
from runtime.zero_shot import embeddings_of, retrieve

if TYPE_CHECKING:
    from runtime.engine import Engine

_AT_ONCE = 8  # images: each has a cache of its own
_PARTS = ("step", "decoder")
_OUTPUTS = ("logits", "cache")
_COLOURS, _WHITE = 3, 255


def generate(
    engine: Engine,
    texts: Sequence[str],
    *,
    candidates: int = 1,
    rank_by: Engine | None = None,
    sampling: Sampling | None = None,
) -> list[list[Frame]]:
    """Draws images of texts.

    Args:
        engine: of a DALL·E, with its parts "step" and "decoder"; it stays the caller's to close.
        texts: any number.
        candidates: images of each text, all different draws.
        rank_by: an engine that embeds images and texts (a CLIP), by which the candidates of a text
            are put in order, the one nearest to the text first (Ramesh et al. 2021, section 2.6);
            None leaves them in the order of their draws.
        sampling: how codes are chosen, and the seed; None draws from the whole distribution with
            seed 0. The draws of an image depend on its number among all that are asked for.

    Returns:
        For each text its candidates, uint8 (H, W, 3) RGB of the size that the decoder draws.

    Raises:
        ValueError, TypeError: no number of candidates, not a text, one that is too long, or
            `rank_by` does not embed.
        EngineError: the engine is of another kind, or a back end fails.
    """
    if type(candidates) is not int or candidates < 1:
        raise ValueError(f"candidates is {candidates!r}; give an integer of at least 1")
    _check(engine)
    if not texts:
        return []
    words = engine.manifest.preprocess(texts).inputs["input_ids"]
    whole, step, decoder = graph_of(engine), *(graph_of(engine.part(name)) for name in _PARTS)
    queries = None if rank_by is None else embeddings_of(rank_by.part("text"), texts)
    found: list[Frame] = []
    count = len(texts) * candidates
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        owners = np.array(numbers) // candidates  # of which text each image is
        first = owners[0]
        outputs = whole.run({"input_ids": words[first : owners[-1] + 1]})
        _check_cache(outputs["cache"], step)
        outputs = {name: outputs[name][owners - first] for name in _OUTPUTS}
        codes = codes_after(words[owners], outputs, step, sampling or Sampling(), numbers)
        found += _frames(decoder, codes)
    drawn = [found[start : start + candidates] for start in range(0, count, candidates)]
    if rank_by is None or queries is None:
        return drawn
    return [_ranked(rank_by, query, frames) for query, frames in zip(queries, drawn, strict=True)]


def reconstruct(engine: Engine, frames: Sequence[Frame], *, pixels: str = "RGB") -> list[Frame]:
    """What is left of frames after they were codes: encoder, then decoder.

    Args:
        engine: of a DALL·E, with its parts "encoder" and "decoder".
        frames: uint8 (H, W, 3), of any sizes; resized as the encoder sees them.
        pixels: the frames' layout (`runtime.pixels`).

    Raises:
        ValueError, TypeError: something is not a frame.
        EngineError: the engine is of another kind, or a back end fails.
    """
    _check(engine)
    encoder, decoder = (graph_of(engine.part(name)) for name in ("encoder", "decoder"))
    encoder.preprocess.check(frames, pixels)
    found: list[Frame] = []
    for start in range(0, len(frames), _AT_ONCE):
        inputs = encoder.preprocess(frames[start : start + _AT_ONCE], pixels=pixels).inputs
        codes = encoder.run(inputs)["logits"].argmax(axis=1)
        found += _frames(decoder, codes.reshape(len(codes), -1))
    return found


def _check(engine: Engine) -> None:
    manifest = engine.manifest
    outputs = [output.name for output in manifest.outputs]
    if (
        manifest.task != "codes"
        or not {*_OUTPUTS} <= {*outputs}
        or not ({*_PARTS} <= manifest.parts.keys())
    ):
        raise EngineError(
            f"{manifest.model} is an engine for {manifest.task} with outputs {', '.join(outputs)} "
            f"and parts {', '.join(manifest.parts) or 'none'}; expected codes, with "
            f"{', '.join(_OUTPUTS)} and {', '.join(_PARTS)}: load a DALL·E's bundle"
        )


def _check_cache(cache: npt.NDArray[Any], step: Graph) -> None:
    """Refuse a cache that the step does not take, whose length is how many codes are drawn."""
    taken = step.preprocess.to_dict().get("shapes", {}).get("cache")
    if list(cache.shape[1:]) != taken:
        raise EngineError(
            f"found a cache of shape {cache.shape[1:]}, expected {taken}, which the part step "
            "takes; build the bundle again"
        )


def _frames(decoder: Graph, codes: npt.NDArray[np.int64]) -> list[Frame]:
    drawn: npt.NDArray[Any] = decoder.run({"codes": codes})["restored"]
    if drawn.ndim != 4 or drawn.shape[:2] != (len(codes), _COLOURS):
        raise EngineError(
            f"the part decoder draws {drawn.shape}, expected ({len(codes)}, {_COLOURS}, height, "
            "width); build the bundle again"
        )
    images = np.rint(np.nan_to_num(drawn).clip(0, 1) * _WHITE).astype(np.uint8)
    return list(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))


def _ranked(engine: Engine, query: Embedding, frames: Sequence[Frame]) -> list[Frame]:
    """A text's candidates, the nearest first."""
    (matches,) = retrieve([query], embeddings_of(engine, frames), top=len(frames))
    return [frames[match.candidate] for match in matches]
