"""Runs `engines.trt.child` and turns every way it can end into an answer or one line.

The child has its own session, so that Ctrl-C reaches only this process, which cancels it by
closing its standard input; the child sees the same when this process dies. Answers come over a
pipe of their own: libraries print on standard output as they please, and what they print is kept
for the message about a crash.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from runtime.errors import EngineError

GRACE = 20.0  # seconds that a cancelled build may take to reach its next step
_ROOT = Path(__file__).resolve().parents[2]
_TAIL = 2000  # bytes of the child's output that its last words are looked for in


def run_child(request: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Sends `request` to a new child process and waits for its answer.

    Args:
        request: as `engines.trt.child` takes it.
        say: told of each stage.

    Raises:
        EngineError: the child refused, crashed or was killed.
        KeyboardInterrupt: after the child has been cancelled and has ended.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as messages, tempfile.TemporaryFile() as printed:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "engines.trt.child", str(writing)],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
                cwd=_ROOT,  # where -m finds this package
                env=_environment(),
            )
        finally:
            os.close(writing)
        try:
            answer, stage = _converse(child, request, messages, say)
        finally:
            _end(child)
        if answer is None:
            raise EngineError(_obituary(child.returncode, stage, _last_words(printed)))
    if "error" in answer:
        raise EngineError(answer["error"])
    done: dict[str, Any] = answer["done"]
    return done


def _environment() -> dict[str, str]:
    """This process's, with relative entries of PYTHONPATH made absolute: the child is elsewhere."""
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in entries)
    return {**os.environ, "PYTHONPATH": paths}


def _converse(
    child: subprocess.Popen[bytes],
    request: Mapping[str, Any],
    messages: Iterable[str],
    say: Callable[[str], None],
) -> tuple[dict[str, Any] | None, str]:
    """The child's answer, None when it ended without one; and the stage it was in."""
    stage = "starting"
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it died at once: there will be no answer
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
    for line in messages:
        message: dict[str, Any] = json.loads(line)
        if "say" not in message:
            return message, stage
        stage = message["say"]
        say(stage)
    return None, stage


def _end(child: subprocess.Popen[bytes]) -> None:
    """Cancels the child unless it has ended, and kills it when that takes too long."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also after a second Ctrl-C
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _obituary(code: int, stage: str, last_words: str) -> str:
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return (
            f'the TensorRT process was killed during "{stage}", most likely for want of memory; '
            "give a smaller --workspace or a smaller largest batch, or close other programs"
        )
    heard = f" after printing {last_words!r}" if last_words else ""
    if code < 0:
        return (
            f'TensorRT crashed ({signal.Signals(-code).name}) during "{stage}"{heard}; no plan '
            "was written; try another optimisation level or TensorRT version"
        )
    return (
        f'the TensorRT process ended with code {code} during "{stage}"{heard}; no plan was '
        "written; check the installation with `vitrine doctor`"
    )


def _last_words(printed: IO[bytes]) -> str:
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(0, size - _TAIL))
    lines = printed.read().decode(errors="replace").split("\n")
    return next((" ".join(line.split())[:200] for line in reversed(lines) if line.strip()), "")
