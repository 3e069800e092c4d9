from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtime.backends.untold import import_openvino


def test_two_threads_may_import_openvino_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other thread is done first, and has taken the entry away that both had made."""
    (tmp_path / "openvino.py").write_text("import sys; del sys.modules['openvino_telemetry']")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    assert import_openvino().__file__ == str(tmp_path / "openvino.py")
    monkeypatch.delitem(sys.modules, "openvino")
