"""The live page's web server: one page, one WebSocket for it, and plain streams."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import re
import socket
from pathlib import Path

from aiohttp import web
from drawing import annotate, describe
from live_access import Access
from live_board import Board

from runtime import Engine, EngineError, Pipeline
from runtime.metrics import PrometheusMetrics
from runtime.pipeline import Result

_PAGE = Path(__file__).with_name("live.html")
_TICK = 1 / 15  # seconds between looks for newer pictures: the most pictures a second
_STATUS_S = 1.0  # seconds between reports
_SIDES = (480, 960)  # pixels of a picture's longer side: labels are legible, and JPEG is quick
_UNSENT = 1 << 17  # bytes of a plain stream that wait at most in the kernel for a slow reader


class Server:
    """Shows a board to several browsers, none of which slows the pipeline.

    The page has one WebSocket for all sources, as browsers open six connections to a server at
    most. It asks for a source's next picture when it has shown the last one and the newest is sent,
    so a slow browser sees fewer pictures, not older ones. Pictures are drawn when somebody asks,
    one at a time and once for everybody: they never take more than one core from the engine.
    """

    def __init__(self, board: Board, engine: Engine, pipeline: Pipeline) -> None:
        """Show the sources of `pipeline`, in their order."""
        self._board, self._engine, self._pipeline = board, engine, pipeline
        self._names = list(pipeline.stats())
        self._pictures: dict[str, tuple[Result, bytes]] = {}
        self._drawing = asyncio.Lock()
        self._ending = asyncio.Event()

    def application(self, access: Access) -> web.Application:
        """The server as `aiohttp` runs it, every handler behind `access`."""
        page = _PAGE.read_text(encoding="utf-8")

        async def index(_: web.Request) -> web.Response:
            return web.Response(text=page, content_type="text/html")

        async def reload(request: web.Request) -> web.Response:
            # Not without a token even here: every program on this computer can ask.
            if not access.has_token(request):
                raise web.HTTPForbidden(text="Reloading needs the token of VITRINE_TOKEN.\n")
            try:
                await asyncio.to_thread(self._engine.reload)
            except EngineError as error:
                raise web.HTTPConflict(text=f"{error}\n") from error
            return web.Response(text="The bundle is in use.\n")

        app = web.Application()
        access.protect(app, f"script-src {_hash(page, 'script')}; style-src {_hash(page, 'style')}")
        app.router.add_get("/", index)
        app.router.add_get("/watch", self._watch)
        app.router.add_get("/stream/{name:.+}", self._stream)
        if isinstance(self._board, PrometheusMetrics):
            app.router.add_get("/metrics", _metrics)
        app.router.add_post("/reload", reload)
        app.on_shutdown.append(self._end)
        return app

    async def _watch(self, request: web.Request) -> web.WebSocketResponse:
        """The page's connection: reports as text, pictures in bytes (`_message`)."""
        # JPEG does not compress further; a page has only short numbers to say.
        page = web.WebSocketResponse(heartbeat=20, compress=False, max_msg_size=64)
        await page.prepare(request)
        indices = {str(index) for index in range(len(self._names))}
        asked: set[int] = set()
        sending = asyncio.create_task(self._send(page, asked))
        try:
            async for message in page:
                if message.data in indices:
                    asked.add(int(message.data))
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return page

    async def _send(self, page: web.WebSocketResponse, asked: set[int]) -> None:
        shown: dict[int, Result] = {}
        due = 0.0
        try:
            while not self._ending.is_set():
                now = asyncio.get_running_loop().time()
                if now >= due:
                    due = now + _STATUS_S
                    await page.send_json(self._board.status(self._engine, self._pipeline))
                for index in sorted(asked):
                    newest = self._board.newest(self._names[index])
                    if newest is not None and newest is not shown.get(index):
                        asked.discard(index)
                        shown[index] = newest
                        await page.send_bytes(_message(index, newest, await self._jpeg(newest)))
                await asyncio.sleep(_TICK)
        finally:
            await page.close()  # ends the loop that reads, whatever has happened here

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """One source as multipart JPEG, for a tab of its own and for other programs."""
        name = request.match_info["name"]
        if name not in self._names:
            raise web.HTTPNotFound(text=f"There is no source {name}.\n")
        kind = "multipart/x-mixed-replace; boundary=picture"
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        transport = request.transport
        if transport is not None:  # so that what a slow reader gets is new
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT
            )
        shown: Result | None = None
        with contextlib.suppress(ConnectionError):  # whoever watched has left
            await response.write(b"--picture\r\n")
            while not self._ending.is_set() and transport and not transport.is_closing():
                newest = self._board.newest(name)
                if newest is not None and newest is not shown:
                    shown, jpeg = newest, await self._jpeg(newest)
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    # The next boundary at once: browsers show a picture when they have seen it.
                    await response.write(head.encode() + jpeg + b"\r\n--picture\r\n")
                await asyncio.sleep(_TICK)
        return response

    async def _jpeg(self, result: Result) -> bytes:
        async with self._drawing:
            known = self._pictures.get(result.source)
            if known is None or known[0] is not result:
                known = (result, await asyncio.to_thread(_drawn, result))
                self._pictures[result.source] = known
            return known[1]

    async def _end(self, _: web.Application) -> None:
        self._ending.set()


async def _metrics(_: web.Request) -> web.Response:
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _message(index: int, result: Result, jpeg: bytes) -> bytes:
    """A source's index in 2 bytes, its caption after the caption's length in 4, and its picture.

    They come together so that the words are of the picture that they stand under.
    """
    caption = describe(result).encode()
    return index.to_bytes(2, "big") + len(caption).to_bytes(4, "big") + caption + jpeg


def _drawn(result: Result) -> bytes:
    file = io.BytesIO()
    # Without subsampling, so that thin lines keep their colour.
    annotate(result, _SIDES).save(file, "JPEG", quality=80, subsampling=0)
    return file.getvalue()


def _hash(page: str, tag: str) -> str:
    """The content policy's source of the page's one inline `tag`: its hash."""
    inline = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert inline is not None  # the page is ours
    digest = hashlib.sha256(inline[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
