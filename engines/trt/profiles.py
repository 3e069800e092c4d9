"""Optimisation profiles: the ranges of shapes that an engine is built for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engines.trt.plan_order import Profile, Shape
from runtime.errors import EngineError, one_line

if TYPE_CHECKING:
    import tensorrt as trt


def add_profiles(
    profiles: Sequence[Profile],
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
) -> None:
    """Adds each profile to `config`.

    Raises:
        EngineError: a profile does not fit the network's inputs, or an input whose shape is open
            has none.
    """
    import tensorrt as trt

    inputs = _inputs(network)
    if not profiles:
        _check(Profile({}), inputs)
    for profile in profiles:
        _check(profile, inputs)
        made = builder.create_optimization_profile()
        try:
            for name, shapes in profile.shapes.items():
                made.set_shape(name, *(trt.Dims(list(shape)) for shape in shapes))
        except RuntimeError as error:  # what NVIDIA's binding makes of false
            raise EngineError(
                f"TensorRT refuses the shapes {dict(profile.shapes)} ({one_line(error)}); give "
                "others"
            ) from error
        if config.add_optimization_profile(made) < 0:
            raise EngineError(
                f"TensorRT refuses the profile {dict(profile.shapes)}; give a range for each input"
            )


def _inputs(network: trt.INetworkDefinition) -> dict[str, Shape]:
    """Inputs of the network: name -> shape, -1 where an axis is open."""
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    return {each.name: tuple(each.shape[i] for i in range(len(each.shape))) for each in tensors}


def _check(profile: Profile, inputs: dict[str, Shape]) -> None:
    """Refuses what TensorRT would only tell in its log, after minutes."""
    if unknown := sorted(profile.shapes.keys() - inputs.keys()):
        raise EngineError(
            f"a profile names input {unknown[0]}, the graph has {', '.join(inputs)}; name one of "
            "those"
        )
    for name, shape in inputs.items():
        if name not in profile.shapes:
            if -1 in shape:
                raise EngineError(
                    f"input {name} has shape {shape} and a profile gives no range for it; give the "
                    "smallest, usual and largest"
                )
            continue
        for given in profile.shapes[name]:
            fits = len(given) == len(shape)
            if not fits or any(a not in (-1, b) for a, b in zip(shape, given, strict=True)):
                raise EngineError(
                    f"a profile gives input {name} the shape {given}, the graph has {shape}; keep "
                    "all but its open axes (-1)"
                )
