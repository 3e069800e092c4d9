"""Our TensorRT code, and the fakes that it is tested on, against NVIDIA's bindings.

Both ends of the supported range are checked, 10.3.0 and 11.4.0. `make contract` makes what this
needs; without it every test here is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.bindings import ROOT, VERSIONS, Members, Signature, declared, stub_folder

FAKES = tuple(
    f"tests/fakes/tensorrt_{part}.py"
    for part in ("builder", "common", "execution", "inspection", "runtime")
)
# Python's own, on which NVIDIA's classes and ours agree without declaring it.
_PYTHONS = {"__init__", "__len__", "__getitem__", "__iter__", "__enter__", "__exit__"}


def modules_that_name_tensorrt() -> list[str]:
    files = [f for package in ("engines", "runtime") for f in (ROOT / package).rglob("*.py")]
    found = [f for f in files if "import tensorrt" in f.read_text(encoding="utf-8")]
    return sorted(str(file.relative_to(ROOT)) for file in found)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_module_that_names_tensorrt_fits_its_types(version: str) -> None:
    modules = modules_that_name_tensorrt()
    assert len(modules) > 5
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "tests/contract/mypy.ini", *modules],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": str(stub_folder(version).absolute())},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_mypy_sees_the_stubs(version: str, tmp_path: Path) -> None:
    # What the test above relies on: a name that is gone, or never was, is an error.
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import tensorrt as trt\n\ntrt.Builder(trt.Logger()).no_such_method()\n")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "tests/contract/mypy.ini", str(wrong)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": str(stub_folder(version).absolute())},
    )  # fmt: skip
    assert "no_such_method" in ran.stdout


def missing_from(real: dict[str, Members], fake: dict[str, Members]) -> list[str]:
    """What a fake has and NVIDIA has not, or has with other parameters."""
    found = []
    for owner, members in fake.items():
        for name, signatures in members.items():
            if name.startswith("_") and name not in real.get(owner, {}):
                continue  # the fake's own
            where = f"{owner}.{name}" if owner else name
            if name not in real.get(owner, {}) and name not in _PYTHONS:
                found.append(f"{where} does not exist")
            elif any(not _fits(each, real[owner].get(name, [])) for each in signatures):
                found.append(f"{where}{signatures[0].parameters}: {real[owner].get(name)}")
    return found


def _fits(fake: Signature, real: list[Signature]) -> bool:
    """Whether every call that the fake takes is one that NVIDIA's takes."""
    count = len(fake.parameters)
    return not real or any(
        each.variadic or (each.parameters[:count] == fake.parameters and each.required <= count)
        for each in real
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fake", FAKES, ids=lambda name: Path(name).stem)
def test_the_fakes_have_nothing_that_nvidia_has_not(fake: str, version: str) -> None:
    real = declared(stub_folder(version) / "tensorrt" / "__init__.pyi")
    public = {k: v for k, v in declared(ROOT / fake).items() if not k.startswith("_")}
    imported = {"Any", "Path", "np"}
    public[""] = {
        k: v for k, v in public[""].items() if not k.startswith("_") and k not in imported
    }
    assert missing_from(real, public) == []


@pytest.mark.parametrize(
    ("fake", "found"),
    [
        pytest.param({"C": {"gone": [Signature((), 0)]}}, ["C.gone does not exist"], id="name"),
        pytest.param({"C": {"f": [Signature(("b", "a"), 2)]}}, 1, id="order"),
        pytest.param({"C": {"f": [Signature(("a",), 1)]}}, 1, id="too-few"),
        pytest.param({"C": {"f": [Signature(("a", "b"), 2)]}}, [], id="right"),
    ],
)
def test_a_fake_that_differs_is_found(fake: dict[str, Members], found: object) -> None:
    real: dict[str, Members] = {"C": {"f": [Signature(("a", "b", "c"), 2)]}}
    differences = missing_from(real, fake)
    assert differences == found or len(differences) == found


# A method of NVIDIA's base class calls C++, and that calls ours, as TensorRT does.
SUBCLASSES = """
import tensorrt as trt
from engines.trt.listeners import Messages, make_logger, make_monitor
from runtime.backends.tensorrt_outputs import GrowingOutput
from runtime.backends.tensorrt_profile import LayerClock
from runtime.tensorrt_errors import ErrorRecord, Reported
from runtime.tensorrt_logger import last_errors, shared_logger

said, base = [], trt.IProgressMonitor
monitor = make_monitor(said.append, lambda: len(said) > 1, between=0.0)
base.phase_start(monitor, "build", None, 3)
assert base.step_complete(monitor, "build", 1) is False  # it was cancelled by then
base.phase_finish(monitor, "build")
assert said == ["TensorRT: build", "TensorRT: build, 2 of 3"]

assert isinstance(GrowingOutput().allocator(), trt.IOutputAllocator)

messages = Messages()
for logger in (make_logger(messages), shared_logger()):
    trt.ILogger.log(logger, trt.ILogger.ERROR, "a message")
assert messages.last_error == last_errors() == "a message"

record, base, memory = ErrorRecord(), trt.IErrorRecorder, trt.ErrorCodeTRT.FAILED_ALLOCATION
recorder = record.recorder()
assert base.num_errors(recorder) == 0  # -1 where the bindings do not find the method
for number in range(20):
    assert base.has_overflowed(recorder) is (number > 16)
    assert base.report_error(recorder, memory, f"{number} bytes") is True
assert base.num_errors(recorder) == 16
assert base.get_error_code(recorder, 15) == memory
assert base.get_error_desc(recorder, 15) == "19 bytes"
assert base.get_error_code(recorder, 16) == trt.ErrorCodeTRT.UNSPECIFIED_ERROR
assert base.get_error_desc(recorder, -1) == ""
assert record.take()[0] == Reported("FAILED_ALLOCATION", "4 bytes")
base.report_error(recorder, trt.ErrorCodeTRT.INTERNAL_ERROR, "again")
base.clear(recorder)
assert base.num_errors(recorder) == 0 and not base.has_overflowed(recorder)

clock = LayerClock()
profiler = clock.profiler()
for milliseconds in (0.25, 0.5):
    trt.IProfiler.report_layer_time(profiler, "gemm", milliseconds)
assert clock.take() == {"gemm": 0.75} and clock.take() == {}
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_our_subclasses_are_made_under_the_real_bindings(version: str) -> None:
    importable = stub_folder(version).absolute() / "import"
    ran = subprocess.run(
        [sys.executable, "-c", SUBCLASSES], cwd=ROOT, capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(importable / "lib"),
            "PYTHONPATH": f"{importable}{os.pathsep}{ROOT}",
        },
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
