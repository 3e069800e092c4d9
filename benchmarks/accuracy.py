"""Accuracy of real weights in INT8 and FP16 against other quantisers, over splits of one folder.

    python -m benchmarks.accuracy --weights FILE --images DIR --seeds 0 1 2 3 4

`DIR` holds `labels.csv`. A seed chooses `--count` images that calibrate and `--held-out` others
that are evaluated; every engine is given the same ones. NNCF is measured where it is installed,
ModelOpt where `--modelopt` names the interpreter of an environment that has it.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.accuracy_graphs import SEARCHED, Graphs, int8_share, our_graphs
from benchmarks.ours import Prepared, prepare
from benchmarks.stock import stock_export
from benchmarks.tables import machine, markdown, spread
from export.answers import Arrays, Run, torch_run
from runtime.drift.classification import logit_cosine, top1_agreement
from runtime.errors import one_line

METRICS = {"top1_agreement": ".2%", "logit_cosine": ".4f", "top1": ".2%", "int8_macs": ".1%"}
BACKENDS = ("as written", "openvino", "openvino-bf16", "onnxruntime")
ACCURACY_AWARE = "NNCF accuracy-aware, OpenVINO"
Builder = Callable[[], Run]


def contenders(
    prepared: Prepared, graphs: Graphs, arguments: argparse.Namespace, seed: int, out: Path
) -> dict[str, Builder]:
    """Every engine of one seed by its name in the table; nothing is built yet."""
    images = list(prepared.calibration)
    stock = stock_export(
        prepared.reference.module, prepared.outputs, prepared.inputs(2), out / "stock.onnx"
    )
    builders: dict[str, Builder] = {
        "PyTorch FP32": lambda: torch_run(prepared.reference.module, prepared.outputs)
    }
    for label, graph in graphs.items():
        if label.startswith(SEARCHED) and seed not in arguments.search_seeds:
            continue
        backends = {"fp16": ("openvino",)}.get(label, BACKENDS)
        for backend in backends:
            builders[f"vitrine {label}, {backend}"] = lambda backend=backend, graph=graph: (
                peers.engine(backend, graph())
            )
    builders["quantize_static MinMax, linears, ONNX Runtime"] = lambda: peers.engine(
        "onnxruntime", peers.quantize_static(stock, images, out / "static.onnx")
    )
    if importlib.util.find_spec("nncf"):
        from benchmarks import nncf_peer

        builders["NNCF, OpenVINO"] = lambda: peers.engine(
            "openvino", nncf_peer.quantised(stock, images, out / "nncf.xml")
        )
        builders["NNCF without SmoothQuant, OpenVINO"] = lambda: peers.engine(
            "openvino", nncf_peer.quantised(stock, images, out / "rough.xml", smooth=False)
        )
        if seed in arguments.slow_seeds:
            builders[ACCURACY_AWARE] = lambda: peers.engine(
                "openvino",
                nncf_peer.accuracy_controlled(
                    stock, images, arguments.validation, arguments.max_drop, out / "aware.xml"
                ),
            )
    if arguments.modelopt:
        for label in ("defaults", "linears"):
            builders[f"modelopt.onnx {label}, OpenVINO"] = lambda label=label: peers.engine(
                "openvino",
                peers.modelopt(
                    arguments.modelopt, stock, images, out / f"modelopt-{label}.onnx",
                    linears_only=label == "linears",
                ),
            )  # fmt: skip
    return builders


def batches(prepared: Prepared) -> list[Arrays]:
    """The held-out images, preprocessed, eight a batch."""
    samples = prepared.images.held_out
    return [
        prepared.reference.preprocess([s.read() for s in samples[i : i + 8]]).inputs
        for i in range(0, len(samples), 8)
    ]


def metrics(logits: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Every metric of the table for logits (images, classes)."""
    return {
        "top1_agreement": top1_agreement(reference, logits)[0],
        "logit_cosine": logit_cosine(reference, logits)[0],
        "top1": float((logits.argmax(1) == labels).mean()),
    }


def one_seed(arguments: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    """Metrics by engine; the engines are built, run and freed one after another."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare(
            arguments.model, arguments.weights, arguments.images, arguments.count, seed,
            (), Path(name), held_out=arguments.held_out,
        )  # fmt: skip
        labels = np.array([sample.label for sample in prepared.images.held_out])
        data = batches(prepared)
        reference = None
        graphs = our_graphs(prepared, arguments.limit, arguments.confidence, Path(name))
        shapes = {key: (1, *array.shape[1:]) for key, array in data[0].items()}
        builders = contenders(prepared, graphs, arguments, seed, Path(name))
        for engine, build in builders.items():
            start = time.perf_counter()
            try:
                run = build()
                logits = np.concatenate([run(batch)["logits"] for batch in data])
            except Exception as error:  # other people's libraries raise anything
                print(f"seed {seed}: {engine} failed: {one_line(error)}", file=sys.stderr)
                continue
            reference = logits if reference is None else reference
            found[engine] = metrics(logits, reference, labels)
            label = engine.removeprefix("vitrine ").partition(",")[0]
            if label in graphs:
                found[engine]["int8_macs"] = int8_share(graphs[label](), shapes)
            taken = time.perf_counter() - start
            print(f"seed {seed}: {engine}: {found[engine]}, {taken:.0f} s", file=sys.stderr)
            del run
            gc.collect()
    return found


def table(seeds: dict[int, dict[str, dict[str, float]]]) -> str:
    """Mean ± standard deviation (smallest to largest) over seeds, one row an engine."""
    names = list(dict.fromkeys(name for found in seeds.values() for name in found))
    rows = []
    for name in names:
        having = [found[name] for found in seeds.values() if name in found]
        cells = [
            spread([one[metric] for one in having], form) if metric in having[0] else ""
            for metric, form in METRICS.items()
        ]
        rows.append([name, str(len(having)), *cells])
    header = ["engine", "seeds", "top-1 agreement", "logit cosine", "top-1", "int8 MACs"]
    return markdown(header, rows)


def main() -> None:
    """Prints one table; progress goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_ti_16")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="calibration images")
    parser.add_argument("--held-out", type=int, default=400, help="evaluation images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--slow-seeds", type=int, nargs="*", help="of NNCF's accuracy-aware mode")
    parser.add_argument("--limit", type=float, default=0.98, help="of the search's agreement")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the search")
    parser.add_argument("--search-seeds", type=int, nargs="*", help="of the search, else all")
    parser.add_argument("--validation", type=int, default=100, help="of the calibration images")
    parser.add_argument("--max-drop", type=float, default=0.02, help="of agreement on those")
    parser.add_argument("--modelopt", type=Path, help="python of ModelOpt's environment")
    parser.add_argument("--json", type=Path, help="write every seed's values here")
    arguments = parser.parse_args()
    for slow in ("slow_seeds", "search_seeds"):
        if getattr(arguments, slow) is None:
            setattr(arguments, slow, arguments.seeds)
    seeds: dict[int, dict[str, dict[str, float]]] = {}
    for seed in arguments.seeds:
        seeds[seed] = one_seed(arguments, seed)
        if arguments.json:  # after every seed: a long run that is cut off keeps what it has
            record = {"machine": machine(), "arguments": vars(arguments), "seeds": seeds}
            arguments.json.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
    print(f"{machine()}\n\n{arguments.model}, {arguments.count} calibration images", end="")
    print(f", {arguments.held_out} others, seeds {' '.join(map(str, arguments.seeds))}\n")
    print(table(seeds))


if __name__ == "__main__":
    main()
