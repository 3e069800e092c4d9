"""No code of ours can be made to run what a file says: read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime", "calibration", "engines", "export", "shapes", "examples")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# The calls that can evaluate what they read, and what makes each one safe.
UNSAFE_CALLS = {
    "np.load": "allow_pickle=False",
    "numpy.load": "allow_pickle=False",
    "np.savez": "allow_pickle=False",
    "np.savez_compressed": "allow_pickle=False",
    "torch.load": "weights_only=True",
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "eval": None,
    "exec": None,
}


def unsafe(source: str) -> Iterator[str]:
    """What in a module's source imports or calls something of the kind."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            # To catch the error of somebody else's unpickling, its module must be imported.
            names = [alias.name for alias in node.names if alias.name != "pickle" or alias.asname]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) != "pickle.UnpicklingError":
            names = [ast.unparse(node)] if ast.unparse(node.value) == "pickle" else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {ast.unparse(keyword) for keyword in node.keywords}
            if name in UNSAFE_CALLS and UNSAFE_CALLS[name] not in given:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        for name in names:  # a function imported under its own name would not be seen when called
            if name.split(".")[0] in UNSAFE_MODULES or name in UNSAFE_CALLS:
                yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_unpickled(folder: str) -> None:
    found = {
        str(file.relative_to(ROOT)): wrong
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (wrong := list(unsafe(file.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle as innocent",
        "import pickle\npickle.loads(data)",
        "from pickle import loads",
        "def f():\n    import joblib",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path, weights_only=False)",
        "from torch import load",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "eval('1')",
    ],
)
def test_each_of_them_would_be_found(source: str) -> None:
    assert list(unsafe(source))


@pytest.mark.parametrize(
    "source",
    [
        "np.load(p, allow_pickle=False)",
        "yaml.safe_load(t)",
        "import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass",
    ],
)
def test_the_safe_forms_are_not(source: str) -> None:
    assert not list(unsafe(source))
