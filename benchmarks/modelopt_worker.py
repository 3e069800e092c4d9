"""Runs in ModelOpt's own environment: `python modelopt_worker.py MODEL CALIBRATION OUT [NODE...]`.

`CALIBRATION` holds one `.npy` an input, images along the first axis. Without nodes ModelOpt
quantises what its defaults say, with its default calibration (entropy); with nodes, only those,
with the largest absolute value as range.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from modelopt.onnx.quantization import quantize


def main() -> None:
    """Writes the quantised ONNX file."""
    model, folder, out, *nodes = sys.argv[1:]
    data = {file.stem: np.load(file) for file in sorted(Path(folder).glob("*.npy"))}
    quantize(
        model, quantize_mode="int8", calibration_data=data, output_path=out,
        calibration_eps=["cpu"], calibration_method="max" if nodes else None,
        nodes_to_quantize=nodes or None,
        # Its default stores what stays float as FP16.
        high_precision_dtype="fp32",
    )  # fmt: skip


if __name__ == "__main__":
    main()
