"""The engine: a verified bundle in a back end, ready for frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import DeviceSession, Session, open_session
from runtime.bundle import Bundle, open_bundle
from runtime.device_arrays import DeviceArray
from runtime.errors import EngineError
from runtime.golden import check, load_golden
from runtime.inputs import check_finite, check_inputs
from runtime.manifest import Manifest
from runtime.postprocess import Classification, Detections, classify, detect
from runtime.preprocess import Frame

MODEL, GOLDEN = "model.onnx", "golden.npz"
_CPU_BATCH = 8  # frames at once: more only take memory on a CPU
PLAN, PLUGINS = "model.plan", "libvitrine_plugins.so"
_OUTPUTS = {"classification": ("logits",), "detection": ("logits", "pred_boxes")}  # by task


class Engine:
    """Frames in, predictions out; `load` makes one from a bundle.

    One engine may be used from several threads; their inferences run one after another.

        with Engine.load("engines/built/swin_t-int8-cpu") as engine:
            predictions = engine(frames)
    """

    def __init__(
        self, manifest: Manifest, session: Session, *, max_batch: int | None = None
    ) -> None:
        """Wrap an open session, which the engine closes; `max_batch` bounds memory."""
        if max_batch is not None and (type(max_batch) is not int or max_batch < 1):
            raise ValueError(f"max_batch is {max_batch!r}; give an integer of at least 1, or None")
        if manifest.task not in _OUTPUTS:
            raise EngineError(
                f"found task {manifest.task!r}, this runtime knows {' and '.join(_OUTPUTS)}; "
                "update Vitrine"
            )
        names = [info.name for info in manifest.outputs]
        if not set(_OUTPUTS[manifest.task]) <= set(names):
            raise EngineError(
                f"found outputs {names} for {manifest.task}, expected "
                f"{' and '.join(_OUTPUTS[manifest.task])}; build the bundle again"
            )
        self.manifest = manifest
        self._session: Session | None = session
        self._lock = threading.Lock()
        batch = manifest.inputs[0].shape[0] if manifest.inputs[0].shape else 1
        built_for = session.largest_batch if isinstance(session, DeviceSession) else None
        wanted = max_batch or built_for or _CPU_BATCH
        self._chunk = min(wanted, built_for or wanted) if isinstance(batch, str) else batch

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        verify: bool = True,
        threads: int | None = None,
        max_batch: int | None = None,
    ) -> Engine:
        """Open a bundle: manifest, then every hash, and only then the model.

        Args:
            path: the bundle's folder.
            verify: run the golden probes, as is right at the first load on a device.
            threads: CPU threads of one inference; None leaves the choice to the back end. Of no
                effect on a GPU.
            max_batch: the most frames that `engine(frames)` infers at once; None is what a
                TensorRT engine was built for, and 8 on a CPU.

        Raises:
            EngineError: the bundle is damaged, newer than this runtime, needs a back end that
                is not installed, was built for another GPU or TensorRT, or fails its golden
                probes here.
        """
        bundle = open_bundle(path)
        manifest = bundle.manifest
        session = _open(bundle, threads)
        try:
            engine = cls(manifest, session, max_batch=max_batch)
            if verify:
                golden = load_golden(bundle.file(GOLDEN))
                if len(golden.frames) != manifest.golden.probes:
                    raise EngineError(
                        f"{bundle.path / GOLDEN} has {len(golden.frames)} probes, the manifest "
                        f"says {manifest.golden.probes}; build the bundle again"
                    )
                check(engine._run, manifest.preprocess, golden, manifest.golden.min_cosine)
        except BaseException:
            session.close()
            raise
        return engine

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.manifest.labels

    @property
    def max_batch(self) -> int:
        """The most frames that `engine(frames)` infers at once."""
        return self._chunk

    @property
    def session(self) -> Session:
        """The back end's own session, for measurements; `ValueError` when closed."""
        if self._session is None:
            raise ValueError("the engine is closed; load it again")
        return self._session

    def __call__(
        self, frames: Sequence[Frame], *, threshold: float = 0.5
    ) -> list[Classification] | list[Detections]:
        """Predict for each frame, in order.

        Args:
            frames: uint8 (H, W, 3) RGB, of any sizes and any number, none included.
            threshold: the least score of a detected object; of no effect on classification.

        Raises:
            ValueError, TypeError: something is not a frame, or the engine is closed.
            EngineError: the back end fails.
        """
        predictions: list[Any] = []
        for start in range(0, len(frames), self._chunk):
            batch = self.manifest.preprocess(frames[start : start + self._chunk])
            outputs = self._run(batch.inputs)
            if self.manifest.task == "classification":
                predictions += classify(outputs["logits"], self.labels)
            else:
                predictions += detect(
                    outputs["logits"],
                    outputs["pred_boxes"],
                    batch.frame_sizes,
                    self.labels,
                    threshold,
                )
        return predictions

    def infer(self, batch: Any, **more: Any) -> dict[str, npt.NDArray[Any]]:
        """Run the model on a preprocessed batch.

        Args:
            batch: the manifest's first input, float32 (N, C, H, W): a numpy array, or, with the
                back end "tensorrt", a C-contiguous array on its device that supports DLPack or
                `__cuda_array_interface__`, which is read there without a copy.
            more: further inputs by name, such as `pixel_mask`.

        Returns:
            Arrays by output name; they belong to the caller.

        Raises:
            TypeError: not arrays of the manifest's dtypes, or on a device that the back end
                cannot read.
            ValueError: other shapes than the manifest's, NaN or infinity (of which arrays on a
                device are not searched), or a closed engine.
            EngineError: the back end fails.
        """
        inputs = {self.manifest.inputs[0].name: batch, **more}
        if not all(isinstance(array, np.ndarray) for array in inputs.values()):
            inputs = self._adopted(inputs)
        check_inputs(self.manifest.inputs, inputs)
        for name, array in inputs.items():
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                check_finite(name, array)
        return self._run(inputs)

    def _adopted(self, arrays: Mapping[str, Any]) -> dict[str, npt.NDArray[Any] | DeviceArray]:
        """What is not a numpy array as memory of the device, where the back end can read it."""
        found: dict[str, Any] = {}
        with self._lock:
            session = self.session
            for name, array in arrays.items():
                if isinstance(array, np.ndarray):
                    found[name] = array
                elif isinstance(session, DeviceSession):
                    found[name] = session.adopt(name, array)
                else:
                    raise TypeError(
                        f"{name} is a {type(array).__name__}; give a numpy array, the back end "
                        f"{session.name} takes no other"
                    )
        return found

    def _run(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        with self._lock:
            return self.session.run(inputs)

    def close(self) -> None:
        """Free the back end's model; closing twice is harmless."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Engine:
        """Return the engine itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()


def _open(bundle: Bundle, threads: int | None) -> Session:
    """A session on the file that the bundle's back end runs."""
    engine = bundle.manifest.engine
    if engine.backend != "tensorrt":
        return open_session(engine.backend, bundle.file(MODEL), threads=threads)
    plugins = [bundle.file(PLUGINS)] if PLUGINS in bundle.manifest.files else []
    return open_session(engine.backend, bundle.file(PLAN), plugins=plugins, built_for=engine)
