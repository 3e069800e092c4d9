"""Parts of a model: where their files come from, and what becomes of a slow one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export import pipeline
from export.graph_build import Job
from export.parts import of_part
from export.request import Request
from export.spec import ROOT, find_model, load_models
from export.weights import Reference, load_reference

CLIP = find_model("clip_tiny_shapes", load_models())
OTHER = b"#version: of another model\nt h\nth e</w>\n"


@pytest.fixture(scope="module")
def trained() -> Reference:
    return replace(load_reference(CLIP, "random"), source={"weights": "their/own"})


def test_the_repositorys_merges_are_the_tiny_members(trained: Reference) -> None:
    part = of_part(CLIP.of_part("text"), trained)
    assert part.preprocess.files == {
        "merges.txt": (ROOT / "shapes/checkpoints/merges.txt").read_bytes()
    }


def test_merges_beside_the_weights_win(trained: Reference, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_bytes(OTHER)
    untrained = replace(trained, source={"weights": "random"}, folder=tmp_path)
    part = of_part(CLIP.of_part("text"), untrained)
    assert part.preprocess.files == {"merges.txt": OTHER}


def test_merges_of_another_model_are_refused(trained: Reference, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_bytes(OTHER)
    with pytest.raises(ValueError, match=r"make 516 symbols, the text tower knows 622; give"):
        of_part(CLIP.of_part("text"), replace(trained, folder=tmp_path))


@pytest.mark.parametrize(
    ("verdict", "built"),
    [
        pytest.param("pass", ["int8", "fp32", "int8"], id="slower"),
        pytest.param("fail", ["int8", "int8"], id="drifted"),
    ],
)
def test_a_part_that_is_slower_in_int8_stays_float(
    verdict: str, built: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def build(job: Job, parts: Any = None) -> Any:
        asked.append(job.request.precision)
        refused = "" if parts is not None or len(asked) > 1 else "INT8 takes longer"
        return SimpleNamespace(
            refused=refused, drift=SimpleNamespace(verdict=verdict), bundle=tmp_path / "text"
        )

    monkeypatch.setattr(pipeline, "build_graph", build)
    monkeypatch.setattr(pipeline, "_narrowed", lambda job: job)
    monkeypatch.setattr(pipeline.shutil, "rmtree", lambda path: None)
    writer: Any = SimpleNamespace(part=lambda name: None)
    target: Any = SimpleNamespace(gpu=None)
    nothing: Any = None
    pipeline._whole(Job(Request(CLIP, "int8"), nothing, nothing, writer, target, print))
    assert asked == built
