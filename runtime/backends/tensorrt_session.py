"""TensorRT on a CUDA device: one engine, one stream, memory that is allocated once."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.tensorrt_engine import LoadedEngine
from runtime.backends.tensorrt_launch import Launcher
from runtime.backends.tensorrt_machine import check_machine, tensorrt_version
from runtime.backends.tensorrt_tensors import Shape, Tensor, choose_profile, largest_batch
from runtime.cuda_device import CudaError, current_device, using_device
from runtime.cuda_memory import DeviceBuffer, PinnedBuffer
from runtime.cuda_stream import Stream
from runtime.device_arrays import DeviceArray, adopt
from runtime.manifest import EngineInfo

_ALIGNMENT = 256  # bytes; `IExecutionContext::setTensorAddress` asks for it


class TensorRtSession:
    """A plan on the device that is current when it opens; not for concurrent use."""

    name = "tensorrt"
    callers = 1

    def __init__(self, plan: Path, plugins: tuple[Path, ...], built_for: EngineInfo | None) -> None:
        """Check the machine, then load plugins and plan; see `open_session`."""
        try:
            self._open(plan, plugins, built_for)
        except BaseException as error:
            _forget_frames(error)
            raise

    def _open(self, plan: Path, plugins: tuple[Path, ...], built_for: EngineInfo | None) -> None:
        self.version = tensorrt_version()
        device = current_device()
        if built_for is not None:
            check_machine(self.version, device, built_for)
        self._index = device.index
        # Frees in reverse order: what failed half-way in `with`, all of it in `close`.
        with contextlib.ExitStack() as resources:
            self._stream = Stream()
            resources.callback(self._stream.close)
            options = built_for.options if built_for is not None else ()
            self._engine = LoadedEngine(
                plan,
                plugins,
                self._stream,
                self.version,
                device,
                host_code="version-compatible" in options,
            )
            tensors = (*self._engine.inputs, *self._engine.outputs)
            self._on_device = {tensor.name: DeviceBuffer() for tensor in tensors}
            self._on_host = {tensor.name: PinnedBuffer() for tensor in tensors}
            for buffer in (*self._on_device.values(), *self._on_host.values()):
                resources.callback(buffer.close)
            resources.callback(self._engine.close)
            self._launcher = Launcher(self._engine)
            resources.callback(self._launcher.close)
            resources.callback(self._stream.synchronise)  # before anything is freed
            self._resources = resources.pop_all()

    @property
    def largest_batch(self) -> int:
        """See `DeviceSession.largest_batch`."""
        return largest_batch(self._engine.inputs)

    def adopt(self, name: str, array: Any) -> DeviceArray:
        """See `DeviceSession.adopt`."""
        with using_device(self._index):
            return adopt(name, array, self._stream, self._index)

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any] | DeviceArray]
    ) -> dict[str, npt.NDArray[Any]]:
        """See `Session.run`; arrays on the device are read where they are."""
        profile = choose_profile(self._engine.inputs, inputs)
        with using_device(self._index):
            try:
                return self._run(inputs, profile)
            except BaseException:
                # Nothing may be under way when callers and buffers touch their memory again.
                with contextlib.suppress(CudaError):
                    self._stream.synchronise()
                raise

    def _run(
        self, inputs: Mapping[str, npt.NDArray[Any] | DeviceArray], profile: int
    ) -> dict[str, npt.NDArray[Any]]:
        self._engine.forget_errors()
        given, wanted = self._engine.inputs, self._engine.outputs
        shapes = self._launcher.prepare(tuple(inputs[t.name].shape for t in given), profile)
        targets = [self._reserve(t, s) for t, s in zip(wanted, shapes, strict=True)]
        sources = [self._bring(t.name, inputs[t.name]) for t in given]
        self._launcher.launch((*sources, *targets))
        views = {}
        for tensor, shape in zip(wanted, shapes, strict=True):
            shape = self._launcher.shape_of(tensor.name) if shape is None else shape
            views[tensor.name] = self._on_host[tensor.name].view(shape, tensor.dtype)
        for tensor, target in zip(wanted, targets, strict=True):
            source = target or self._launcher.address_of(tensor.name)
            host = self._on_host[tensor.name].address
            self._stream.to_host(host, source, views[tensor.name].nbytes)
        self._stream.synchronise()
        return {name: view.copy() for name, view in views.items()}

    def _reserve(self, tensor: Tensor, shape: Shape | None) -> int:
        """The address of an output; 0 where TensorRT will ask for the memory itself."""
        if shape is None:
            return 0
        # An empty output needs an address as well.
        nbytes = max(int(np.prod(shape, dtype=np.int64)), 1) * tensor.dtype.itemsize
        self._on_host[tensor.name].reserve(nbytes)
        return self._on_device[tensor.name].reserve(nbytes)

    def _bring(self, name: str, array: npt.NDArray[Any] | DeviceArray) -> int:
        """The address of an input on the device, its copy under way where it needs one."""
        if isinstance(array, DeviceArray) and array.address % _ALIGNMENT == 0:
            return array.address
        target = self._on_device[name].reserve(array.nbytes)
        if isinstance(array, DeviceArray):
            self._stream.on_device(target, array.address, array.nbytes)
        else:
            staged = self._on_host[name].view(array.shape, array.dtype)
            np.copyto(staged, array)
            self._stream.to_device(target, self._on_host[name].address, array.nbytes)
        return target

    def close(self) -> None:
        """See `Session.close`; closing twice is harmless."""
        with using_device(self._index):
            self._resources.close()


def _forget_frames(error: BaseException | None) -> None:
    """Frees what the functions that failed still refer to: an engine, a context, a plan's bytes.

    Whoever keeps the exception, as a log does, would keep those in the device's memory, which the
    next back end may need.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
