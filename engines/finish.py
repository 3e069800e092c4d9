"""On the device: a kit becomes a bundle, or an answer why not.

Every graph of the kit is built into an engine; without TensorRT's Python, ONNX Runtime's GPU
providers open the primitive ones. Those that pass the golden probes here are measured in turn, and
the fastest is kept: which form of attention, and whether INT8 gains anything at all, differs
between devices and TensorRT versions. Nothing is written where it could be loaded before that.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engines.bundle_writer import BundleWriter, open_writer
from engines.candidates import Candidate, candidate_record, choose
from engines.device_check import check_device
from engines.finish_order import FinishOrder
from engines.kit import SOURCES, Kit, KitGraph
from engines.kit_reader import read_kit
from engines.plugin_archive import compile_from_archive
from engines.refusal import faster_float
from engines.targets import find_target
from engines.tensorrt import PlanOrder, build_plan
from engines.trials import Trial, engine_info, proved
from engines.trt.installation import Installed
from runtime.backends.tensorrt_machine import release
from runtime.bundle import KIT, file_sha256
from runtime.errors import EngineError, one_line
from runtime.golden import load_golden
from runtime.loading import GOLDEN, MODEL, PLAN, PLUGINS
from runtime.manifest import EngineInfo, Manifest

Say = Callable[[str], None]
_TENSORRT = "tensorrt"
_DRIFT = "drift.json"
# A kit has one of each, of the first graph that was asked for.
_OF_MAIN_PRECISION = ("report.html", "precision_map.yaml")
_ONNXRUNTIME = ("onnxruntime-tensorrt", "onnxruntime-cuda")


@dataclass(frozen=True)
class Finished:
    """What came out.

    Attributes:
        bundle: its folder; the `.rejected` one when it was refused.
        refused: why it was; empty when it was accepted.
        engine: the one that was kept.
        why: why it was.
        candidates: everything that was built, with the reason where it was not kept.
        notes: what a reader of the build's log should know.
    """

    bundle: Path
    refused: str
    engine: EngineInfo
    why: str
    candidates: Sequence[Candidate]
    notes: Sequence[str]


def finish(order: FinishOrder, say: Say, here: Installed | None = None) -> Finished:
    """Builds, proves, measures, chooses, and only then writes the bundle.

    Args:
        order: what to do.
        say: told of each stage.
        here: what `check_device` found for the kit's target; None asks it.

    Raises:
        EngineError: no kit, a damaged one, another device than its target, no engine that passes
            the golden probes, or what `engines.tensorrt.build_plan` says when nothing builds.
    """
    kit = read_kit(order.kit)
    target = find_target(kit.manifest.target)
    here = here or check_device(target)
    assert target.gpu is not None
    order = replace(order, workspace=order.workspace or target.gpu.workspace)
    with _writer(order.out, kit.name) as writer:
        refused = [
            f"part {name}: {part.refused}"
            for name, part in _parts(order, kit, here, writer, say)
            if part.refused
        ]
        return _finish(order, kit, here, writer, say, refused)


def _parts(
    order: FinishOrder, kit: Kit, here: Installed, writer: BundleWriter, say: Say
) -> Iterator[tuple[str, Finished]]:
    """Makes each kit within the kit a bundle within the bundle."""
    for name, expected in kit.manifest.parts.items():
        folder = order.kit / name
        part = read_kit(folder)
        if file_sha256(folder / KIT) != expected:
            raise EngineError(
                f"{folder / KIT} is not the one that was built; copy the kit again, whole"
            )
        say(f"part {name}")
        yield name, _finish(replace(order, kit=folder), part, here, writer.part(name), say, [])


@contextlib.contextmanager
def _writer(out: Path, name: str) -> Iterator[BundleWriter]:
    """`open_writer`, whose failure is the folder's."""
    with contextlib.ExitStack() as stack:
        try:
            writer = stack.enter_context(open_writer(out / name))
        except OSError as error:
            raise EngineError(
                f"{out} cannot be written ({one_line(error)}); give another --out"
            ) from error
        yield writer


def _finish(
    order: FinishOrder,
    kit: Kit,
    here: Installed,
    writer: BundleWriter,
    say: Say,
    refused_parts: Sequence[str],
) -> Finished:
    if here.tensorrt:
        built = [_with_tensorrt(graph, order, kit, here, writer, say) for graph in kit.graphs]
    else:
        say(f"without TensorRT ({here.problems[0]}), ONNX Runtime's GPU providers are tried")
        built = _with_onnxruntime(order, kit, here)
    trials = proved(built, kit, load_golden(order.kit / GOLDEN), say)
    candidates = [trial.candidate for trial in trials]
    wanted = [candidate for candidate in candidates if candidate.wanted]
    if all(candidate.obstacle for candidate in wanted):
        raise EngineError(f"no engine of this kit can be kept here: {_obstacles(wanted)}")
    kept, why = choose(candidates)
    slower = "" if order.keep_slower else faster_float(kept, candidates)
    refused = "; ".join(filter(None, [*refused_parts, slower]))
    trial = next(each for each in trials if each.candidate is kept)
    assert trial.engine is not None
    _keep(order, kit, trial, trials, writer)
    manifest = _manifest(kit, trial, trial.engine, why, candidates)
    finished = Finished(writer.folder, refused, trial.engine, why, candidates, _notes(trial))
    return replace(finished, bundle=writer.reject() if refused else writer.finish(manifest))


