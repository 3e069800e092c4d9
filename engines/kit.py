"""The device kit: a verified model on its way to a device that is not here.

A folder like a bundle, without an engine: lowered graphs, golden probes, the precision map, the
sources of the plugins, and `kit.json`, written last, with the sha256 of every other file.
`engines.finish` makes a bundle of it on the device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.tensorrt import Profile
from runtime.bundle import KIT, check_files
from runtime.errors import EngineError, one_line
from runtime.manifest import Manifest

SOURCES = "plugins.zip"
"""The plugins' sources in a kit."""
KIT_SUFFIX = ".kit"
"""Of a kit's folder, after the name of the bundle to be."""
_SCHEMA = 1
_LARGEST = 64 << 20  # bytes of kit.json
Version = tuple[int, int]


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
    tensorrt: Version
    precision_map: Mapping[str, Mapping[str, str]]
    nodes: Sequence[str]


@dataclass(frozen=True)
class Kit:
    """What `kit.json` says.

    Attributes:
        manifest: of the bundle to be; it names no engine yet.
        graphs: to build and measure.
        profiles: shapes to build for.
        batches: batch sizes whose latency counts.
    """

    manifest: Manifest
    graphs: Sequence[KitGraph]
    profiles: Sequence[Profile]
    batches: Sequence[int]


def kit_text(kit: Kit) -> str:
    """The text of kit.json."""
    record = {
        "schema": _SCHEMA,
        "manifest": json.loads(kit.manifest.to_json()),
        "graphs": [asdict(graph) for graph in kit.graphs],
        "profiles": [dict(profile.shapes) for profile in kit.profiles],
        "batches": list(kit.batches),
    }
    return json.dumps(record, sort_keys=True, indent=2, allow_nan=False) + "\n"


def read_kit(folder: Path) -> Kit:
    """Reads kit.json, then checks the sha256 of every file that it lists.

    Raises:
        EngineError: no kit, one of another schema, a field that is wrong, or a file that is not
            the one that was written.
    """
    path = folder / KIT
    remedy = "give the folder that `vitrine build --target DEVICE` made, copied whole"
    if not path.is_file():
        raise EngineError(f"{folder} holds no {KIT}; {remedy}")
    try:
        if path.stat().st_size > _LARGEST:
            raise EngineError(f"{path} is larger than {_LARGEST} bytes; {remedy}")
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
        if schema != _SCHEMA:
            raise EngineError(
                f"{path} has schema {schema!r}, this release reads {_SCHEMA}; build the kit and "
                "finish it with one release of Vitrine"
            )
        kit = Kit(
            Manifest.from_json(json.dumps(record["manifest"])),
            [_graph(each) for each in record["graphs"]],
            [_profile(each) for each in record["profiles"]],
            [int(batch) for batch in record["batches"]],
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineError(f"{path} is no kit ({one_line(error)}); {remedy}") from error
    check_files(folder, kit.manifest.files)
    missing = {graph.file for graph in kit.graphs} - set(kit.manifest.files)
    if missing or not kit.graphs or not kit.batches:
        raise EngineError(f"{path} lists no {min(missing, default='graph')}; build the kit again")
    return kit


def _graph(record: Mapping[str, Any]) -> KitGraph:
    major, minor = record["tensorrt"]
    return KitGraph(**{**record, "tensorrt": (int(major), int(minor))})


def _profile(record: Mapping[str, Any]) -> Profile:
    shapes = {}
    for name, (least, tuned, most) in record.items():
        shapes[name] = (tuple(least), tuple(tuned), tuple(most))
    return Profile(shapes)
