"""Parts of a model: further graphs of one reference, each built like a model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from export.answers import Runner, torch_run
from export.samples import Sample
from export.spec import ROOT, ModelSpec
from export.weights import Reference
from runtime.tasks.task import Graph


def of_part(spec: ModelSpec, reference: Reference) -> Reference:
    """What a part is measured against.

    Args:
        spec: the part's record.
        reference: the whole model.
    """
    preprocess = spec.preprocess.opened(partial(_file, reference))
    check = spec.whole.exported.parts[str(spec.part)].check
    if check is not None and reference.source["weights"] != "random":
        check(reference.module, preprocess)
    return replace(reference, preprocess=preprocess, labels=spec.labels)


def _file(reference: Reference, name: str) -> Path:
    """What lies beside the weights, such as their tokenizer's merges, else the repository's."""
    beside = reference.folder and reference.folder / Path(name).name
    return beside if beside is not None and beside.is_file() else ROOT / name


def samples_of_part(
    spec: ModelSpec, reference: Reference, samples: Sequence[Sample]
) -> Sequence[Sample]:
    """The part's own samples, made of the whole model's."""
    assert spec.part is not None
    return spec.whole.exported.parts[spec.part].samples(reference, samples)


def torch_runner(spec: ModelSpec, reference: Reference) -> Runner:
    """The model, or one of its parts, in PyTorch."""
    parts = {}
    for name in spec.parts:
        part = spec.of_part(name)
        parts[name] = _graph(part, of_part(part, reference))
    return Runner(spec.task, _graph(spec, reference), parts, reference.labels)


def _graph(spec: ModelSpec, reference: Reference) -> Graph:
    run = torch_run(spec.exported.main(reference.module), spec.exported.outputs)
    return Graph(run, reference.preprocess)
