"""The child process: `python -m engines.trt.child FD`, started by `engines.trt.child_process`.

Reads one JSON request from standard input, {"build": order} or {"look": true}, and writes JSON
lines to the file descriptor FD: any number of {"say": text}, then {"done": …} or {"error": text}.
End of standard input means cancel.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from engines.trt.building import build
from engines.trt.installation import look
from engines.trt.plan_order import order_from_json
from runtime.errors import EngineError, one_line

_GRACE = 60.0  # seconds until an orphan that TensorRT does not let go of ends itself


def main() -> None:
    """Serves one request and ends the process without returning."""
    fd = int(sys.argv[1])
    os.set_inheritable(fd, False)
    with suppress(OSError):  # when memory runs out, this process goes and not the tool
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    channel = os.fdopen(fd, "w", encoding="utf-8")
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        # Called from TensorRT's threads, which an exception would bring down.
        with lock, suppress(OSError):
            channel.write(json.dumps(message) + "\n")
            channel.flush()

    request = json.loads(sys.stdin.buffer.readline())
    cancelled = threading.Event()
    threading.Thread(target=_watch, args=(sys.stdin.buffer, cancelled), daemon=True).start()
    send(_answer(request, lambda text: send({"say": text}), cancelled.is_set))
    # CUDA's and TensorRT's destructors may crash in a process that is ending; the answer stands.
    os._exit(0)


def _watch(source: IO[bytes], cancelled: threading.Event) -> None:
    source.read()
    cancelled.set()
    time.sleep(_GRACE)
    os._exit(1)


def _answer(
    request: dict[str, Any], say: Callable[[str], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    try:
        if "look" in request:
            return {"done": asdict(look())}
        plan = build(order_from_json(request["build"]), say, cancelled)
        return {"done": {**asdict(plan), "file": str(plan.file)}}
    except EngineError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"no plan was written: {one_line(error)}; give another folder"}
    except Exception as error:  # of native libraries, whose exceptions share no base class
        traceback.print_exc()
        return {"error": f"TensorRT failed ({type(error).__name__}: {one_line(error)})"}


if __name__ == "__main__":
    main()
