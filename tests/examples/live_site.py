"""The live page of this process, served on a free port."""

from __future__ import annotations

import asyncio
import io
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from aiohttp import web
from live_access import Access
from live_board import Board
from live_server import Server
from PIL import Image

from runtime import Engine, Pipeline


class Site:
    """An engine, a pipeline and a server around it; sources as `Pipeline` takes them."""

    def __init__(
        self,
        bundle: Path,
        sources: Mapping[str, Any],
        *,
        token: str | None = None,
        port: int = 0,
    ) -> None:
        self.bundle, self.board = bundle, Board()
        self.engine = Engine.load(bundle, observer=self.board)
        self.pipeline = Pipeline(self.engine, sources, observer=self.board, stall_s=1.0)
        self._follower = threading.Thread(target=self.board.follow, args=(self.pipeline,))
        self._follower.start()
        self._token, self.port = token, port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        self._stopping, self._loop = asyncio.Event(), asyncio.get_running_loop()
        server = Server(self.board, self.engine, self.pipeline)
        app = server.application(Access("127.0.0.1", self._token))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    def stop_serving(self) -> None:
        """End the server, but not the pipeline."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.stop_serving()
        self.pipeline.close()
        self._follower.join()
        self.engine.close()


def pictures(address: str) -> Iterator[Image.Image]:
    """The pictures of a multipart stream."""
    with urllib.request.urlopen(address, timeout=40) as stream:
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
        yield from parts(stream)


def parts(stream: IO[bytes]) -> Iterator[Image.Image]:
    """The pictures of a multipart body, by the lengths that its parts give."""
    while stream.readline() == b"--picture\r\n":
        assert stream.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(stream.readline().removeprefix(b"Content-Length: "))
        assert stream.readline() == b"\r\n"
        yield Image.open(io.BytesIO(stream.read(length)))
        assert stream.readline() == b"\r\n"
