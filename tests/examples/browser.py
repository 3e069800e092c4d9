"""A headless Chromium, spoken to in W3C WebDriver's own words: HTTP and JSON."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_PATIENCE = 40.0  # seconds; a page that has not changed by then will not


class Browser:
    """One window; `with Browser(profile) as browser: browser.open(url)`."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900) -> None:
        """Start chromedriver on a free port, and a Chromium with a profile of its own."""
        self._driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), "--port=0"], stdout=subprocess.PIPE, text=True
        )
        assert self._driver.stdout is not None
        started = next(line for line in self._driver.stdout if "started successfully" in line)
        port = started.strip().rstrip(".").split()[-1]
        self._base = f"http://127.0.0.1:{port}"
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
            "--no-first-run", f"--window-size={width},{height}", f"--user-data-dir={profile}",
        ]  # fmt: skip
        options = {"binary": shutil.which("chromium"), "args": arguments}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        try:
            session = self._ask("POST", "/session", {"capabilities": wanted})
        except BaseException:
            self._driver.terminate()
            raise
        self._base += f"/session/{session['sessionId']}"

    def open(self, address: str) -> None:
        """Load a page."""
        self._ask("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function with this body returns; a promise is waited for."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", "/execute/sync", body)

    def wait(self, script: str, *arguments: Any, until: Callable[[Any], bool] = bool) -> Any:
        """The first value of `script` that `until` takes; true ones are taken by default."""
        end = time.monotonic() + _PATIENCE
        while not until(value := self.run(script, *arguments)):
            assert time.monotonic() < end, f"{script} stays {value}; the page: {self.text()}"
            time.sleep(0.05)  # between looks
        return value

    def text(self) -> str:
        """The words on the page, as a person sees them."""
        return str(self.run("return document.body.innerText"))

    def screenshot(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol, such as one that emulates a phone."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()
            assert self._driver.stdout is not None
            self._driver.stdout.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']}") from None
