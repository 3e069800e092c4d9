"""One build, in the child process: parse, configure, build, inspect, write."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engines.trt.build_failure import RETRY, explain
from engines.trt.build_options import apply_options
from engines.trt.inspection import EngineLayer, count_precisions, read_layers
from engines.trt.installation import Installed, look
from engines.trt.listeners import Messages, make_logger, make_monitor
from engines.trt.parsing import load_plugins, parse
from engines.trt.plan_order import Plan, PlanOrder
from engines.trt.precision_check import check_precision
from engines.trt.profiles import add_profiles
from engines.trt.timing_cache import cache_file, keep_cache, use_cache
from runtime.backends.tensorrt_tensors import read_tensors
from runtime.errors import EngineError, one_line

if TYPE_CHECKING:
    import tensorrt as trt

_WARNINGS = 3  # of TensorRT's, kept as notes


def build(order: PlanOrder, say: Callable[[str], None], cancelled: Callable[[], bool]) -> Plan:
    """Builds `order.plan`, directly under that name.

    Args:
        order: what to build.
        say: told of each stage, from any thread.
        cancelled: asked during the build; true stops it.

    Raises:
        EngineError: see `engines.tensorrt.build_plan`.
    """
    here = look()
    if here.problems:
        raise EngineError(here.problems[0])
    messages = Messages()
    logger = make_logger(messages)
    say(f"TensorRT {here.tensorrt} reads {order.onnx.name}")
    started = time.monotonic()
    plan, notes = _network_to_plan(order, here, logger, messages, say, cancelled)
    seconds = time.monotonic() - started
    say("inspecting the engine")
    layers = _inspect(plan, order, logger, messages)
    notes += check_precision(layers, order.precision_map)
    warnings = list(messages.warnings)[:_WARNINGS]
    notes += [f"TensorRT warns: {one_line(Warning(text))}" for text in warnings]
    with order.plan.open("wb") as file:
        file.write(memoryview(plan))
        file.flush()
        os.fsync(file.fileno())
    return Plan(
        order.plan, here.tensorrt, here.device, here.compute_capability, seconds, plan.nbytes,
        count_precisions(layers), notes, sum(layer.is_attention for layer in layers),
    )  # fmt: skip


def _network_to_plan(
    order: PlanOrder,
    here: Installed,
    logger: trt.ILogger,
    messages: Messages,
    say: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> tuple[trt.IHostMemory, list[str]]:
    """The serialised engine, and notes.

    Apart from `build`, so that the builder's memory is free again before the engine loads.
    """
    load_plugins(order.plugins, messages)
    builder = _make_builder(logger, messages)
    network = parse(order.onnx, bool(order.plugins), builder, logger)
    config = _configure(order, builder)
    notes = apply_options(order.options, config, here)
    add_profiles(order.profiles, builder, network, config)
    cache = order.timing_cache and cache_file(order.timing_cache, here)
    if cache:
        notes.append(use_cache(cache, config))
    monitor = make_monitor(say, cancelled)  # must outlive the build
    config.progress_monitor = monitor
    messages.record.take()  # what the parser got over is not why a build fails
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if cancelled():
            raise EngineError("the build was cancelled; no plan was written")
        raise explain(messages.failures(), here, order.workspace)
    if cache:
        notes.append(keep_cache(cache, config))
    return plan, [note for note in notes if note]


def _make_builder(logger: trt.ILogger, messages: Messages) -> trt.Builder:
    import tensorrt as trt

    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # pybind11's word for a factory that gave nothing
        reason = messages.last_error or one_line(error)
        raise EngineError(
            f"TensorRT {getattr(trt, '__version__', '')} cannot start ({reason}); its CUDA must be "
            "one that the driver supports, and a GPU must be free: see `vitrine doctor`"
        ) from error
    builder.error_recorder = messages.record.recorder()
    return builder


def _configure(order: PlanOrder, builder: trt.Builder) -> trt.IBuilderConfig:
    import tensorrt as trt

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace)
    config.builder_optimization_level = order.optimisation_level
    # Without it the inspector gives names only, and precision could not be checked.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default: FP32 products in TF32, which has FP16's 11 bits of significand.
    config.clear_flag(trt.BuilderFlag.TF32)
    return config


def _inspect(
    plan: trt.IHostMemory, order: PlanOrder, logger: trt.ILogger, messages: Messages
) -> list[EngineLayer]:
    """The layers of a plan, which is loaded once to see that it loads at all.

    `IEngineInspector::setExecutionContext` (NvInferRuntime.h): without a context in known shapes
    the inspector tells no types of what depends on open ones.
    """
    import tensorrt as trt

    messages.record.take()  # what the build got over
    runtime = trt.Runtime(logger)
    runtime.error_recorder = messages.record.recorder()
    runtime.engine_host_code_allowed = "version-compatible" in order.options
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        failures = messages.failures()
        short = any(error.is_memory for error in failures)
        remedy = "close other programs or give a smaller largest batch" if short else RETRY
        raise EngineError(
            f"the engine was built and does not load ({one_line(Warning(failures[0].text))}); no "
            f"plan was written; {remedy}"
        )
    inspector = engine.create_engine_inspector()
    # It runs nothing, so its activations get no memory.
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    context = engine.create_execution_context(strategy)  # must outlive the inspection
    if context is not None:  # else the names of kernels have to do
        for tensor in read_tensors(engine)[0]:
            largest = tensor.profiles[0][-1]
            context.set_input_shape(tensor.name, largest)
        inspector.execution_context = context
    return read_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
