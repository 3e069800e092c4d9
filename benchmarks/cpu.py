"""Latency on this CPU against what others would run: interleaved in one process, medians, ratios.

    python -m benchmarks.cpu --model vit_b_16 swin_t --batch 8 --images DIR

NNCF is measured when it is installed (`pip install nncf`; it is no dependency of the project).
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.ours import Prepared, prepare

OURS = "vitrine int8, OpenVINO"


def contenders(prepared: Prepared, few: list, folder: Path) -> dict[str, peers.Run]:
    """Every engine by name; ours first."""
    module, files = prepared.reference.module, prepared.files
    static = peers.quantize_static(files["fp32"], few, "MinMax", folder / "static.onnx")
    runs = {
        OURS: peers.openvino_model(files["int8"]),
        "vitrine int8, ONNX Runtime": peers.onnxruntime_session(files["int8"]),
        "PyTorch eager": peers.torch_eager(module),
        "torch.compile": peers.torch_compiled(module),
        "ONNX Runtime FP32": peers.onnxruntime_session(files["fp32"]),
        "OpenVINO FP32": peers.openvino_model(files["fp32"]),
        "quantize_static, ONNX Runtime": peers.onnxruntime_session(static),
    }
    if importlib.util.find_spec("nncf"):
        runs["NNCF, OpenVINO"] = peers.openvino_model(peers.nncf_model(files["fp32"], few))
    return runs


def measure(runs: dict[str, peers.Run], inputs: dict, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each run, `rounds` times in turn, after two warm-ups."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(inputs)
        run(inputs)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(inputs)
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def table(model: str, batch: int, times: dict[str, list[float]]) -> str:
    """A Markdown table; ratio = a peer's time over ours, paired round by round, median."""
    lines = [
        f"### {model}, batch {batch}, {len(times[OURS])} rounds", "",
        "| engine | median ms | p10 | p90 | ours is faster by |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, taken in times.items():
        p10, median, p90 = np.percentile(taken, [10, 50, 90])
        ratio = float(np.median(np.array(taken) / np.array(times[OURS])))
        lines.append(f"| {name} | {median:.1f} | {p10:.1f} | {p90:.1f} | {ratio:.2f}x |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures each model at each batch size and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["vit_b_16", "swin_t"])
    parser.add_argument("--batch", nargs="+", type=int, default=[8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=Path, help="folder of calibration images")
    parser.add_argument("--count", type=int, default=16, help="how many of them")
    parser.add_argument("--json", type=Path, help="write all times here")
    arguments = parser.parse_args()
    record = {}
    for model in arguments.model:
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(
                model, "random", arguments.images, arguments.count, 0, ("fp32", "int8"),
                Path(folder),
            )  # fmt: skip
            runs = contenders(prepared, list(prepared.calibration), Path(folder))
            frame = prepared.images.calibration[0].read()
            for batch in arguments.batch:
                inputs = prepared.reference.preprocess([frame] * batch).inputs
                times = measure(runs, inputs, arguments.rounds)
                record[f"{model} batch {batch}"] = times
                print(table(model, batch, times), flush=True)
            del runs, prepared
            gc.collect()
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
