from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from runtime import Engine
from tests.runtime.bundles import solid

ROOT = Path(__file__).resolve().parents[2]
KILLS = 8


def test_a_killed_process_leaves_nothing_that_stops_the_next(bundle: Path) -> None:
    chance, files = random.Random(0), {path.name for path in bundle.iterdir()}
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.pipeline.killed_child", str(bundle)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "started\n"
            time.sleep(chance.uniform(0.0, 0.6))  # anywhere from loading to the tenth time
            child.kill()
        assert {path.name for path in bundle.iterdir()} == files
        with Engine.load(bundle) as engine:
            assert engine([solid(255, 0, 0)])
    # At most the note and half of another one, however often.
    others = {path.name for path in bundle.parent.iterdir()} - {bundle.name}
    note = f".{bundle.name}.proved.json"
    assert others <= {note, f"{note}.new"}
