"""INT8 and FP16 accuracy on a real ViT-Tiny against other quantisers, same images for all.

    python -m benchmarks.accuracy --weights FILE --images DIR [--count 200] [--seed 0]

`DIR` holds `labels.csv`. Calibration images are `--count` of the folder, evaluation images all
others. NNCF is measured when it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.ours import prepare
from export.answers import answers
from runtime.backends import open_session
from runtime.drift.metrics import logit_cosine, top1_agreement


def logits(run: peers.Run, prepared, samples) -> np.ndarray:
    """Logits (images, classes) of an engine."""
    found = answers(run, prepared.reference.preprocess, samples)
    return np.stack([answer.outputs["logits"] for answer in found])


def row(name: str, ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> str:
    """One line of the table."""
    agreement, interval = top1_agreement(theirs, ours)
    cosine, _ = logit_cosine(theirs, ours)
    top1 = float((ours.argmax(1) == labels).mean())
    return (
        f"| {name} | {agreement:.2%} | {interval.low:.2%} to {interval.high:.2%} "
        f"| {cosine:.4f} | {top1:.2%} |"
    )


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_ti_16")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=400)
    # Percentile and Entropy keep every activation: over 16 GB for 200 images of a ViT-Tiny.
    parser.add_argument("--methods", nargs="*", default=["MinMax"], help="of quantize_static")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare(
            arguments.model, arguments.weights, arguments.images,
            arguments.count, arguments.seed, ("fp32", "fp16", "int8"), folder, arguments.held_out,
        )  # fmt: skip
        few = list(prepared.calibration)
        samples = prepared.images.held_out
        labels = np.array([sample.label for sample in samples])
        theirs = logits(peers.torch_eager(prepared.reference.module), prepared, samples)
        runs: dict[str, peers.Run] = {}
        for precision in ("int8", "fp16"):
            file = prepared.files[precision]
            runs[f"vitrine {precision}, graph as written"] = open_session(
                "onnxruntime", file, faithful=True
            ).run
            for backend in ("openvino", "onnxruntime"):
                runs[f"vitrine {precision}, {backend}"] = open_session(backend, file).run
        for method in arguments.methods:
            static = peers.quantize_static(
                prepared.files["fp32"], few, method, folder / f"{method}.onnx"
            )
            runs[f"quantize_static {method}, onnxruntime"] = peers.onnxruntime_session(static)
        if importlib.util.find_spec("nncf"):
            model = peers.nncf_model(prepared.files["fp32"], few)
            runs["NNCF TRANSFORMER, openvino"] = peers.openvino_model(model)
        print(f"{len(few)} calibration images, {len(samples)} others, seed {arguments.seed}\n")
        print("| engine | top-1 agreement | 95 % interval | logit cosine | top-1 |")
        print("|---|---:|---|---:|---:|")
        print(row("PyTorch FP32", theirs, theirs, labels))
        for name, run in runs.items():
            print(row(name, logits(run, prepared, samples), theirs, labels), flush=True)


if __name__ == "__main__":
    main()
