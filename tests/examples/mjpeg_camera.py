"""A network camera: MJPEG over HTTP on loopback, as `examples/` would meet one."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from PIL import Image

from tests.examples.red_square import frame


class NetworkCamera:
    """Serves the square where `place` says, 25 times a second; `with` unplugs it at the end."""

    def __init__(self, place: tuple[int, int] = (60, 30), port: int = 0) -> None:
        self.place = place
        self._unplugged = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port: int = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/camera"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> NetworkCamera:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unplugged.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the threads of its connections

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        unplugged, picture = self._unplugged, self._picture

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not unplugged.wait(0.04):
                        self.wfile.write(_part(picture()))
                except ConnectionError:
                    pass  # the watcher has left

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        return Handler

    def _picture(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(frame(*self.place)).save(file, "JPEG", quality=95)
        return file.getvalue()


def _part(jpeg: bytes) -> bytes:
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"
