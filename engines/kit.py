"""The device kit: a verified model on its way to a device that is not here.

A folder like a bundle, without an engine: lowered graphs, golden probes, the precision map, the
sources of the plugins, and `kit.json`, written last, with the sha256 of every other file.
`engines.finish` makes a bundle of it on the device. `engines.kit_reader` reads it strictly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engines.tensorrt import Profile
from runtime.manifest import Manifest

SCHEMA = 1
SOURCES = "plugins.zip"
"""The plugins' sources in a kit."""
KIT_SUFFIX = ".kit"
"""Of a kit's folder, after the name of the bundle to be."""
QUANTISED = "quantised"
"""The form of attention whose products are int8 too. It alone computes something else than the
other forms of its precision, so it has its own drift."""


@dataclass(frozen=True)
class KitGraph:
    """One lowered graph.

    Attributes:
        file: its name in the kit.
        precision: "int8", "fp16" or "fp32".
        form: of attention; "plugin" needs the plugin library.
        wanted: whether the build asked for this precision, or it is there to compare only.
        tensorrt: the oldest that reads it, (major, minor).
        precision_map: node -> {"type", "why"}.
        nodes: those of the map's nodes that the graph has, by name.
    """

    file: str
    precision: str
    form: str
    wanted: bool
    tensorrt: tuple[int, int]
    precision_map: Mapping[str, Mapping[str, str]]
    nodes: Sequence[str]

    @property
    def measured_as(self) -> str:
        """The key of its evidence: its precision, with the form where that changes the numbers."""
        return f"{self.precision}-{self.form}" if self.form == QUANTISED else self.precision


@dataclass(frozen=True)
class Evidence:
    """What was measured of a graph as written, before the device.

    Attributes:
        drift: against PyTorch, as a manifest keeps it.
        min_cosine: what a golden probe must reach.
    """

    drift: Mapping[str, Any]
    min_cosine: float


@dataclass(frozen=True)
class Kit:
    """What `kit.json` says.

    Attributes:
        name: of the bundle to be.
        manifest: of the bundle to be; it names no engine yet.
        graphs: to build and measure.
        evidence: by `KitGraph.measured_as`, of graphs that may be kept.
        profiles: shapes to build for.
        batches: batch sizes whose latency counts.
    """

    name: str
    manifest: Manifest
    graphs: Sequence[KitGraph]
    evidence: Mapping[str, Evidence]
    profiles: Sequence[Profile]
    batches: Sequence[int]


def kit_text(kit: Kit) -> str:
    """The text of kit.json."""
    record = {
        "schema": SCHEMA,
        "name": kit.name,
        "manifest": json.loads(kit.manifest.to_json()),
        "graphs": [asdict(graph) for graph in kit.graphs],
        "evidence": {name: asdict(each) for name, each in kit.evidence.items()},
        "profiles": [dict(profile.shapes) for profile in kit.profiles],
        "batches": list(kit.batches),
    }
    return json.dumps(record, sort_keys=True, indent=2, allow_nan=False) + "\n"
