"""A build for a device that is not here: everything but the engine, verified as far as it can be.

The typed graphs are lowered to every form of attention that the target can try. The primitive
form runs in ONNX Runtime as written, so the drift of the very graph that the device will compile
is measured here, against PyTorch, on held-out images; so does the form with int8 attention, which
computes something else and is measured for itself. What a GPU adds shows in the golden probes,
which `vitrine finish` runs on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from engines.bundle_writer import BundleWriter
from engines.kit import KIT_SUFFIX, QUANTISED, SOURCES, Evidence, Kit, KitGraph, kit_text
from engines.plugin_archive import archive_sources
from engines.targets import Gpu
from export.lowering.for_tensorrt import ATTENTION_SINCE, lowered_for_tensorrt
from export.lowering.onnx_attention import OPSET
from export.lowering.tensorrt_support import check_supported
from export.operators import DOMAIN
from export.profiles import profiles
from export.typed import Typed
from runtime.bundle import KIT
from runtime.manifest import Manifest

KIT_PROBES = 16
"""Golden probes of a kit: more than of an engine that was measured, as they are all there is."""
_COMPUTED = frozenset({"MatMul", "Gemm", "Conv", "Attention"})


def lower_for_device(
    typed: Mapping[str, Typed],
    int8_attention: Typed | None,
    wanted: tuple[str, ...],
    gpu: Gpu,
    writer: BundleWriter,
) -> list[KitGraph]:
    """Writes the graphs of a kit.

    Args:
        typed: by precision; the float one that INT8 is compared with is among them.
        int8_attention: the int8 graph whose attention is int8 too; None where there is none.
        wanted: precisions that the build asked for.
        gpu: of the target.
        writer: of the kit.

    Raises:
        ValueError: a graph holds what TensorRT's parser refuses.
    """
    found = []
    for precision, graph in typed.items():
        forms = dict.fromkeys(gpu.attention, graph)
        if precision == "int8" and int8_attention is not None:
            forms[QUANTISED] = int8_attention
        for form, source in forms.items():
            if precision not in wanted and form != gpu.attention[0]:
                continue  # one float engine is enough to compare with
            # What int8 attention leaves float is in primitives, as it is itself.
            lowered = lowered_for_tensorrt(
                source.model, "primitives" if form == QUANTISED else form
            )
            check_supported(lowered, max(gpu.opset, OPSET) if form == "onnx" else gpu.opset)
            file = f"{precision}-{form}.onnx"
            ir.save(lowered, writer.path(file))
            found.append(
                _described(file, precision, form, precision in wanted, gpu, source, lowered)
            )
    return found


def _described(
    file: str, precision: str, form: str, wanted: bool, gpu: Gpu, typed: Typed, lowered: ir.Model
) -> KitGraph:
    decided = {name: dict(entry) for name, entry in typed.precision_map.items()}
    oldest = gpu.tensorrt[0] if form != "onnx" else max(gpu.tensorrt[0], ATTENTION_SINCE)
    computed = [
        str(node.name)
        for node in lowered.graph
        if node.name in decided and (node.op_type in _COMPUTED or node.domain == DOMAIN)
    ]
    return KitGraph(file, precision, form, wanted, oldest, decided, computed)


def kit_of(
    manifest: Manifest,
    graphs: Sequence[KitGraph],
    evidence: Mapping[str, Evidence],
    max_batch: int,
    writer: BundleWriter,
) -> Path:
    """Writes what is left of a kit: the plugins' sources where a graph needs them, and kit.json.

    Args:
        manifest: of the bundle to be, without hashes.
        graphs: all of the kit.
        evidence: by `KitGraph.measured_as`. A graph whose drift fails is only compared.
        max_batch: images at most that an engine takes at once.
        writer: of the kit.

    Returns:
        The kit's folder.
    """
    passed = {name for name, each in evidence.items() if each.drift["verdict"] != "fail"}
    graphs = [replace(g, wanted=g.wanted and g.measured_as in passed) for g in graphs]
    if any(graph.form == "plugin" for graph in graphs):
        archive_sources(writer.path(SOURCES))
    shapes = profiles(manifest.inputs, manifest.preprocess, max_batch)
    batches = tuple(dict.fromkeys((1, max_batch)))

    def text(files: dict[str, str]) -> str:
        listed = replace(manifest, files=files, parts=writer.parts(KIT))
        name = writer.folder.name.removesuffix(KIT_SUFFIX)
        return kit_text(Kit(name, listed, graphs, evidence, shapes, batches))

    return writer.finish_with(KIT, text)
