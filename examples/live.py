"""Shows cameras, and what an engine finds in them, on a web page of this computer.

    python examples/live.py BUNDLE gate=rtsp://10.0.0.7/main yard=0

serves http://127.0.0.1:8080/. Any other address needs a token, for which browsers are asked:

    VITRINE_TOKEN=... python examples/live.py BUNDLE gate=... --host 0.0.0.0

SIGHUP opens the bundle's folder again, without losing a frame.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial

from arguments import named_sources, parser
from live_board import Board

from runtime import Engine, EngineError, Pipeline
from runtime.metrics import PrometheusMetrics


class CountingBoard(Board, PrometheusMetrics):
    """A board that counts for Prometheus too."""


def main() -> int:
    """Serve until a signal comes; gives the exit code."""
    options = parser(__doc__)
    options.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to serve")
    options.add_argument("--port", type=int, default=8080, metavar="N")
    options.add_argument(
        "--verify-every", type=float, default=600.0, metavar="S",
        help="run the golden probes again after so many seconds",
    )  # fmt: skip
    arguments = options.parse_args()
    if not 0 <= arguments.port < 1 << 16:
        options.error(f"--port is {arguments.port}; give 1 to 65535, or 0 for any that is free")
    if not arguments.verify_every > 0:
        options.error(f"--verify-every is {arguments.verify_every:g}; give seconds above 0")
    logging.basicConfig(format="%(message)s")  # what the runtime warns of, such as a lost camera
    try:
        show(arguments, os.environ.get("VITRINE_TOKEN") or None)
    except KeyboardInterrupt:
        pass
    except ImportError as error:
        print(f'live: {error.name} is missing; run `pip install -e ".[live]"`', file=sys.stderr)
        return 2
    except (EngineError, ValueError, OSError) as error:
        print(f"live: {error}", file=sys.stderr)
        return 2
    return 0


def show(arguments: argparse.Namespace, token: str | None) -> None:
    """Run a pipeline, and the page that shows it."""
    from aiohttp import web
    from live_access import Access
    from live_server import Server

    access = Access(arguments.host, token)
    board = counting_board()
    sources = named_sources(arguments.sources)
    with (
        Engine.load(
            arguments.bundle, reverify_every=arguments.verify_every, observer=board
        ) as engine,
        Pipeline(
            engine, sources, threshold=arguments.threshold,
            max_delay_ms=arguments.max_delay_ms, queue_size=arguments.queue, observer=board,
        ) as pipeline,
    ):  # fmt: skip
        threading.Thread(target=board.follow, args=(pipeline,), daemon=True).start()
        app = Server(board, engine, pipeline).application(access)

        async def reload_on_hangup(_: web.Application) -> None:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, reload, engine)

        app.on_startup.append(reload_on_hangup)
        try:
            web.run_app(
                app, host=arguments.host, port=arguments.port, access_log=None,
                shutdown_timeout=2.0, print=partial(print, flush=True),
            )  # fmt: skip
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise EngineError(
                f"port {arguments.port} of {arguments.host} is taken; give another with --port N"
            ) from error


def counting_board() -> Board:
    """A board with metrics, where their library is installed."""
    try:
        return CountingBoard()
    except EngineError:
        return Board()


def reload(engine: Engine) -> None:
    """Open the bundle's folder again; the board hears of the outcome."""
    with suppress(EngineError):
        engine.reload()


if __name__ == "__main__":
    sys.exit(main())
