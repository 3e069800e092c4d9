"""Why a build gave no engine: one line, and nothing of it is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import EngineError
from tests.fakes.builder_machine import Machine

MEMORY = (
    "Orin ran out of memory during the build, with a workspace of 512 MiB (%s); give a smaller "
    "--workspace or a smaller largest batch, or close other programs"
)
OTHER = (
    "TensorRT 10.3.0 built no engine (%s); no plan was written; try another optimisation level or "
    "TensorRT version"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("errors", "plugins", "line"),
    [
        pytest.param(
            [
                {"name": "blocks.0/norm", "operator": "RMSNormalization", "desc": "no\nimporter",
                 "stack": ["Block", "Model"]},
                {"operator": "Mod", "desc": "x"},
            ],
            False,
            ": node blocks.0/norm (RMSNormalization) in Block in Model: no importer (and 1 more "
            "errors); build with the --target of this device and TensorRT, which lowers the graph "
            "to it",
            id="operator",
        ),
        pytest.param(
            [{"node": 12, "operator": "VitrineFusedAttention", "desc": "plugin not found"}],
            False,
            ": node number 12 (VitrineFusedAttention): plugin not found; load the plugin library "
            "that has it",
            id="plugin-not-loaded",
        ),
        pytest.param(
            [{"node": 12, "operator": "VitrineFusedAttention", "desc": "plugin not found"}],
            True,
            ": node number 12 (VitrineFusedAttention): plugin not found; the plugin library that "
            "was loaded does not have it: compile it again",
            id="plugin-of-another-kind",
        ),
        pytest.param(
            [{"code": "MODEL_DESERIALIZE_FAILED", "desc": "not a protobuf"}],
            False,
            ": not a protobuf; the file is damaged or not ONNX: export it again",
            id="file",
        ),
        pytest.param(
            [],
            False,
            " and gives no reason; the file is damaged or not ONNX: export it again",
            id="no-reason",
        ),
    ],
)  # fmt: skip
def test_a_parser_error_names_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: Any, plugins: bool, line: str
) -> None:
    machine = Machine(tmp_path, monkeypatch, errors=errors, refused=True)
    library = tmp_path / "libvitrine_plugins.so"
    library.touch()
    text = machine.refusal(plugins=(library,) if plugins else ())
    assert text == f"TensorRT cannot parse {tmp_path / 'model.onnx'}{line}"


def test_a_plugin_library_that_does_not_load_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, plugin_loads=False)
    library = tmp_path / "lib.so"
    library.touch()
    text = machine.refusal(plugins=(library,))
    assert f"cannot load the plugin library {library}" in text
    assert "compile it again on this machine" in text


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [["FAILED_ALLOCATION", "no room for 900 bytes"]], MEMORY % "no room for 900 bytes",
            id="memory",
        ),
        pytest.param(
            [["INTERNAL_ERROR", "Error Code 2: OutOfMemory\n(no further information)"]],
            MEMORY % "Error Code 2: OutOfMemory (no further information)",
            id="memory-by-its-category",
        ),
        pytest.param(
            [["UNSPECIFIED_ERROR", "Error Code 1: Cuda Runtime (out of memory)"],
             ["UNSUPPORTED_STATE", "Could not find any implementation for node a."]],
            MEMORY % "Error Code 1: Cuda Runtime (out of memory)",
            id="memory-while-kernels-are-timed",
        ),
        pytest.param(
            [["UNSPECIFIED_ERROR", "a tactic that failed"],
             ["UNSUPPORTED_STATE", "Could not find any implementation for node a."],
             ["INTERNAL_ERROR", "Assertion engine != nullptr failed."]],
            "TensorRT 10.3.0 finds no kernel for a part of the graph, with a workspace of 512 MiB "
            "and the memory that is free (Could not find any implementation for node a.); give a "
            "larger --workspace, close other programs, or build another precision",
            id="no-kernel",
        ),
        pytest.param(
            [["FAILED_INITIALIZATION", "cuBLAS"]],
            "TensorRT 10.3.0 did not start all it needs (cuBLAS); check the installation with "
            "`vitrine doctor`",
            id="initialisation",
        ),
        pytest.param(
            [["INVALID_CONFIG", "axis of concat"], ["INTERNAL_ERROR", "Assertion failed"]],
            OTHER % "axis of concat",
            id="other",
        ),
        pytest.param([["ERROR", "only logged"]], OTHER % "only logged", id="logged"),
        pytest.param([], OTHER % "it gave no reason", id="silent"),
    ],
)  # fmt: skip
def test_a_build_that_gives_no_engine_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: Any, expected: str
) -> None:
    machine = Machine(tmp_path, monkeypatch, build="none", log={"build": messages})
    assert machine.refusal() == expected


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        pytest.param(
            ["FAILED_ALLOCATION", "900 bytes"],
            "does not load (900 bytes); no plan was written; close other programs or give a "
            "smaller largest batch",
            id="memory",
        ),
        pytest.param(
            ["FAILED_INITIALIZATION", "magic tag"],
            "does not load (magic tag); no plan was written; try another optimisation level",
            id="other",
        ),
    ],
)
def test_an_engine_that_does_not_load_is_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[str], expected: str
) -> None:
    # What the build itself got over is not why the engine does not load.
    log = {"build": [["FAILED_ALLOCATION", "a kernel that was too large"]], "load": [reported]}
    machine = Machine(tmp_path, monkeypatch, loads=False, log=log)
    assert expected in machine.refusal()


def test_what_the_parser_got_over_is_not_why_a_build_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = {"parse": [["FAILED_ALLOCATION", "harmless"]], "build": [["INVALID_STATE", "the cause"]]}
    machine = Machine(tmp_path, monkeypatch, build="none", log=log)
    assert machine.refusal() == OTHER % "the cause"


@pytest.mark.parametrize("missing", ["onnx", "plugins"])
def test_a_missing_file_is_named(machine: Machine, missing: str) -> None:
    path = machine.folder / "nowhere"
    with pytest.raises(EngineError, match=r"nowhere is not a file.*first"):
        machine.build(**{missing: path if missing == "onnx" else (path,)})
