"""OpenVINO's first inferences, made by several threads at once."""

from __future__ import annotations

import subprocess
import sys


def test_the_first_inferences_of_two_threads_do_not_wait_for_each_other() -> None:
    """What an inference asks first of OpenVINO, in the order in which it hung.

    The first thread comes with Python's lock in its hands and the second already waiting for it:
    `sum` takes longer than the 5 ms after which a thread insists, and `map` asks nobody in between.
    Without `openvino_core` the process hangs (OpenVINO 2026.4.1).
    """
    code = (
        "import functools, operator, threading\n"
        "import openvino\n"
        "from runtime.backends.openvino_session import openvino_core\n"
        "openvino_core()\n"
        "dtype, begun = openvino.Type.f32.to_dtype, []\n"
        "def second():\n"
        "    while not begun: pass\n"
        "    dtype()\n"
        "thread = threading.Thread(target=second)\n"
        "thread.start()\n"
        "begun.append(1)\n"
        "list(map(operator.call, [functools.partial(sum, range(3_000_000)), dtype]))\n"
        "thread.join()\n"
        "print('done')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "done\n")
