"""`examples/live.py` as a program."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from live_board import Board
from PIL import Image

from runtime import EngineError
from tests.examples.conftest import EXAMPLES
from tests.examples.live_site import pictures
from tests.examples.mjpeg_camera import NetworkCamera
from tests.examples.red_square import frame

TOKEN = "a secret of many characters"
_PATIENCE = 40.0  # seconds


def command(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, EXAMPLES / "live.py", *arguments]


@contextmanager
def serving(*arguments: str | Path, token: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and the address that it says it serves; it must end cleanly when told to."""
    program = subprocess.Popen(
        command(*arguments, "--port", "0"), text=True, env={**os.environ, "VITRINE_TOKEN": token},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        said = next(line for line in program.stdout if "http://" in line)
        yield program, re.findall(r"http://[\w.:]+", said)[0]
        program.send_signal(signal.SIGTERM)
        rest, _ = program.communicate(timeout=_PATIENCE)
        assert program.returncode == 0, rest
        assert "Traceback" not in rest
        assert not token or token not in said + rest
    finally:
        program.kill()
        program.wait()


def wait_for_metric(address: str, line: str) -> None:
    """Until a line of Prometheus' text is there."""
    end = time.monotonic() + _PATIENCE
    text = ""
    while f"\n{line}\n" not in text:
        assert time.monotonic() < end, f"no {line} in {text}"
        time.sleep(0.05)  # between looks
        with urllib.request.urlopen(f"{address}/metrics", timeout=_PATIENCE) as answer:
            text = answer.read().decode()


def test_a_network_camera_that_goes_and_comes_back(bundle: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    with NetworkCamera() as gate, serving(bundle, f"gate={gate.address}") as (program, address):
        assert next(pictures(f"{address}/stream/gate")).size == (480, 360)
        wait_for_metric(address, 'vitrine_source_up{source="gate"} 1.0')

        program.send_signal(signal.SIGHUP)
        wait_for_metric(address, 'vitrine_engine_reloads_total{outcome="done"} 1.0')

        gate.__exit__(None, None, None)
        wait_for_metric(address, 'vitrine_source_up{source="gate"} 0.0')
        with NetworkCamera(port=gate.port):
            wait_for_metric(address, 'vitrine_source_up{source="gate"} 1.0')


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file that is a source of one frame."""
    Image.fromarray(frame(20, 30)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_token_is_asked_for_and_told_to_nobody(bundle: Path, picture: Path) -> None:
    query = f"?token={quote(TOKEN)}"
    # `serving` looks for the token in all that is printed.
    with serving(bundle, f"gate={picture}", "--host", "0.0.0.0", token=TOKEN) as (_, address):
        local = address.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(local, timeout=_PATIENCE)
        assert next(pictures(f"{local}/stream/gate{query}")).size == (480, 360)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{local}/nowhere{query}", timeout=_PATIENCE)


def refused(*arguments: str | Path, **environment: str) -> str:
    """The one line of an error; nothing else may be printed."""
    ran = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60,
        env={**os.environ, "VITRINE_TOKEN": "", **environment},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("live: ") and ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def test_mistakes_are_one_line(bundle: Path, picture: Path) -> None:
    assert "VITRINE_TOKEN" in refused(bundle, picture, "--host", "0.0.0.0")
    assert "16 or more" in refused(bundle, picture, VITRINE_TOKEN="short")
    assert "nowhere" in refused(bundle, "nowhere.mp4")
    assert "nowhere" in refused(picture.parent / "nowhere", picture)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(bundle, picture, "--port", str(port))
    assert said == f"live: port {port} of 127.0.0.1 is taken; give another with --port N\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "99999", "--port is 99999; give 1 to 65535, or 0 for any that is free"),
        ("--port", "-1", "--port is -1; give 1 to 65535, or 0 for any that is free"),
        ("--verify-every", "0", "--verify-every is 0; give seconds above 0"),
        ("--queue", "0", "argument --queue: 0 is less than 1"),
    ],
    ids=["port too high", "port below 0", "verify-every", "queue"],
)
def test_a_number_out_of_range_is_said_by_its_option(
    bundle: Path, picture: Path, option: str, value: str, said: str
) -> None:
    ran = subprocess.run(
        command(bundle, picture, option, value), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f"\nlive.py: error: {said}\n"), ran.stderr


@pytest.mark.parametrize("name", ["camera", "live"])
def test_the_queue_of_a_source_can_be_longer(
    bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[int | None] = []

    def pipeline(*_: Any, queue_size: int | None, **__: Any) -> None:
        asked.append(queue_size)
        raise EngineError("enough is known")

    example = importlib.import_module(name)
    monkeypatch.setattr(example, "Pipeline", pipeline)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    # Metrics can be registered once in a process.
    monkeypatch.setattr(example, "counting_board", Board, raising=False)
    for more in ([], ["--queue", "7"]):
        monkeypatch.setattr(sys, "argv", [name, str(bundle), str(picture), *more])
        assert example.main() == 2
    assert asked == [None, 7]


def test_without_aiohttp_one_line_says_what_to_install(bundle: Path, picture: Path) -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None; sys.path.insert(0, sys.argv.pop(1))\n"
        "import live; sys.exit(live.main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, EXAMPLES, bundle, picture], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == 'live: aiohttp is missing; run `pip install -e ".[live]"`\n'
