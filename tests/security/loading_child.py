"""Loads bundles one after another and says on standard output what became of each.

    python -m tests.security.loading_child   (folders on standard input, one a line)

One JSON object a line: `{}` when it is ready, then one for each folder, in order.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np

from runtime import Engine, EngineError

written: list[str] = []
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod"}
RUNS = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
}


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what Python itself writes or starts, wherever it is."""
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(str(arguments[0]))
    elif event in WRITES | RUNS:
        written.append(f"{event} {arguments[0]!r}")


def attempt(folder: str) -> dict[str, Any]:
    written.clear()
    before = time.process_time()
    try:
        with Engine.load(folder, threads=1) as engine:
            engine([np.zeros((8, 8, 3), np.uint8)])
        found = {"outcome": "loads"}
    except EngineError as error:
        found = {"outcome": "EngineError", "text": str(error)}
    except BaseException as error:
        found = {"outcome": type(error).__name__, "text": str(error)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # bytes, so far
    seconds = time.process_time() - before
    return found | {"seconds": seconds, "written": list(written), "peak": peak}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a back end prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The back ends' own telemetry would write to the home folder, whatever they load.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401

    sys.addaudithook(watch)
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps(attempt(line.rstrip("\n"))), file=answers)


if __name__ == "__main__":
    main()
