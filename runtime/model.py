"""A manifest with an open session: frames to predictions, used by an engine and its pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import DeviceSession, Session
from runtime.batch import Batch, Prepared
from runtime.device_arrays import DeviceArray
from runtime.errors import EngineError
from runtime.inputs import check_finite, check_inputs
from runtime.manifest import Manifest
from runtime.pieces import in_pieces
from runtime.tasks import TASKS, Prediction, find_task

_CPU_BATCH = 8  # frames at once: more only take memory on a CPU
_MOST_FIXED = 256  # frames that a model may insist on: what lacks is made, and takes memory


class Model:
    """Runs from any thread, in as many threads at once as its session allows.

    Its maker holds it first. Whoever else uses it holds it meanwhile, so that replacing a model
    takes it from nobody's hands: `with model.hold():`, or `hold` and later `release`. It closes
    when its last user has left.

    Attributes:
        max_batch: the most frames that one inference takes.
        callers: threads that may be in `run` at once; others wait.
    """

    def __init__(self, manifest: Manifest, session: Session, max_batch: int | None = None) -> None:
        """Take over `session`; see `Engine` for the errors."""
        if max_batch is not None and (type(max_batch) is not int or max_batch < 1):
            raise ValueError(f"max_batch is {max_batch!r}; give an integer of at least 1, or None")
        _check_outputs(manifest)
        self._task = find_task(manifest.task)
        self.manifest, self.session = manifest, session
        self._fixed = _fixed_batch(manifest)
        built_for = session.largest_batch if isinstance(session, DeviceSession) else None
        wanted = max_batch or built_for or _CPU_BATCH
        self.max_batch = self._fixed or min(wanted, built_for or wanted)
        self._last_run = time.monotonic()
        self.callers = session.callers
        self._running = threading.BoundedSemaphore(session.callers)
        self._counting = threading.Lock()
        self._users = 1

    def run(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name for inputs that are known to be right, such as those of a `Batch`.

        Where the model takes a fixed number of images, those that lack are the last one again.
        """
        count = next(iter(inputs.values())).shape[0]
        missing = (self._fixed or count) - count
        if missing > 0:
            inputs = {name: _lengthened(array, missing) for name, array in inputs.items()}
        with self._running:
            outputs = self.session.run(inputs)
            self._last_run = time.monotonic()
        if missing > 0:
            outputs = {name: found[:count] for name, found in outputs.items() if found.ndim}
        return outputs

    def run_all(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        """As `run`, of any number of images: in as many inferences as they take."""
        return in_pieces(self.run, inputs, self.max_batch)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Outputs for anybody's inputs; see `Engine.infer`."""
        if not all(isinstance(array, np.ndarray) for array in inputs.values()):
            inputs = self._adopted(inputs)
        check_inputs(self.manifest.inputs, inputs)
        for name, array in inputs.items():
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                check_finite(name, array)
        return self.run(inputs)

    def warm_up(self) -> None:
        """Run every batch size once: back ends compile for each at its first use.

        Nothing is done where images may have any size; those cannot all be run.
        """
        if any(type(axis) is str for info in self.manifest.inputs for axis in info.shape[1:]):
            return
        for size in range(self._fixed or 1, self.max_batch + 1):
            shapes = {info.name: (size, *info.shape[1:]) for info in self.manifest.inputs}
            self.run({i.name: np.zeros(shapes[i.name], i.dtype) for i in self.manifest.inputs})

    def predict(self, frames: Sequence[Any], threshold: float, pixels: str) -> list[Prediction]:
        """The prediction of each frame; see `Engine.__call__`.

        Only frames of one prepared size go together: a detector's answers depend on padding, and
        the answer to a frame should not depend on what is inferred beside it.
        """
        found: dict[int, Prediction] = {}
        self.manifest.preprocess.check(frames, pixels)
        for start in range(0, len(frames), self.max_batch):
            chunk = enumerate(frames[start : start + self.max_batch], start)
            alike: dict[tuple[int, ...], dict[int, Prepared]] = {}
            for index, frame in chunk:
                prepared = self.manifest.preprocess.prepare(frame, pixels)
                alike.setdefault(prepared.images.shape[1:], {})[index] = prepared
            for group in alike.values():
                batch = self.manifest.preprocess.collate(list(group.values()))
                predictions = self.predictions(self.run_all(batch.inputs), batch, threshold)
                found |= zip(group, predictions, strict=True)
        return [found[index] for index in range(len(frames))]

    def predictions(
        self, outputs: Mapping[str, npt.NDArray[Any]], batch: Batch, threshold: float
    ) -> Sequence[Prediction]:
        """The prediction of each frame of `batch`, from what `run` gave for its inputs."""
        return self._task.predict(outputs, batch, self.manifest.labels, threshold)

    def hold(self) -> Model:
        """Keep the model open until `release`; `ValueError` when it is closed already."""
        with self._counting:
            if not self._users:
                raise ValueError("the engine is closed; load it again")
            self._users += 1
        return self

    def release(self) -> None:
        """Give up one hold; the last one closes the session."""
        with self._counting:
            self._users -= 1
            last = self._users == 0
        if last:
            self.session.close()

    def idle_for(self, seconds: float) -> bool:
        """Whether nobody but its maker holds it, and nothing has run for so long."""
        return self._users <= 1 and time.monotonic() - self._last_run >= seconds

    def __enter__(self) -> Model:
        """Return the model, which `hold` gave."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it."""
        self.release()

    def _adopted(self, arrays: Mapping[str, Any]) -> dict[str, npt.NDArray[Any] | DeviceArray]:
        """What is not a numpy array as memory of the device, where the back end can read it."""
        found: dict[str, Any] = {}
        with self._running:
            for name, array in arrays.items():
                if isinstance(array, np.ndarray):
                    found[name] = array
                elif isinstance(self.session, DeviceSession):
                    found[name] = self.session.adopt(name, array)
                else:
                    raise TypeError(
                        f"{name} is a {type(array).__name__}; give a numpy array, the back end "
                        f"{self.session.name} takes no other"
                    )
        return found


def _fixed_batch(manifest: Manifest) -> int | None:
    """How many images the model insists on, if it does."""
    batch = manifest.inputs[0].shape[0] if manifest.inputs[0].shape else "none"
    if isinstance(batch, str):
        return None
    if batch > _MOST_FIXED:
        raise EngineError(
            f"the model takes {batch} images at once, expected at most {_MOST_FIXED}; "
            "build the bundle again for fewer"
        )
    return batch


def _lengthened(array: npt.NDArray[Any], missing: int) -> npt.NDArray[Any]:
    """A batch with its last image so many times more."""
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def _check_outputs(manifest: Manifest) -> None:
    if manifest.task not in TASKS:
        raise EngineError(
            f"found task {manifest.task!r}, this runtime knows {', '.join(TASKS)}; update Vitrine"
        )
    names, needed = [info.name for info in manifest.outputs], find_task(manifest.task).outputs
    if not set(needed) <= set(names):
        raise EngineError(
            f"found outputs {names} for {manifest.task}, expected {' and '.join(needed)}; "
            "build the bundle again"
        )
