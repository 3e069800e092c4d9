"""The precision search on a model: sensitivities, times and trials.

An int8 graph flatters itself on the images that set its ranges: its errors there are smaller than
on others. So trials are judged by cross-fitting: each half of the calibration images runs in a
graph that was calibrated on the other half. The graph that is built is calibrated on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from calibration.attention import attentions
from calibration.layer_effects import layer_effects
from calibration.layer_shapes import LayerShape
from calibration.precision import PrecisionMap
from calibration.precision_search import Step, fewest_returned, return_order
from calibration.quantise import quantise
from calibration.switchable import Switchable
from engines.layer_cost import LinearCase, saved_milliseconds
from export.answers import Arrays, Run, SingleImages
from export.calibration_limits import Figure, Judge, said
from export.samples import Sample
from export.spec import ModelSpec
from export.typed import Typed, linear_shapes, measured, preset_map
from runtime.preparation import Preparation

_EFFECT_IMAGES = 8
_SCORES_FLOAT = "returned by the search: no linear could be int8 beside int8 queries and keys"
Say = Callable[[str], None]
Trial = Step[tuple[Figure, ...]]


@dataclass(frozen=True)
class Searched:
    """The outcome of a search.

    Attributes:
        typed: the graph with the fewest layers returned to float that keeps the limits; None
            when only the float graph does.
        effects: squared relative error of the outputs with that layer alone in int8.
        saved_ms: milliseconds that int8 saves at that layer alone.
        steps: what was tried.
        int8_share: share of the linears' multiply-accumulates that run in int8.
        backend: in which layers were timed.
        batch: with how many images.
    """

    typed: Typed | None
    effects: Mapping[str, float]
    saved_ms: Mapping[str, float]
    steps: Sequence[Trial]
    int8_share: float
    backend: str
    batch: int


def search(
    portable: ir.Model,
    spec: ModelSpec,
    samples: Sequence[Sample],
    preprocess: Preparation,
    judge: Judge,
    backend: str,
    batch: int,
    say: Say,
    cache: Path | None = None,
) -> Searched:
    """Returns layers to float until the limits hold on the calibration images.

    Args:
        portable: the float graph.
        spec: the model's record.
        samples: the calibration images.
        preprocess: of the model.
        judge: of the limits, on what the samples were made of, in the same order.
        backend: in which layers are timed.
        batch: of how many images layers are timed.
        say: told what is going on.
        cache: folder of calibrations that earlier builds kept.
    """
    shapes = linear_shapes(portable, SingleImages(samples, preprocess))
    preset = preset_map(portable, spec, shapes)
    calibrated_names = [name for name, entry in preset.items() if entry["type"] == "int8"]
    # All queries and keys stay int8, unless no linear could with them: they cost logits 1e-4.
    attention = [name for name in attentions(portable) if name in calibrated_names]
    names = [name for name in calibrated_names if name not in attention]
    say(f"calibrating {len(names)} linears on each half of {len(samples)} images")
    graphs = []
    for half in (0, 1):
        others = SingleImages(samples[1 - half :: 2] or samples, preprocess)
        calibrated = measured(portable, calibrated_names, others, spec, cache)
        graphs.append(Switchable(calibrated, names, attention))
    unseen = SingleImages(samples[::2], preprocess)
    say(f"measuring the effect of each of {len(names)} layers on {_EFFECT_IMAGES} images")
    effects = layer_effects(graphs[0], names, unseen, _EFFECT_IMAGES)
    say(f"timing {len(names)} layers on {backend} in float and int8")
    saved = saved_milliseconds({name: _case(shapes[name], batch) for name in names}, backend)
    order = return_order(effects, saved)

    returned, steps = _fewest(graphs, order, attention, judge, say)
    if returned == len(order) and attention:
        say("queries and keys return to float")
        attention = []
        returned, steps = _fewest(graphs, order, attention, judge, say)
    int8 = set(order[returned:])
    work = {name: shape.macs for name, shape in shapes.items()}
    share = sum(work[name] for name in int8) / sum(work.values())
    typed = None
    if int8:
        say(f"calibrating on {len(samples)} images")
        everything = SingleImages(samples, preprocess)
        calibrated = measured(portable, calibrated_names, everything, spec, cache)
        whys = {name: _why(effects[name], saved[name], batch, name in int8) for name in names}
        chosen = {*int8, *attention}
        typed = Typed(quantise(calibrated, chosen), _explained(preset, chosen, whys))
    return Searched(typed, effects, saved, steps, share, backend, batch)


def _fewest(
    graphs: Sequence[Switchable],
    order: Sequence[str],
    attention: Sequence[str],
    judge: Judge,
    say: Say,
) -> tuple[int, Sequence[Trial]]:
    """How many of `order` return to float until the limits hold, and what was tried."""

    def trial(returned: int) -> tuple[bool, tuple[Figure, ...]]:
        int8 = [*order[returned:], *attention]
        figures = judge.of(*(_runs(graph, int8) for graph in graphs))
        say(f"{returned} of {len(order)} layers float: " + said(figures))
        return all(figure.holds for figure in figures), figures

    return fewest_returned(len(order), trial)


def _runs(graph: Switchable, int8: Sequence[str]) -> Run:
    """The graph with a set of int8 layers as a function from inputs to outputs."""

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(graph.outputs, graph.run(inputs, int8), strict=True))

    return run


def _case(shape: LayerShape, batch: int) -> LinearCase:
    # Every linear's input has the batch in its first axis, alone or times windows or tokens.
    source = (batch * shape.source[0], *shape.source[1:])
    return LinearCase(shape.operator, source, shape.weight, shape.attributes)


def _explained(
    preset: PrecisionMap, int8: Collection[str], whys: Mapping[str, str]
) -> PrecisionMap:
    """The presets' map with the types that were chosen, and the reasons that there are."""
    found = {}
    for name, entry in preset.items():
        if entry["type"] != "int8":
            found[name] = entry
        elif name in int8:
            found[name] = {"type": "int8", "why": whys.get(name, entry["why"])}
        else:
            found[name] = {"type": "fp32", "why": whys.get(name, _SCORES_FLOAT)}
    return found


def _why(effect: float, saved: float, batch: int, int8: bool) -> str:
    figures = f"alone adds {effect:.1e} to the outputs' squared error"
    time = f"saves {saved:.3f} ms" if saved > 0 else "saves no time"
    if int8:
        return f"{figures}, {time} at batch {batch}"
    return f"returned by the search: in int8 {figures}, {time} at batch {batch}"
