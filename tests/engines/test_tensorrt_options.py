"""Kinds of engine that an order can ask for, and the kernel timings kept between builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.tensorrt import OPTIONS
from runtime.errors import EngineError
from tests.fakes.builder_machine import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("option", "flags", "hardware", "cost"),
    [
        ("version-compatible", ["VERSION_COMPATIBLE"], "NONE", "engine_host_code_allowed"),
        ("hardware-compatible", [], "AMPERE_PLUS", "slower"),
        ("refit", ["REFIT"], "NONE", "not folded"),
        ("strip", ["STRIP_PLAN"], "NONE", "after every load"),
    ],
)
def test_an_option_is_set_and_its_cost_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    flags: list[str],
    hardware: str,
    cost: str,
) -> None:
    machine = Machine(tmp_path, monkeypatch, device=["NVIDIA A10", 8, 6])
    plan = machine.build(options=frozenset([option]))
    assert machine.asked["flags"] == flags
    assert machine.asked["hardware"] == hardware
    assert list(plan.notes) == [OPTIONS[option].cost]
    assert cost in plan.notes[0]


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (["Tesla T4", 7, 5], "Tesla T4 has compute capability 7.5"),
        (["Orin", 8, 7], "Orin is a Jetson"),
    ],
    ids=["turing", "jetson"],
)
def test_hardware_compatible_engines_are_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Any, expected: str
) -> None:
    machine = Machine(tmp_path, monkeypatch, device=device)
    with pytest.raises(EngineError, match=f"{expected}.*leave hardware-compatible out"):
        machine.build(options=frozenset(["hardware-compatible"]))
    assert machine.left() == []


def test_an_option_that_this_tensorrt_lacks_is_refused(machine: Machine) -> None:
    machine.module(
        "import enum\nfrom tests.fakes.tensorrt_builder import *\n__version__ = '10.3.0'\n"
        "BuilderFlag = enum.Enum('BuilderFlag', ['TF32'])\n"
    )
    with pytest.raises(
        EngineError, match=r"^TensorRT 10\.3\.0 has no strip engines; leave it out$"
    ):
        machine.build(options=frozenset(["strip"]))


def test_a_second_build_reuses_the_timings_of_the_first(machine: Machine) -> None:
    folder = machine.folder / "timings"
    machine.build(timing_cache=folder)
    assert machine.asked["timings"] == ""
    machine.build(timing_cache=folder)
    assert machine.asked["timings"] == "+one build"
    assert [path.name for path in folder.iterdir()] == ["tensorrt-10.3.0-orin-sm8.7.timings"]


@pytest.mark.parametrize("damage", [b"", b"other", b"vitrine timing cache 1\nshort"])
def test_damaged_timings_are_ignored_with_a_note(machine: Machine, damage: bytes) -> None:
    folder = machine.folder / "timings"
    machine.build(timing_cache=folder)
    (file,) = folder.iterdir()
    file.write_bytes(damage)
    (note,) = machine.build(timing_cache=folder).notes
    assert (
        note == f"kernel timings in {file} are not used (the file is damaged); they are made anew"
    )
    assert machine.asked["timings"] == ""
    assert not machine.build(timing_cache=folder).notes


def test_timings_of_another_gpu_are_ignored_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, foreign_timings=True)
    folder = tmp_path / "timings"
    machine.build(timing_cache=folder)
    (note,) = machine.build(timing_cache=folder).notes
    assert "are of another TensorRT or GPU" in note
    assert machine.asked["timings"] == ""


def test_timings_that_cannot_be_kept_spoil_no_build(machine: Machine) -> None:
    blocked = machine.folder / "timings"
    blocked.write_text("a file where the folder should be")
    plan = machine.build(timing_cache=blocked)
    assert any("could not be kept" in note for note in plan.notes)
    assert machine.left() == ["model.plan"]
