"""The rules of the layout, read from the source itself."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("runtime", "calibration", "engines", "export", "shapes")
# Which siblings a package may import.
SIBLINGS = {
    "runtime": set(),
    "calibration": {"runtime"},
    "engines": {"runtime"},
    "export": {"runtime", "calibration", "engines", "shapes"},
    "shapes": {"runtime"},
}
# Scripts that train the reference models.
TRAINING = (("shapes", "train.py"), ("shapes", "training"))
LONGEST_FILE = 300
LONGEST_FUNCTION = 60


def modules() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Full name and line of everything a file imports, at its top, in functions and for types."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}, line {node.lineno}: a relative import"
            yield str(node.module), node.lineno


def runs_at_import(file: Path) -> Iterator[str]:
    """Top-level package of what importing a file imports; not in functions, not for types only."""

    def visit(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module).partition(".")[0]
            elif isinstance(node, ast.If):
                if ast.unparse(node.test) != "TYPE_CHECKING":
                    yield from visit(node.body)
                yield from visit(node.orelse)
            elif isinstance(node, ast.Try | ast.With):
                yield from visit(node.body)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")).body)


def may_import_torch(file: Path) -> bool:
    parts = file.relative_to(ROOT).parts
    return parts[0] == "export" or parts[:2] in TRAINING


@cache
def libraries() -> frozenset[str]:
    """Every top-level module that a file of ours could be imported instead of.

    A script's folder comes first on the path, so it could be.
    """
    ours = {*PACKAGES, "tests", "benchmarks", "examples", "docs", "__init__"}
    installed = set(importlib.metadata.packages_distributions()) - ours
    return frozenset(installed | sys.stdlib_module_names)


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", modules(), ids=relative)
def test_a_package_imports_only_the_siblings_it_may(file: Path) -> None:
    parts = file.relative_to(ROOT).parts
    trains = {"export"} if parts[:2] in TRAINING else set()
    forbidden = set(PACKAGES) - SIBLINGS[parts[0]] - {parts[0]} - trains
    wrong = [f"line {n}: {name}" for name, n in imports(file) if name.split(".")[0] in forbidden]
    assert wrong == []


@pytest.mark.parametrize(
    "file", [file for file in modules() if not may_import_torch(file)], ids=relative
)
def test_torch_stays_in_the_export_and_in_training(file: Path) -> None:
    heavy = {"torch", "torchvision", "transformers", "timm"}
    wrong = [f"line {n}: {name}" for name, n in imports(file) if name.split(".")[0] in heavy]
    assert wrong == []


@pytest.mark.parametrize("file", sorted((ROOT / "runtime").rglob("*.py")), ids=relative)
def test_importing_the_runtime_needs_numpy_and_the_standard_library(file: Path) -> None:
    allowed = {"numpy", "runtime", *sys.stdlib_module_names}
    assert set(runs_at_import(file)) <= allowed


def test_the_command_answers_help_without_torch() -> None:
    code = "import sys, export.cli, export.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("file", modules(), ids=relative)
def test_no_module_is_named_like_a_library(file: Path) -> None:
    if relative(file) == "engines/tensorrt.py":
        return  # its folder holds no script, so that it never comes first on the path
    assert file.stem not in libraries()


@pytest.mark.parametrize("file", modules(), ids=relative)
def test_files_and_functions_are_short(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
        # One ONNX function is one expression; it cannot be cut without more functions in the file.
        and not any("script" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert long == []


def newest_python_needed(*paths: str | Path) -> str:
    """As vermin finds it in the use of syntax and of the standard library."""
    vermin = [Path(sys.executable).with_name("vermin"), "--no-tips"]
    ran = subprocess.run([*vermin, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    line = ran.stdout.partition("Minimum required versions: ")[2].partition("\n")[0]
    return line.split()[-1]  # after the one of Python 2, where there is one


def test_what_a_jetson_runs_keeps_to_its_python(tmp_path: Path) -> None:
    # JetPack 6 has TensorRT for its own Python 3.10 alone.
    commands = (
        "cli",
        "build",
        "finish",
        "console",
        "doctor",
        "predictions",
        "bench",
        "signing",
        "command",
    )
    paths = ["runtime", "engines", *(f"export/{name}.py" for name in commands)]
    assert newest_python_needed(*paths) == "3.10"
    newer = tmp_path / "newer.py"
    newer.write_text("import hashlib\nhashlib.file_digest\n")
    assert newest_python_needed(newer) == "3.11"
