"""The typed graphs that a build measures, and those that it leaves out with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from calibration.quantise import decide
from engines.refusal import RefusedError
from engines.targets import Target, find_target
from export.answers import SingleImages
from export.calibration_limits import Judge, said
from export.int8_attention import with_int8_attention
from export.precision_choice import Say, Searched, search
from export.precision_file import read_precision_map
from export.request import Request
from export.samples import Sample, Split
from export.typed import Typed, float_parts_in_half, typed_graph
from export.weights import Reference
from runtime.preparation import Preparation

AUTO = ("int8", "fp16", "fp32")


@dataclass(frozen=True)
class Graphs:
    """What a build has to choose from.

    Attributes:
        typed: by precision.
        dropped: precision -> why there is no such graph.
        judge: of drift limits on the calibration images; None where none are searched for.
        searched: how the int8 graph was found; None where it was not searched.
        int8_attention: of a GPU, the int8 graph with attention in int8 too; None where too little
            of it is faithful.
    """

    typed: Mapping[str, Typed]
    dropped: Mapping[str, str] = field(default_factory=dict)
    judge: Judge | None = None
    searched: Searched | None = None
    int8_attention: Typed | None = None


def typed_graphs(
    request: Request,
    portable: ir.Model,
    reference: Reference,
    images: Split,
    judged: Sequence[Sample],
    target: Target,
    say: Say,
) -> Graphs:
    """The graphs of what was asked for, and a float one to say what it gained.

    That is FP32 on a CPU and FP16 on a GPU, where the float parts of INT8 are FP16 as well.

    Args:
        request: of the build.
        portable: the float graph.
        reference: the PyTorch model.
        images: of which the calibration images set ranges.
        judged: those that they were made of, on which a search measures drift: a tracker's clips,
            where `images` has frames of them. For most models they are the same.
        target: for which device. A search times layers on a CPU in either case: the device is not
            here, and only the order of the layers depends on it.
        say: told what is going on.

    Raises:
        RefusedError: INT8 was asked for and only the float graph keeps the limits.
        ValueError: a precision map that does not fit, or calibration images too few for a limit.
    """
    precision, on_gpu = request.precision, target.gpu is not None
    calibration = SingleImages(images.calibration, reference.preprocess)
    against = "fp16" if on_gpu and precision != "fp32" else "fp32"
    wanted = dict.fromkeys((*wanted_precisions(precision, target), against))
    typed: dict[str, Typed] = {}
    dropped: dict[str, str] = {}
    judge = _judge(request, reference, judged, say)
    searched: Searched | None = None
    attention: Typed | None = None
    for each in wanted:
        if each == "int8" and judge is not None:
            searched, why = _searched(request, portable, reference.preprocess, images, judge, say)
            if searched is None or searched.typed is None:
                dropped[each] = why
                continue
            typed[each] = searched.typed
        else:
            typed[each] = _typed(each, request, portable, calibration, say)
        if each == "int8" and on_gpu:
            attention = with_int8_attention(typed[each], calibration, say)
            say("scanning magnitudes of the float parts")
            typed[each] = float_parts_in_half(typed[each], calibration)
            attention = attention and float_parts_in_half(attention, calibration)
    return Graphs(typed, dropped, judge, searched, attention)


def wanted_precisions(precision: str, target: Target) -> tuple[str, ...]:
    """The precisions that a build may keep; on a GPU float32 is never the fastest."""
    if precision != "auto":
        return (precision,)
    return AUTO if target.gpu is None else ("int8", "fp16")


def _searched(
    request: Request,
    portable: ir.Model,
    preprocess: Preparation,
    images: Split,
    judge: Judge,
    say: Say,
) -> tuple[Searched | None, str]:
    """What a search for int8 gave, if one is worth it, and why there is no graph; else ""."""
    asked, samples = request.precision == "int8", images.calibration
    if few := _too_few(judge, len(samples)):
        if asked:
            raise ValueError(few)
        return None, few
    backend, batch = find_target("cpu").backends[0], 1 if preprocess.pad else 8
    found = search(
        portable, request.spec, samples, preprocess, judge, backend, batch, say, request.cache
    )
    if found.typed is not None:
        return found, ""
    why = _float_only(found)
    if asked:
        raise RefusedError(f"{why}; loosen the limit or build fp16")
    return found, why


def _typed(
    precision: str, request: Request, portable: ir.Model, calibration: SingleImages, say: Say
) -> Typed:
    spec, chosen = request.spec, None
    if precision == "int8":
        say(f"calibrating on {calibration.count} images")
        if request.precision_map is not None:
            chosen = read_precision_map(request.precision_map, spec.name, decide(portable, {}))
    elif precision == "fp16":
        say("scanning magnitudes for FP16")
    return typed_graph(precision, portable, spec, calibration, chosen, request.cache)


def _judge(
    request: Request, reference: Reference, samples: Sequence[Sample], say: Say
) -> Judge | None:
    """Of the limits that the int8 graph must keep; None where nothing is to be searched."""
    spec = request.spec
    searching = request.precision == "auto" or (request.precision == "int8" and request.max_drift)
    if not searching or request.precision_map is not None:
        return None
    limits = dict(request.max_drift)
    if reference.source["weights"] != "random":
        limits = {**spec.drift.get("int8", {}), **limits}
    if not limits:
        return None
    say(f"running PyTorch on {len(samples)} calibration images")
    return Judge(spec, reference, samples, limits, request.confidence)


def _too_few(judge: Judge, images: int) -> str:
    broken = [figure for figure in judge.of_the_reference() if not figure.holds]
    if not broken:
        return ""
    return (
        f"{images} calibration images cannot show even of PyTorch itself that it keeps the limit "
        f"({said(broken)}); give more with --images"
    )


def _float_only(searched: Searched) -> str:
    closest = max(searched.steps, key=lambda step: step.returned)
    return (
        f"no set of int8 layers keeps the limits; with {closest.returned} of "
        f"{len(searched.effects)} layers float: {said(closest.judged)}"
    )
