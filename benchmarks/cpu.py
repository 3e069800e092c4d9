"""Latency on this CPU against what others would run: interleaved in one process, paired ratios.

    python -m benchmarks.cpu --model vit_b_16 swin_t detr_r50 --batch 8 1 --images DIR

NNCF is measured when it is installed (`pip install nncf`; it is no dependency of the project).
Every peer starts from PyTorch's own export of the module. An engine that fails has a row that
says why.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import peers
from benchmarks.ours import SIZES, Prepared, prepare
from benchmarks.stock import stock_export
from benchmarks.tables import machine, paired_ratio
from benchmarks.timing import Times, fastest, latency_table, measure, opened
from export.answers import Run, torch_run

OURS = "vitrine int8, OpenVINO"
# What OpenVINO uses by itself where the processor has it; the names of both kinds of engine end so.
BFLOAT16 = " bfloat16"


def contenders(prepared: Prepared, out: Path) -> dict[str, Callable[[], Run]]:
    """Every engine by name; ours first, and nothing is built yet."""
    module, outputs, files = prepared.reference.module, prepared.outputs, prepared.files
    few, stock = list(prepared.calibration), out / "stock.onnx"
    stock_export(module, outputs, prepared.inputs(2), stock)
    builders: dict[str, Callable[[], Run]] = {
        OURS: lambda: peers.engine("openvino", files["int8"]),
        OURS + BFLOAT16: lambda: peers.engine("openvino-bf16", files["int8"]),
        "vitrine int8, ONNX Runtime": lambda: peers.engine("onnxruntime", files["int8"]),
        "PyTorch eager": lambda: torch_run(module, outputs),
        "torch.compile": lambda: peers.torch_compiled(module, outputs),
        "ONNX Runtime FP32": lambda: peers.engine("onnxruntime", stock),
        "OpenVINO FP32": lambda: peers.engine("openvino", stock),
        "OpenVINO" + BFLOAT16: lambda: peers.engine("openvino-bf16", stock),
        "quantize_static, ONNX Runtime": lambda: peers.engine(
            "onnxruntime", peers.quantize_static(stock, few, out / "static.onnx")
        ),
    }
    if importlib.util.find_spec("nncf"):
        from benchmarks import nncf_peer

        nncf = functools.cache(lambda: nncf_peer.quantised(stock, few, out / "nncf.xml"))
        builders["NNCF, OpenVINO"] = lambda: peers.engine("openvino", nncf())
        builders["NNCF, OpenVINO" + BFLOAT16] = lambda: peers.engine("openvino-bf16", nncf())
    return builders


def verdict(times: Times, *, bfloat16: bool) -> str:
    """One line: our fastest engine, the fastest that is not ours, and its time over ours.

    Args:
        times: by engine.
        bfloat16: whether engines in bfloat16 take part.
    """
    names = [name for name in times if bfloat16 or not name.endswith(BFLOAT16)]
    ours = fastest(times, [name for name in names if name.startswith("vitrine")])
    peer = fastest(times, [name for name in names if not name.startswith("vitrine")])
    median, low, high = paired_ratio(times[peer], times[ours])
    return (
        f"Fastest {'of all' if bfloat16 else 'in float32'}: {ours}. Fastest peer: {peer}, "
        f"{median:.2f} times its time ({low:.2f} to {high:.2f}, tenth to ninetieth percentile of "
        "paired rounds).\n"
    )


def one_model(model: str, arguments: argparse.Namespace) -> dict[str, Times]:
    """Times by batch size, printed as tables on the way."""
    record: dict[str, Times] = {}
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare(
            model, "random", arguments.images, arguments.count, 0, ("int8",), Path(name),
            size=(arguments.size or SIZES[model]) if model in SIZES else None,
        )  # fmt: skip
        builders = contenders(prepared, Path(name))
        chosen = {n: build for n, build in builders.items() if n not in arguments.without}
        first = prepared.inputs(arguments.batch[0])
        runs, failed = opened(chosen, first)
        for batch in arguments.batch:
            inputs = prepared.inputs(batch)
            side = "x".join(map(str, inputs["pixel_values"].shape[2:]))
            usable, late = opened({n: lambda run=run: run for n, run in runs.items()}, inputs)
            times = measure(usable, inputs, arguments.rounds)
            record[f"{model} {side} batch {batch}"] = times
            print(f"### {model}, {side} pixels, batch {batch}, {arguments.rounds} rounds\n")
            print(latency_table(times, OURS, failed | late, "time over ours"))
            print(
                f"\n{verdict(times, bfloat16=True)}\n{verdict(times, bfloat16=False)}", flush=True
            )
    return record


def main() -> None:
    """Measures each model at each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["vit_b_16", "swin_t", "detr_r50"])
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=Path, help="folder of calibration images")
    parser.add_argument("--count", type=int, default=16, help="how many of them")
    parser.add_argument("--size", type=int, help="side in pixels for DETR, else 640")
    parser.add_argument("--without", nargs="*", default=[], help="names of engines to leave out")
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
