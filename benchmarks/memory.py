"""What a process that runs an engine takes of memory, and what that is made of.

    python -m benchmarks.memory BUNDLE... [--batch 8]

Each bundle is loaded in a process of its own, which says after each step how much of it is resident
(VmRSS of /proc/self/status) and how much was at most (VmHWM).
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.tables import machine, markdown

_STATUS = Path("/proc/self/status")


def resident() -> tuple[float, float]:
    """MiB now and at most so far."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    now, most = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def measure(bundle: Path, batch: int) -> list[tuple[str, float, float]]:
    """In this process: what was done, and MiB resident after it and at most."""
    steps: list[tuple[str, float, float]] = []

    def after(what: str, do: Callable[[], object]) -> object:
        kept = do()
        steps.append((what, *resident()))
        return kept

    steps.append(("Python and NumPy", *resident()))
    runtime = after("import runtime", lambda: importlib.import_module("runtime"))
    backend = json.loads((bundle / "manifest.json").read_text())["engine"]["backend"]
    after("the back end's library", lambda: importlib.import_module(backend.partition("-")[0]))
    # max_batch, as a process that is given single frames pays for no more.
    engine = runtime.Engine.load(bundle, verify=False, max_batch=batch)  # type: ignore[attr-defined]
    steps.append(("the engine, loaded", *resident()))
    frame = np.zeros((1080, 1920, 3), np.uint8)
    after("one 1080p frame", lambda: engine([frame]))
    after(f"batches of {batch}, 20 times", lambda: [engine([frame] * batch) for _ in range(20)])
    return steps


def main() -> None:
    """Parse arguments, measure in children, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.bundles[0], given.batch)))
        return
    print(machine())
    for bundle in given.bundles:
        command = [sys.executable, "-m", "benchmarks.memory", str(bundle), "--child"]
        command += ["--batch", str(given.batch)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [[what, f"{now:.0f}", f"{most:.0f}"] for what, now, most in json.loads(ran.stdout)]
        print(f"\n{bundle.name}\n\n{markdown(['after', 'resident, MiB', 'at most'], rows)}")


if __name__ == "__main__":
    main()
