"""Why a build gave no engine, in one line, by the codes of what TensorRT reported."""

from __future__ import annotations

from collections.abc import Sequence

from engines.trt.installation import Installed
from runtime.errors import EngineError, one_line
from runtime.tensorrt_errors import Reported

RETRY = "try another optimisation level or TensorRT version"
_MIB = 1 << 20


def explain(failures: Sequence[Reported], here: Installed, workspace: int) -> EngineError:
    """The error for the first failure that has a remedy of its own, or else for the first.

    A failure that passes through several layers of TensorRT is reported by each, and the later
    ones only say that they got nothing: "Assertion engine != nullptr failed".

    Args:
        failures: the oldest first, at least one.
        here: what builds.
        workspace: most scratch memory of one layer, in bytes.
    """
    within = f"with a workspace of {workspace // _MIB} MiB"
    for failure in failures:
        reason = one_line(Warning(failure.text))
        if failure.is_memory:
            return EngineError(
                f"{here.device} ran out of memory during the build, {within} ({reason}); give a "
                "smaller --workspace or a smaller largest batch, or close other programs"
            )
        if failure.code == "UNSUPPORTED_STATE":
            return EngineError(
                f"TensorRT {here.tensorrt} finds no kernel for a part of the graph, {within} and "
                f"the memory that is free ({reason}); give a larger --workspace, close other "
                "programs, or build another precision"
            )
        if failure.code == "FAILED_INITIALIZATION":
            return EngineError(
                f"TensorRT {here.tensorrt} did not start all it needs ({reason}); check the "
                "installation with `vitrine doctor`"
            )
    reason = one_line(Warning(failures[0].text))
    return EngineError(
        f"TensorRT {here.tensorrt} built no engine ({reason}); no plan was written; {RETRY}"
    )
