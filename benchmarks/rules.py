"""What each lowering rule is worth: the lowered graph with one rule left out at a time.

    python -m benchmarks.rules --model swin_t --batch 8 --images DIR

Variants are timed interleaved against the full lowering, in each back end. The full lowering is
there a second time: how far its ratio is from 1 is the noise.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import tempfile
from pathlib import Path

import onnx_ir as ir

from benchmarks.ours import SIZES, prepare
from benchmarks.peers import engine
from benchmarks.tables import machine
from benchmarks.timing import Times, latency_table, measure, opened
from export.lowering.cpu import RULES, lowered

FULL, AGAIN = "every rule", "every rule, again"


def variants(typed: ir.Model, folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Saves the full lowering, twice, and one file for every rule left out.

    Returns:
        Files by the name of the variant, and for variants that cannot be lowered the reason.
    """
    choices = {FULL: RULES, AGAIN: RULES}
    choices |= {f"without: {left.name}": _others(left) for left in RULES}
    files: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for number, (name, rules) in enumerate(choices.items()):
        try:
            ir.save(lowered(typed, rules), folder / f"{number}.onnx")
            files[name] = folder / f"{number}.onnx"
        except Exception as error:  # a rule may need what an earlier one made; any kind of error
            failed[name] = f"{type(error).__name__}: {error}"
    return files, failed


def _others(left: object) -> tuple:
    return tuple(rule for rule in RULES if rule is not left)


def one_model(model: str, arguments: argparse.Namespace) -> dict[str, Times]:
    """Prints one table a back end and batch size; returns the times."""
    record: dict[str, Times] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare(
            model, "random", arguments.images, arguments.count, 0, (arguments.precision,), folder,
            size=SIZES.get(model),
        )  # fmt: skip
        files, unlowered = variants(prepared.typed[arguments.precision], folder)
        for backend in arguments.backend:
            for batch in arguments.batch:
                inputs = prepared.inputs(batch)
                builders = {n: functools.partial(engine, backend, f) for n, f in files.items()}
                runs, failed = opened(builders, inputs)
                times = measure(runs, inputs, arguments.rounds)
                title = f"{model} {arguments.precision}, {backend}, batch {batch}"
                record[title] = times
                print(f"### {title}, {arguments.rounds} rounds\n")
                table = latency_table(times, FULL, unlowered | failed, "time over every rule's")
                print(f"{table}\n", flush=True)
                del runs
                gc.collect()
    return record


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["swin_t", "vit_b_16", "detr_r50"])
    parser.add_argument("--precision", default="int8", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--backend", nargs="+", default=["openvino", "onnxruntime"])
    parser.add_argument("--batch", nargs="+", type=int, default=[8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=Path, help="folder of calibration images")
    parser.add_argument("--count", type=int, default=8, help="how many of them")
    parser.add_argument("--json", type=Path, help="write all times here")
    arguments = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    record: dict[str, Times] = {}
    for model in arguments.model:
        record |= one_model(model, arguments)
        gc.collect()
        if arguments.json:
            whole = {"machine": machine(), "milliseconds": record}
            arguments.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
