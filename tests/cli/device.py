"""A Jetson for `vitrine finish`, with ONNX Runtime in TensorRT's place.

A stand-in "plan" is the graph itself and its "engine" ONNX Runtime, so everything around TensorRT
is the real thing: the kit and its hashes, probes, latency, choice and bundle.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engines.tensorrt import Plan, PlanOrder
from engines.trt.installation import Installed
from runtime.backends import open_session
from runtime.manifest import EngineInfo
from tests.cli.conftest import Outcome, run

onnxruntime = pytest.importorskip("onnxruntime")
ORIN = Installed("10.3.0", "12.6", "540.4.0", "Orin", "8.7", jetson=True)


@dataclass
class Device:
    """What stands in for a Jetson, and what it was asked to build."""

    here: Installed = ORIN
    orders: list[PlanOrder] = field(default_factory=list)
    broken: str = ""  # part of the file name of a graph whose engine computes something else
    fastest: str = ""  # likewise; every other engine waits

    def build_plan(self, order: PlanOrder, say: Callable[[str], None]) -> Plan:
        self.orders.append(order)
        shutil.copyfile(order.onnx, order.plan)
        return Plan(
            order.plan, self.here.tensorrt, self.here.device, self.here.compute_capability,
            1.0, order.plan.stat().st_size, {"int8": 1}, ["a note"], 12,
        )  # fmt: skip

    def open_session(
        self, backend: str, model: Path, *, plugins: tuple[Path, ...], built_for: EngineInfo
    ) -> Any:
        assert built_for.backend == backend
        assert built_for.version == (self.here.tensorrt or onnxruntime.__version__)
        assert bool(plugins) == ("plugin" in model.name)
        # ONNX Runtime does not know the plugins; the primitive form computes the same.
        session = open_session(
            "onnxruntime", model.with_stem(model.stem.replace("plugin", "primitives"))
        )
        if self.broken and self.broken in model.name:
            right = session.run
            session.run = lambda inputs: {k: -v for k, v in right(inputs).items()}  # type: ignore[method-assign]
        if self.fastest and self.fastest not in model.name:
            quick = session.run
            session.run = lambda inputs: (time.sleep(0.03), quick(inputs))[1]  # type: ignore[method-assign]
        return session


def finished(kit: Path, out: Path, *more: str) -> Outcome:
    return run("finish", kit, "--out", out, "--keep-slower", "--json", *more)
