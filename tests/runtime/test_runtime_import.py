from __future__ import annotations

import subprocess
import sys

import pytest

import runtime

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "PIL", "tensorrt")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages in sys.modules after `statement` ran in a fresh interpreter."""
    return set(
        printed_by(f"{statement}; import sys; print(*[m for m in {HEAVY} if m in sys.modules])")
    )


def printed_by(code: str) -> list[str]:
    """The words that a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return result.stdout.split()


def test_import_loads_no_heavy_package() -> None:
    assert loaded_by("import runtime") == set()


def test_import_loads_no_task() -> None:
    code = "import runtime, sys; print(*[m for m in sys.modules if m.startswith('runtime.tasks.')])"
    assert set(printed_by(code)) <= {"runtime.tasks.task"}


def test_a_heavy_package_would_be_noticed() -> None:
    assert loaded_by("import runtime, PIL") == {"PIL"}


def test_public_names() -> None:
    assert runtime.__all__ == ["Engine", "EngineError", "Pipeline", "Preprocess"]
    assert issubclass(runtime.EngineError, RuntimeError)


@pytest.mark.parametrize("name", runtime.__all__)
def test_public_names_are_documented(name: str) -> None:
    assert getattr(runtime, name).__doc__
