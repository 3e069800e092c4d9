"""What a model's arithmetic alone would take on this machine, and where an engine's time goes.

    python -m benchmarks.limits --model swin_t vit_b_16 --batch 8 --images DIR

Counts multiply-accumulates of the lowered graph, measures how many a second OpenVINO does in one
large product, and sums OpenVINO's own profile of the engine by kind of work.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import groups
from benchmarks.arithmetic import of_file
from benchmarks.gemm import best_rate
from benchmarks.ours import SIZES, prepare
from benchmarks.tables import machine, markdown


def floors(counts: Mapping[str, int], rates: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds that each kind of arithmetic needs at the measured rates.

    Args:
        counts: multiply-accumulates by kind; a kind that starts with "int8" runs at that rate.
        rates: multiply-accumulates a second, of "int8" and "float".
    """
    return {
        kind: 1e3 * count / rates["int8" if kind.startswith("int8") else "float"]
        for kind, count in counts.items()
    }


def arithmetic_table(
    counts: Mapping[str, int], rates: Mapping[str, float], spent: Mapping[str, float]
) -> str:
    """One row a kind of arithmetic: its amount, its limit, its time and the share reached.

    Attention's time includes its softmax, so its share is of more than arithmetic.
    """
    limits = floors(counts, rates)
    rows = []
    for kind, count in counts.items():
        time = spent.get(kind, 0.0)
        share = f"{limits[kind] / time:.0%}" if time else ""
        rows.append([str(kind), f"{count / 1e9:.3f}", f"{limits[kind]:.1f}", f"{time:.1f}", share])
    total = [f"{sum(counts.values()) / 1e9:.3f}", f"{sum(limits.values()):.1f}", "", ""]
    return markdown(
        ["arithmetic", "10⁹ MAC", "limit ms", "measured ms", "share of the limit reached"],
        [*rows, ["all", *total]],
    )


def groups_table(profile: groups.Profile) -> str:
    """One row a group, the largest first, with its share of the profile's sum."""
    total = sum(profile.groups.values())
    rows = [[name, f"{ms:.1f}", f"{ms / total:.0%}"] for name, ms in profile.groups.items()]
    rows.append(["sum of the profile", f"{total:.1f}", "100%"])
    rows.append(["a run without profiling", f"{profile.wall:.1f}", ""])
    return markdown(["where the time goes", "ms", "share"], rows)


def one_model(
    model: str, precision: str, rates: Mapping[str, float], arguments: argparse.Namespace
) -> dict:
    """Prints both tables for every batch size; returns what is in them."""
    record = {}
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(
            model, "random", arguments.images, arguments.count, 0, (precision,), Path(folder),
            size=SIZES.get(model),
        )  # fmt: skip
        for batch in arguments.batch:
            inputs = prepared.inputs(batch)
            shapes = {name: array.shape for name, array in inputs.items()}
            counts = of_file(prepared.files[precision], shapes)
            found = groups.profile(prepared.files[precision], inputs, arguments.rounds)
            print(f"### {model} {precision}, batch {batch}\n")
            print(arithmetic_table(counts, rates, found.groups))
            print(f"\n{groups_table(found)}\n", flush=True)
            record[f"{model} {precision} batch {batch}"] = {"mac": counts, **asdict(found)}
    return record


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["vit_b_16", "swin_t", "detr_r50"])
    parser.add_argument("--precision", default="int8", choices=["fp32", "int8"])
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--images", type=Path, help="folder of calibration images")
    parser.add_argument("--count", type=int, default=8, help="how many of them")
    parser.add_argument("--json", type=Path, help="write everything here")
    arguments = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    rates, record = {}, {}
    for kind in ("int8", "float"):
        rates[kind], shape = best_rate(kind)
        size = " x ".join(map(str, shape))
        print(f"{kind}: {rates[kind] / 1e9:.0f} GMAC/s in a product of {size}\n", flush=True)
    for model in arguments.model:
        record |= one_model(model, arguments.precision, rates, arguments)
        gc.collect()
    if arguments.json:
        whole = {"machine": machine(), "rates": rates, "models": record}
        arguments.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
