"""`make contract` where NVIDIA's bindings cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from tests.contract import make_stubs


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(subprocess.CalledProcessError(1, ["pip", "install"]), id="offline"),
        pytest.param(FileNotFoundError("gcc"), id="no-gcc"),
    ],
)
def test_what_cannot_be_made_is_skipped_in_one_line(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(make_stubs.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(make_stubs.subprocess, "run", failing)
    monkeypatch.setattr(sys, "argv", ["make_stubs.py", str(tmp_path)])
    make_stubs.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("skipped: ") and said.err.count("\n") == 1
