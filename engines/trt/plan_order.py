"""What a TensorRT build is asked for and what it gives back; both cross a pipe as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.trt.build_options import OPTIONS

Shape = tuple[int, ...]
PRECISIONS = ("int8", "fp16", "fp32")
_LEVELS = range(6)


@dataclass(frozen=True)
class Profile:
    """The shapes that one optimisation profile serves, and the one it is tuned for.

    Attributes:
        shapes: input -> (smallest, tuned for, largest), elementwise in that order.

    Raises:
        ValueError: they are not in that order, of unequal rank, or below 1.
    """

    shapes: Mapping[str, tuple[Shape, Shape, Shape]]

    def __post_init__(self) -> None:
        """Checks what TensorRT would only refuse after parsing."""
        for name, (least, tuned, most) in self.shapes.items():
            ranked = len(least) == len(tuned) == len(most)
            if not ranked or not all(
                1 <= a <= b <= c for a, b, c in zip(least, tuned, most, strict=True)
            ):
                raise ValueError(
                    f"profile of {name} is {least}, {tuned}, {most}; expected three shapes of one "
                    "rank, each axis at least 1 and not shrinking from the first to the last"
                )


@dataclass(frozen=True)
class PlanOrder:
    """One build.

    Attributes:
        onnx: the typed graph to build from.
        plan: where the engine goes; replaced only by a complete one.
        profiles: one for each image size, with the batch range; none where shapes are fixed.
        precision_map: ONNX node -> "int8", "fp16" or "fp32", as the graph has it, of linears and
            attention. The builder does not apply it: it checks that the engine follows it.
        workspace: most device memory that one layer may use as scratch, in bytes.
        plugins: plugin libraries to load before parsing.
        optimisation_level: 0 (quick build) to 5 (fastest engine).
        timing_cache: folder of kernel timings to reuse and add to; None keeps none.
        options: names of `build_options.OPTIONS`.

    Raises:
        ValueError: an unknown option or precision, a level or workspace out of range.
    """

    onnx: Path
    plan: Path
    profiles: Sequence[Profile]
    precision_map: Mapping[str, str]
    workspace: int
    plugins: Sequence[Path] = ()
    optimisation_level: int = 3
    timing_cache: Path | None = None
    options: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        """Checks values that do not depend on the machine."""
        for kind, found, known in (
            ("option", self.options, OPTIONS),
            ("precision", self.precision_map.values(), PRECISIONS),
        ):
            if unknown := sorted(set(found) - set(known)):
                raise ValueError(f"unknown {kind} {unknown[0]!r}; expected {', '.join(known)}")
        if self.optimisation_level not in _LEVELS:
            raise ValueError(f"optimisation level is {self.optimisation_level}; give 0 to 5")
        if self.workspace < 1:
            raise ValueError(f"workspace is {self.workspace} bytes; give a positive number")


def order_to_json(order: PlanOrder) -> dict[str, Any]:
    """`order` with absolute paths, because the child has another working folder."""
    return {
        "onnx": str(order.onnx.absolute()),
        "plan": str(order.plan.absolute()),
        "profiles": [dict(profile.shapes) for profile in order.profiles],
        "precision_map": dict(order.precision_map),
        "workspace": order.workspace,
        "plugins": [str(path.absolute()) for path in order.plugins],
        "optimisation_level": order.optimisation_level,
        "timing_cache": order.timing_cache and str(order.timing_cache.absolute()),
        "options": sorted(order.options),
    }


def order_from_json(record: Mapping[str, Any]) -> PlanOrder:
    """The inverse of `order_to_json`."""
    profiles = [
        Profile({name: (tuple(a), tuple(b), tuple(c)) for name, (a, b, c) in each.items()})
        for each in record["profiles"]
    ]
    cache = record["timing_cache"]
    return PlanOrder(
        **{
            **record,
            "onnx": Path(record["onnx"]),
            "plan": Path(record["plan"]),
            "profiles": profiles,
            "plugins": [Path(path) for path in record["plugins"]],
            "timing_cache": Path(cache) if cache else None,
            "options": frozenset(record["options"]),
        }
    )


@dataclass(frozen=True)
class Plan:
    """A built engine, as a manifest records it.

    Attributes:
        file: the plan.
        tensorrt: version that built it and that it needs, e.g. "10.3.0".
        device: name of the GPU, e.g. "Orin".
        compute_capability: e.g. "8.7".
        seconds: what the build took.
        size: of the file, in bytes.
        layers: precision -> number of the engine's layers that compute in it.
        notes: what each option costs, and what a reader of the build's log should know.
        fused_attention: how many of its layers compute attention as a whole, by their kernels'
            names; none says that products and softmax go through memory, or hide in a region.
    """

    file: Path
    tensorrt: str
    device: str
    compute_capability: str
    seconds: float
    size: int
    layers: Mapping[str, int]
    notes: Sequence[str]
    fused_attention: int = 0
