"""A machine with a fake TensorRT and CUDA, as the builder's child process finds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.tensorrt import Plan, PlanOrder, Profile, build_plan
from runtime.errors import EngineError

NODE = "blocks.0/mlp/fc1"
BATCHES = Profile({"pixel_values": ((1, 3, 224, 224), (8, 3, 224, 224), (32, 3, 224, 224))})
# The outputs of TensorRT 10.x for a quantised linear, shortened; see test_tensorrt_precision.py.
ENGINE = {
    "Layers": [
        {
            "Name": NODE,
            "LayerType": "gemm",
            "Inputs": [{"Name": "a", "Format/Datatype": "Int8"}],
            "Outputs": [{"Name": "b", "Format/Datatype": "Half"}],
            "TacticName": "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x64x64",
            "Metadata": f"[ONNX Layer: {NODE}]\x1f[ONNX Layer: {NODE}/add]",
        },
        {
            "Name": "softmax",
            "LayerType": "kgen",
            "Inputs": [{"Name": "b", "Format/Datatype": "Half"}],
            "Outputs": [{"Name": "c", "Format/Datatype": "Half"}],
            "Metadata": "[ONNX Layer: softmax]",
        },
    ],
    "Bindings": ["pixel_values", "logits"],
}
SCENARIO = {
    "inputs": {"pixel_values": [-1, 3, 224, 224]},
    "engine": ENGINE,
    "cuda": 12060,
    "device": ["Orin", 8, 7],
}

# The fake CUDA of the runtime's tests, with the scenario's GPU.
CUDA = """
import json, os
from pathlib import Path
from tests.fakes.cuda_machine import MACHINE, Properties
from tests.fakes.cuda_runtime import *

_scenario = json.loads(Path(os.environ["FAKE_TENSORRT"]).read_text())
if "device" in _scenario:
    _name, _major, _minor = _scenario["device"]
    MACHINE.properties = Properties(_name.encode() + bytes(1), _major, _minor)
else:
    MACHINE.failures["cudaGetDevice"] = cudaError_t.cudaErrorNoDevice

def cudaDriverGetVersion():
    return cudaError_t.cudaSuccess, _scenario["cuda"]
"""


class Machine:
    """Puts the fakes on the path of child processes; `folder` is where orders read and write."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, version: str = "10.3.0", **scenario: Any
    ) -> None:
        self.folder, self.scenario_file = folder, folder / "scenario.json"
        self.scenario_file.write_text(json.dumps({**SCENARIO, **scenario}))
        path = folder / "path"
        self.module(f"from tests.fakes.tensorrt_builder import *\n__version__ = {version!r}\n")
        (path / "cuda" / "bindings").mkdir(parents=True)
        (path / "cuda" / "bindings" / "__init__.py").touch()  # NVIDIA's, which has one, would win
        (path / "cuda" / "bindings" / "runtime.py").write_text(CUDA)
        (folder / "model.onnx").write_text("the graph")
        patch.setenv("PYTHONPATH", str(path))
        patch.setenv("FAKE_TENSORRT", str(self.scenario_file))

    def module(self, text: str) -> None:
        """Makes `text` the module tensorrt."""
        package = self.folder / "path" / "tensorrt"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(text)

    @property
    def asked(self) -> Mapping[str, Any]:
        """What was asked of the fake builder."""
        record: Mapping[str, Any] = json.loads(self.scenario_file.with_suffix(".asked").read_text())
        return record

    @property
    def was_cancelled(self) -> bool:
        """Whether a monitor's answer stopped the build."""
        return self.scenario_file.with_suffix(".cancelled").exists()

    def order(self, **changes: Any) -> PlanOrder:
        """An order for a batch of 1 to 32 with one int8 linear."""
        given: dict[str, Any] = {
            "onnx": self.folder / "model.onnx",
            "plan": self.folder / "out" / "model.plan",
            "profiles": (BATCHES,),
            "precision_map": {NODE: "int8"},
            "workspace": 512 << 20,
        }
        return PlanOrder(**{**given, **changes})

    def build(self, **changes: Any) -> Plan:
        """Builds that order; stages are collected in `said`."""
        self.said: list[str] = []
        return build_plan(self.order(**changes), self.said.append)

    def refusal(self, **changes: Any) -> str:
        """The one line that a build is refused with; nothing of it is left."""
        with pytest.raises(EngineError) as caught:
            self.build(**changes)
        text = str(caught.value)
        assert "\n" not in text
        assert self.left() == []
        return text

    def left(self) -> list[str]:
        """Names of what is in the output folder."""
        return sorted(path.name for path in (self.folder / "out").iterdir())
