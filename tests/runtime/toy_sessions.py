"""Sessions on toy plans, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import Session, open_session
from tests.fakes.tensorrt_runtime import _plan

ROWS = [[[1, 4], [2, 4], [64, 4]]]  # one profile: 1 to 64 rows
AFFINE = _plan("affine", {"x": ["FLOAT", ROWS]}, {"y": "FLOAT"})
POSITIVE = _plan(
    "positive", {"x": ["FLOAT", ROWS]}, {"found": "FLOAT", "top": "FLOAT"}, unknown=["found"]
)


class Opener:
    """Opens plans, and closes them before the machine is looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sessions: list[Session] = []

    def __call__(self, plan: bytes = AFFINE, **more: Any) -> Any:
        (self.folder / "model.plan").write_bytes(plan)
        self._sessions.append(open_session("tensorrt", self.folder / "model.plan", **more))
        return self._sessions[-1]

    def __enter__(self) -> Opener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._sessions:
            self._sessions.pop().close()


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 4), np.float32)


def refused(session: Session, inputs: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        session.run(inputs)
    assert "\n" not in str(caught.value)
