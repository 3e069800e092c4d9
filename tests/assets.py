"""Real weights and images, which are not in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_ASSETS = Path(os.environ.get("VITRINE_ASSETS", _ROOT.parent / "shared" / "assets"))


def asset(name: str) -> Path:
    """A file or folder among them; without it the test that asks is skipped."""
    path = _ASSETS / name
    if not path.exists():
        pytest.skip(f"no {path}; set VITRINE_ASSETS")
    return path
