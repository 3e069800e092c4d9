"""Bundles with a plan for the fake device."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from runtime.manifest import EngineInfo
from tests.fakes.tensorrt_runtime import _plan
from tests.runtime.bundles import CLASSIFIER, write_bundle

FRAMES = [[[1, 3, 8, 8], [4, 3, 8, 8], [8, 3, 8, 8]]]
PLAN = _plan("mean_colour", {"pixel_values": ["FLOAT", FRAMES]}, {"logits": "FLOAT"})
ORIN = EngineInfo("tensorrt", "10.3.0", "Orin", "8.7")


def write_plan_bundle(
    folder: Path, engine: EngineInfo = ORIN, plan: bytes = PLAN, **files: bytes
) -> Path:
    """A bundle of the tiny classifier, whose golden answers are computed by hand."""
    write_bundle(folder, dataclasses.replace(CLASSIFIER, engine=engine))
    for name, data in {"model.plan": plan, **files}.items():
        (folder / name).write_bytes(data)
    record = json.loads((folder / "manifest.json").read_text())
    record["files"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(record))
    return folder
