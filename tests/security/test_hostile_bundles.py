"""Hundreds of hostile bundles: each is refused with an `EngineError`, quickly, and leaves no trace.

They are loaded in child processes, so that a crash of a back end's native parser is seen and the
bundle that caused it is named.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.bundles import (
    BACKENDS,
    CLASSIFIER,
    DETECTOR,
    MASKED,
    MEAN_COLOUR,
    write_bundle,
)
from tests.security.model_mutants import model_mutants, random_model_mutants
from tests.security.mutants import Mutant, golden_mutants, manifest_mutants, meaning_mutants

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261121
HANG = 60  # wall seconds without an answer, on a machine that does other things as well
SLOW = 5  # seconds of processor time that refusing one bundle may take
KINDS = {"classifier": (CLASSIFIER, MEAN_COLOUR), "detector": (DETECTOR, MASKED)}


def corpus(good: Path, kind: str) -> Iterator[Mutant]:
    rng = random.Random(f"{SEED} {kind}")
    model, golden = ((good / name).read_bytes() for name in ("model.onnx", "golden.npz"))
    if kind == "classifier":
        yield from manifest_mutants((good / "manifest.json").read_text(), rng, 60)
        yield from meaning_mutants()
    yield from golden_mutants(golden, rng, 8)
    yield from model_mutants(model, rng, 12)
    yield from random_model_mutants(model, rng, 30)


def answers(folders: Sequence[Path], scratch: Path) -> Iterator[dict[str, Any]]:
    """What became of each folder; a child that crashes or hangs is replaced for those after it."""
    left = list(folders)
    while left:
        answered = 0
        with child(scratch) as process:
            assert process.stdin and process.stdout
            process.stdin.write("".join(f"{folder}\n" for folder in left))
            process.stdin.close()
            assert process.stdout.readline() == "{}\n", "the child does not start"
            silence = threading.Timer(HANG, process.kill)
            silence.start()
            for line in process.stdout:
                silence.cancel()
                answered += 1
                yield json.loads(line)
                silence = threading.Timer(HANG, process.kill)
                silence.start()
            process.wait()
            silence.cancel()
        left = left[answered:]
        if left:
            hung = process.returncode == -signal.SIGKILL
            yield {"outcome": "hangs" if hung else f"crashes with {process.returncode}"}
            left = left[1:]


def child(scratch: Path) -> subprocess.Popen[str]:
    """A process whose own folder, home and temporary folder are one that must stay empty."""
    environment = os.environ | {"HOME": str(scratch), "TMPDIR": str(scratch)}
    path = f"{scratch}{os.pathsep}{ROOT}"
    environment |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.security.loading_child"],
        cwd=scratch, env=environment, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_bundles_are_refused(kind: str, backend: str, tmp_path: Path) -> None:
    manifest, text = KINDS[kind]
    good = write_bundle(tmp_path / "good", manifest, text, backend)
    (tmp_path / "secret").write_text("0123456789abcdef" * 8)
    mutants = [Mutant("nothing changed", lambda bundle: None, certain=False), *corpus(good, kind)]
    folders = [tmp_path / str(index) for index in range(len(mutants))]
    for mutant, folder in zip(mutants, folders, strict=True):
        shutil.copytree(good, folder)
        mutant.apply(folder)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = snapshot(tmp_path)

    found = list(answers(folders, scratch))

    assert found[0]["outcome"] == "loads", found[0]
    pairs = list(zip(mutants, found, strict=True))
    assert [(m.name, answer) for m, answer in pairs if not harmless(m, answer)] == []
    loaded = [f for f, answer in zip(folders, found, strict=True) if answer["outcome"] == "loads"]
    notes = {str(folder.with_name(f".{folder.name}.proved.json")) for folder in loaded}
    after = snapshot(tmp_path)
    assert {name: after[name] for name in after.keys() - notes} == before
    refused = sum(answer["outcome"] == "EngineError" for answer in found)
    assert refused >= sum(mutant.certain for mutant in mutants) >= 100


def harmless(mutant: Mutant, answer: dict[str, Any]) -> bool:
    """Refused in one line without a trace; or, where it may be right, so by its golden probes."""
    if answer["outcome"] == "loads":
        return not mutant.certain and answer["seconds"] <= SLOW
    return (
        answer["outcome"] == "EngineError"
        and "\n" not in answer["text"]
        and answer["written"] == []
        and answer["seconds"] <= SLOW
    )


def test_the_corpus_is_large_and_the_same_each_time(tmp_path: Path) -> None:
    names = []
    for kind, (manifest, text) in KINDS.items():
        good = write_bundle(tmp_path / kind, manifest, text)
        first, second = ([m.name for m in corpus(good, kind)] for _ in range(2))
        assert first == second and len(set(first)) == len(first)
        names += [(kind, m.name) for m in corpus(good, kind) if m.certain]
    assert len(names) >= 350


def test_a_crash_and_what_is_written_would_be_seen(tmp_path: Path) -> None:
    """The harness itself: what comes after a crash is still loaded, and traces are found."""
    good = write_bundle(tmp_path / "good")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "sitecustomize.py").write_text(HOSTILE_LOADER)
    found = list(answers([good, tmp_path / "crash", tmp_path / "write", good], scratch))
    assert [answer["outcome"] for answer in found] == [
        "loads", "crashes with -11", "EngineError", "loads",
    ]  # fmt: skip
    assert found[2]["written"] == ["trace"] and (scratch / "trace").exists()


# Replaces what the children import, as a native parser that can be attacked would behave.
HOSTILE_LOADER = """
import os, runtime
class Engine(runtime.Engine):
    @classmethod
    def load(cls, path, **options):
        if path.endswith("crash"):
            os.kill(os.getpid(), 11)
        if path.endswith("write"):
            open("trace", "w").close()
        return super().load(path, **options)
runtime.Engine = Engine
"""
