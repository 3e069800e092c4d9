"""`vitrine finish`: on the device, a kit becomes a verified bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from export.console import DONE, REFUSED, note, print_json, progress, user_errors

if TYPE_CHECKING:
    from engines.finish import Finished

_MIB = 1 << 20


def finish(
    kit: Annotated[Path, typer.Argument(help="The folder that `vitrine build` made.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the bundle goes. Default: beside the kit.")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(min=1, help="Scratch memory of a build in MiB.")
    ] = None,
    optimisation_level: Annotated[
        int, typer.Option(min=0, max=5, help="0 builds quickly, 5 builds the fastest engine.")
    ] = 3,
    option: Annotated[
        list[str] | None,
        typer.Option(help="version-compatible, hardware-compatible, refit; repeatable."),
    ] = None,
    tensorrt_headers: Annotated[
        Path | None, typer.Option(help="Folder of NvInfer.h, for the plugins.")
    ] = None,
    keep_slower: Annotated[
        bool, typer.Option("--keep-slower", help="Keep INT8 where float is faster.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Build the engines of a device kit here, verify and measure them, and bundle the best."""
    with user_errors(json):
        from engines.finish import finish
        from engines.finish_order import FinishOrder

        order = FinishOrder(
            kit,
            out or kit.absolute().parent,
            workspace and workspace * _MIB,
            optimisation_level,
            frozenset(option or ()),
            tensorrt_headers,
            keep_slower,
        )
        with progress() as say:
            finished = finish(order, say)
    record = finish_summary(finished)
    print_json(record) if json else print_finished(record)
    sys.exit(REFUSED if finished.refused else DONE)


def finish_here(
    kit: Path, target: str, keep_slower: bool, say: Callable[[str], None]
) -> Finished | None:
    """Finishes a new kit at once where this machine is its target; None where it is not."""
    from engines.device_check import check_device
    from engines.finish import finish
    from engines.finish_order import FinishOrder
    from engines.targets import find_target
    from runtime.errors import EngineError

    try:
        here = check_device(find_target(target))
    except EngineError:
        return None
    try:
        return finish(FinishOrder(kit, kit.absolute().parent, keep_slower=keep_slower), say, here)
    except EngineError as error:
        raise EngineError(f"{error}; the kit itself is good: {kit}") from error


def finish_summary(finished: Finished) -> dict[str, Any]:
    """The outcome as plain values."""
    from engines.candidates import candidate_summary

    return {
        "bundle": str(finished.bundle),
        "refused": finished.refused,
        "kept": finished.why,
        "backend": finished.engine.backend,
        "version": finished.engine.version,
        "device": finished.engine.device,
        "notes": list(finished.notes),
        "candidates": [candidate_summary(candidate) for candidate in finished.candidates],
    }


def print_finished(record: dict[str, Any]) -> None:
    """The summary, for people."""
    for text in record["notes"]:
        note(f"note: {text}")
    for candidate in record["candidates"]:
        times = ", ".join(
            f"{ms:.2f} ms at batch {batch}" for batch, ms in candidate["latency_ms"].items()
        )
        print(f"engine    {candidate['name']}: {candidate['obstacle'] or times}")
    print(f"kept      {record['kept']}")
    if record["refused"]:
        print(f"REFUSED   {record['refused']}")
    print(f"bundle    {record['bundle']}")
