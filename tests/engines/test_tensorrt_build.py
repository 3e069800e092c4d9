"""A build through the real child process, in which a fake stands for TensorRT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.tensorrt import PlanOrder, Profile
from runtime.errors import EngineError
from tests.fakes.builder_machine import BATCHES, ENGINE, Machine

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_plan_says_what_it_is(machine: Machine) -> None:
    plan = machine.build()
    assert plan.file.read_bytes() == json.dumps(ENGINE).encode()
    assert plan.size == plan.file.stat().st_size
    assert (plan.tensorrt, plan.device, plan.compute_capability) == ("10.3.0", "Orin", "8.7")
    assert plan.layers == {"int8": 1, "fp16": 1}
    assert list(plan.notes) == []
    assert machine.left() == ["model.plan"]
    assert machine.said == [
        "TensorRT 10.3.0 reads model.onnx",
        "TensorRT: Building",
        "inspecting the engine",
    ]


def test_the_builder_is_configured_as_ordered(machine: Machine) -> None:
    large = Profile({"pixel_values": ((1, 3, 224, 224), (1, 3, 224, 224), (2, 3, 224, 224))})
    machine.build(profiles=(BATCHES, large), optimisation_level=5, workspace=64 * MIB)
    asked = machine.asked
    assert asked["onnx"] == "the graph"
    assert asked["pool"] == {"WORKSPACE": 64 * MIB}
    assert asked["level"] == 5
    assert asked["verbosity"] == "DETAILED"
    assert asked["hardware"] == "NONE"
    assert asked["flags"] == []
    assert asked["cleared"] == ["TF32"]
    assert [each["pixel_values"][2][0] for each in asked["profiles"]] == [32, 2]


def test_a_graph_of_fixed_shape_needs_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, inputs={"x": [1, 3, 8, 8]})
    machine.build(profiles=())
    assert machine.asked["profiles"] == []


def test_relative_paths_are_those_of_the_caller(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machine.folder)
    monkeypatch.setenv("PYTHONPATH", "path")
    machine.build(onnx=Path("model.onnx"), plan=Path("out/model.plan"))
    assert machine.left() == ["model.plan"]


def test_a_refused_build_keeps_the_older_plan(machine: Machine) -> None:
    plan = machine.build().file
    before = plan.read_bytes()
    linear = {
        "Name": "fc2", "LayerType": "gemm", "Inputs": [{"Format/Datatype": "Half"}],
        "Outputs": [{"Format/Datatype": "Half"}], "Metadata": "[ONNX Layer: fc2]",
        "TacticName": "sm80_xmma_gemm_f16f16_f16f32_f32_nt_n_tilesize128x128x32_stage4",
    }  # fmt: skip
    scenario = json.loads(machine.scenario_file.read_text())
    machine.scenario_file.write_text(json.dumps({**scenario, "engine": {"Layers": [linear]}}))
    with pytest.raises(EngineError, match="fc2 came out in fp16, the graph asks for int8"):
        machine.build(precision_map={"fc2": "int8"})
    assert plan.read_bytes() == before
    assert machine.left() == ["model.plan"]


def test_plugins_are_loaded(machine: Machine) -> None:
    library = machine.folder / "libvitrine_plugins.so"
    library.touch()
    machine.build(plugins=(library,))
    assert machine.asked["libraries"] == [str(library)]


def test_types_that_the_inspector_keeps_to_itself_do_not_stop_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Machine(tmp_path, monkeypatch, context=False).build()
    assert plan.layers == {"int8": 1, "other": 1}  # the first by the name of its kernel
    assert list(plan.notes) == []


def test_warnings_of_tensorrt_become_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = {"build": [["WARNING", "tight\nmemory"], ["INFO", "hello"], ["WARNING", "tight\nmemory"]]}
    machine = Machine(tmp_path, monkeypatch, log=log)
    assert list(machine.build().notes) == ["TensorRT warns: tight memory"]


@pytest.mark.parametrize(
    ("profiles", "scenario", "expected"),
    [
        pytest.param((), {}, "input pixel_values has shape (-1, 3, 224, 224)", id="none"),
        pytest.param(
            (Profile({"image": ((1,), (1,), (1,))}),), {}, "names input image, the graph has "
            "pixel_values", id="unknown-input",
        ),
        pytest.param(
            (Profile({"pixel_values": ((1, 3, 9, 9), (1, 3, 9, 9), (1, 3, 9, 9))}),), {},
            "the shape (1, 3, 9, 9), the graph has (-1, 3, 224, 224)", id="closed-axis",
        ),
        pytest.param(
            (Profile({"pixel_values": ((1,), (1,), (1,))}),), {},
            "the shape (1,), the graph has (-1, 3, 224, 224)", id="rank",
        ),
        pytest.param(
            (BATCHES,), {"profile": "raises"}, "TensorRT refuses the shapes", id="tensorrt-raises"
        ),
        pytest.param((BATCHES,), {"profile": "refused"}, "refuses the profile", id="tensorrt-says"),
    ],
)  # fmt: skip
def test_a_profile_that_does_not_fit_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profiles: Any,
    scenario: dict[str, str],
    expected: str,
) -> None:
    machine = Machine(tmp_path, monkeypatch, **scenario)
    assert expected in machine.refusal(profiles=profiles)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"options": frozenset(["quick"])}, "unknown option 'quick'; expected version-compatible"),
        ({"precision_map": {"a": "fp8"}}, "unknown precision 'fp8'; expected int8, fp16, fp32"),
        ({"optimisation_level": 6}, "optimisation level is 6"),
        ({"workspace": 0}, "workspace is 0 bytes"),
    ],
    ids=["option", "precision", "level", "workspace"],
)
def test_an_order_is_checked_when_it_is_made(change: Any, match: str) -> None:
    given: dict[str, Any] = {
        "onnx": Path("a"), "plan": Path("b"), "profiles": (), "precision_map": {}, "workspace": 1
    }  # fmt: skip
    with pytest.raises(ValueError, match=match):
        PlanOrder(**{**given, **change})


@pytest.mark.parametrize(
    "shapes",
    [((2,), (1,), (3,)), ((1,), (2,), (1,)), ((0,), (1,), (1,)), ((1,), (1, 1), (1,))],
    ids=["least-above-tuned", "tuned-above-most", "zero", "rank"],
)
def test_a_profile_is_checked_when_it_is_made(shapes: Any) -> None:
    with pytest.raises(ValueError, match="profile of x is"):
        Profile({"x": shapes})
