"""Stubs of NVIDIA's bindings, where `make contract` has made them."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("10.3.0", "11.4.0")


@dataclass(frozen=True)
class Signature:
    """Parameters of a function in order, `self` left out, and how many must be given."""

    parameters: tuple[str, ...]
    required: int
    variadic: bool = False


Members = dict[str, list[Signature]]
"""Attribute -> signatures of its overloads; none of what is no function."""


def stub_folder(version: str) -> Path:
    """Skips, saying how to make them, where there are none."""
    folder = Path(os.environ.get("VITRINE_TENSORRT_STUBS") or ROOT / ".tensorrt-stubs") / version
    if not (folder / "tensorrt" / "__init__.pyi").is_file():
        pytest.skip(f"no stubs of TensorRT {version} in {folder}; run `make contract`")
    return folder


@cache
def declared(file: Path) -> dict[str, Members]:
    """Class -> its own and inherited members; "" holds the module's functions and names.

    A class within a class is called Outer.Inner.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: dict[str, Members] = {"": _members(tree.body)}
    _add_classes(tree.body, "", found)
    return found


def _add_classes(body: list[ast.stmt], within: str, found: dict[str, Members]) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            name = f"{within}{node.name}"
            inherited: Members = {}
            for base in node.bases:
                inherited |= found.get(ast.unparse(base), {})
            found[name] = inherited | _members(node.body)
            _add_classes(node.body, f"{name}.", found)


def _members(body: list[ast.stmt]) -> Members:
    found: Members = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(each) for each in node.decorator_list}
            if any(d == "property" or d.endswith(".setter") for d in decorators):
                found.setdefault(node.name, [])
            else:
                found.setdefault(node.name, []).append(_signature(node))
        elif isinstance(node, ast.ClassDef):
            found.setdefault(node.name, [])
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, [])
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, [])
    return found


def _signature(node: ast.FunctionDef) -> Signature:
    given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    names = tuple(name.rstrip("_") for name in given if name not in ("self", "cls"))
    defaults = len(node.args.defaults) + sum(d is not None for d in node.args.kw_defaults)
    variadic = node.args.vararg is not None or node.args.kwarg is not None
    return Signature(names, len(names) - defaults, variadic)