def _obstacles(candidates: Sequence[Candidate]) -> str:
    """Each once, after the names of those that met it."""
    met: dict[str, list[str]] = {}
    for candidate in candidates:
        met.setdefault(candidate.obstacle, []).append(candidate.name)
    return "; ".join(f"{', '.join(names)}: {obstacle}" for obstacle, names in met.items())


def _with_tensorrt(
    graph: KitGraph, order: FinishOrder, kit: Kit, here: Installed, writer: BundleWriter, say: Say
) -> Trial:
    """An engine of a graph, or why this device cannot build one of it."""
    candidate = Candidate(
        graph.precision, _TENSORRT, graph.wanted, version=here.tensorrt, form=graph.form
    )
    trial = Trial(graph, candidate)
    say(f"{candidate.name}: building")
    try:
        if release(here.tensorrt) < graph.tensorrt:
            oldest = ".".join(map(str, graph.tensorrt))
            raise EngineError(f"needs TensorRT {oldest}, found {here.tensorrt}")
        if graph.form == "plugin":
            trial = replace(trial, plugins=(_library(order, here, writer, say),))
        plan = build_plan(_plan_order(order, kit, trial, writer), say)
    except EngineError as error:
        return replace(trial, candidate=replace(candidate, obstacle=str(error)))
    engine = engine_info(_TENSORRT, here, plan.tensorrt, order.options)
    return replace(trial, model=plan.file, engine=engine, plan=plan)


def _with_onnxruntime(order: FinishOrder, kit: Kit, here: Installed) -> list[Trial]:
    """The primitive form of each precision; ONNX Runtime knows no plugin of ours."""
    import onnxruntime

    version = onnxruntime.__version__
    return [
        Trial(
            graph,
            Candidate(graph.precision, backend, graph.wanted, version=version, form=graph.form),
            order.kit / graph.file,
            engine_info(backend, here, version),
        )
        for graph in kit.graphs
        if graph.form == "primitives"
        for backend in _ONNXRUNTIME
    ]


def _library(order: FinishOrder, here: Installed, writer: BundleWriter, say: Say) -> Path:
    if writer.path(PLUGINS).exists():
        return writer.path(PLUGINS)
    return compile_from_archive(
        order.kit / SOURCES, writer.path(PLUGINS), here.compute_capability, order.headers, say
    )


def _plan_order(order: FinishOrder, kit: Kit, trial: Trial, writer: BundleWriter) -> PlanOrder:
    assert order.workspace is not None
    graph = trial.graph
    return PlanOrder(
        onnx=order.kit / graph.file,
        plan=writer.path(Path(graph.file).with_suffix(".plan").name),
        profiles=kit.profiles,
        precision_map={name: graph.precision_map[name]["type"] for name in graph.nodes},
        workspace=order.workspace,
        plugins=trial.plugins,
        optimisation_level=order.optimisation_level,
        timing_cache=order.out / ".timing-cache",
        options=order.options,
    )


def _keep(
    order: FinishOrder, kit: Kit, kept: Trial, trials: Sequence[Trial], writer: BundleWriter
) -> None:
    """Leaves in the bundle what belongs to the kept engine, and the kit's evidence."""
    for trial in trials:
        if trial.plan is not None and trial.model is not None:
            trial.model.rename(writer.path(PLAN)) if trial is kept else trial.model.unlink()
    if not kept.plugins:
        writer.path(PLUGINS).unlink(missing_ok=True)
    shutil.copyfile(order.kit / kept.graph.file, writer.path(MODEL))
    left_behind = {SOURCES, _DRIFT, *(graph.file for graph in kit.graphs)}
    if kept.graph.measured_as != kit.manifest.precision:
        left_behind |= set(_OF_MAIN_PRECISION)
    for name in set(kit.manifest.files) - left_behind:
        shutil.copyfile(order.kit / name, writer.path(name))
    drift = json.dumps(kit.evidence[kept.graph.measured_as].drift, indent=2, sort_keys=True)
    writer.path(_DRIFT).write_text(drift + "\n", encoding="utf-8")


def _notes(kept: Trial) -> Sequence[str]:
    if kept.plan is None:
        return ()
    fused = f"{kept.plan.fused_attention} layers are fused attention, by their kernels' names"
    return (*kept.plan.notes, fused)


def _manifest(
    kit: Kit, kept: Trial, engine: EngineInfo, why: str, candidates: Sequence[Candidate]
) -> Manifest:
    latency: dict[str, Any] = {
        "kept": why,
        "candidates": [candidate_record(candidate) for candidate in candidates],
    }
    if kept.plan is not None:
        latency["plan"] = {
            "seconds": kept.plan.seconds,
            "bytes": kept.plan.size,
            "layers": dict(kept.plan.layers),
            "fused_attention": kept.plan.fused_attention,
            "notes": list(kept.plan.notes),
        }
    evidence = kit.evidence[kept.graph.measured_as]
    return replace(
        kit.manifest,
        precision=kept.graph.precision,
        golden=replace(kit.manifest.golden, min_cosine=evidence.min_cosine),
        drift=dict(evidence.drift),
        engine=engine,
        precision_map={name: dict(entry) for name, entry in kept.graph.precision_map.items()},
        latency=latency,
    )
