"""Streams chosen tensors out of a float graph, one calibration image at a time.

Images go through alone whatever the batches look like, so that nothing measured here depends on
the batch size; and no more than one image's tensors exist at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

Feed = Mapping[str, np.ndarray]
Batches = Callable[[], Iterable[Feed]] | Iterable[Feed]
"""Calibration inputs (name -> array, batch axis first), readable as often as needed: a list, an
object with __iter__, or a function that returns a new iterator each time."""


def stream(
    model: ir.Model, names: Sequence[str], batches: Batches, threads: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the named tensors (batch axis 1) of each image in turn.

    Args:
        model: A graph that ONNX Runtime can run.
        names: Values of the main graph.
        batches: Inputs; batches of any size are taken apart into single images.
        threads: ONNX Runtime threads; None means all cores.

    Raises:
        ValueError: A name is not in the graph, or there are no images.
        TypeError: `batches` is an iterator, which could be read only once.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = ort.InferenceSession(
        _with_outputs(model, names), options, providers=["CPUExecutionProvider"]
    )
    count = 0
    for image in single_images(batches):
        count += 1
        yield dict(zip(names, session.run(list(names), dict(image)), strict=True))
    if not count:
        raise ValueError("found no calibration images; give at least one")


def single_images(batches: Batches) -> Iterator[dict[str, np.ndarray]]:
    """Takes batches apart into inputs of batch size 1."""
    iterable = batches() if callable(batches) else batches
    if not callable(batches) and iter(iterable) is iterable:
        raise TypeError(
            "batches is an iterator, which can be read once; pass a list or a function that "
            "returns a new iterator"
        )
    for feed in iterable:
        size = len(next(iter(feed.values())))
        for i in range(size):
            yield {name: array[i : i + 1] for name, array in feed.items()}


def _with_outputs(model: ir.Model, names: Sequence[str]) -> bytes:
    """The serialised model with exactly `names` as outputs."""
    proto = ir.to_proto(model)
    known = {name for node in proto.graph.node for name in node.output}
    known.update(value.name for value in proto.graph.input)
    for name in names:
        if name not in known:
            raise ValueError(f"the graph has no tensor {name!r}")
    del proto.graph.output[:]
    for name in names:
        proto.graph.output.add().name = name  # ONNX Runtime infers the type
    return bytes(proto.SerializeToString())
