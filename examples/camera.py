"""Watches cameras and files with an engine: JSON lines on standard output, or annotated videos.

python examples/camera.py BUNDLE gate=rtsp://10.0.0.7/main yard=0 --threshold 0.6
python examples/camera.py BUNDLE clip.mp4 --video found.mp4
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from contextlib import nullcontext

from arguments import named_sources, parser
from videos import Videos

from runtime import Engine, EngineError, Pipeline
from runtime.pipeline import Result


def main() -> int:
    """Run until every source has ended or a signal comes; gives the exit code."""
    options = parser(__doc__)
    options.add_argument("--video", metavar="FILE", help="write this, one a source, not JSON")
    arguments = options.parse_args()
    logging.basicConfig(format="%(message)s")  # what the runtime warns of, such as a lost camera
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # KeyboardInterrupt leaves each `with`
    try:
        watch(arguments)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # whoever read the lines has enough; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (EngineError, ValueError, OSError) as error:
        print(f"camera: {error}", file=sys.stderr)
        return 2
    return 0


def watch(arguments: argparse.Namespace) -> None:
    """Load, open, iterate: all that it takes to embed an engine."""
    sources = named_sources(arguments.sources)
    names, video = [source.name for source in sources], arguments.video
    with (
        Videos(video, names) if video else nullcontext() as videos,
        Engine.load(arguments.bundle) as engine,
        Pipeline(
            engine, sources, threshold=arguments.threshold,
            max_delay_ms=arguments.max_delay_ms, queue_size=arguments.queue,
        ) as pipeline,
    ):  # fmt: skip
        for result in pipeline:
            if videos is None:
                print(as_line(result), flush=True)
            else:
                videos.write(result)
        if empty := [name for name, stats in pipeline.stats().items() if not stats.delivered]:
            raise EngineError(f"no frame came from {', '.join(empty)}")


def as_line(result: Result) -> str:
    """JSON; boxes are left, top, right, bottom in pixels, times in seconds since the epoch."""
    record = {"source": result.source, "frame": result.frame_id, "captured": result.captured}
    return json.dumps(record | result.prediction.as_json())


if __name__ == "__main__":
    sys.exit(main())
