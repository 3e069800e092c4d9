"""Typed ONNX to a TensorRT engine.

Precision lives in the graph: networks are strongly typed, so one way of building serves TensorRT
10.3 to 11.x and nothing here chooses a precision. TensorRT works in a child process (see
`engines.trt`); this module needs neither it nor a GPU to be imported.

None of this has run on a real TensorRT: it is type-checked against NVIDIA's bindings 10.3.0 and
11.4.0 and tested on a hand-written fake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engines.trt.build_options import OPTIONS
from engines.trt.child_process import run_child
from engines.trt.plan_order import Plan, PlanOrder, Profile, order_to_json
from runtime.errors import EngineError

__all__ = ["OPTIONS", "Plan", "PlanOrder", "Profile", "build_plan"]


def build_plan(order: PlanOrder, say: Callable[[str], None]) -> Plan:
    """Builds `order.plan`, which is replaced only when the whole build went well.

    Args:
        order: what to build.
        say: told of each stage, for a progress bar.

    Raises:
        EngineError: a missing file; TensorRT missing, too old, too new or for another CUDA; a
            graph, profile or option it refuses; memory that ran out; a crash in native code; or
            an engine that computes in another precision than the graph asks for.
        KeyboardInterrupt: after the build has been cancelled; nothing is left behind.
    """
    for path, remedy in (
        (order.onnx, "export the model first"),
        *((library, "compile the plugins first") for library in order.plugins),
    ):
        if not path.is_file():
            raise EngineError(f"{path} is not a file, and TensorRT builds with it; {remedy}")
    order.plan.parent.mkdir(parents=True, exist_ok=True)
    unfinished = order.plan.with_name(f".{order.plan.name}.building")
    try:
        record = run_child({"build": order_to_json(replace(order, plan=unfinished))}, say)
        unfinished.replace(order.plan)
    finally:
        unfinished.unlink(missing_ok=True)
    return Plan(**{**record, "file": order.plan})
