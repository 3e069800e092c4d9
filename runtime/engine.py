"""The engine: a verified bundle in a back end, ready for frames."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime import loading
from runtime.backends import Session
from runtime.closing import Closing
from runtime.engine_parts import Parts
from runtime.errors import EngineError, GoldenProbeError, one_line
from runtime.in_use import InUse
from runtime.manifest import Manifest
from runtime.model import Model
from runtime.observer import Observer, guarded, in_callback
from runtime.proof import Proof
from runtime.reverify import Reverifier
from runtime.tasks import Prediction

_log = logging.getLogger("vitrine.engine")


class Engine(Closing):
    """Frames in, predictions out; `load` makes one from a bundle.

    One engine may be used from several threads; their inferences run one after another, or as
    many at once as it was given `streams`. For cameras, `runtime.Pipeline` puts the frames of
    several sources into one engine.

        with Engine.load("engines/built/swin_t-int8-cpu") as engine:
            predictions = engine(frames)
    """

    def __init__(
        self,
        loaded: loading.Loaded,
        options: loading.Options,
        *,
        reverify_every: float | None = None,
        observer: Observer,
    ) -> None:
        """Take over what `runtime.loading` loaded; applications use `load`."""
        self._in_use = InUse(loaded)
        self._options, self._observer = options, observer
        # One reload or verification at a time; an observer may ask for another in the midst of it.
        self._changing = threading.RLock()
        self._parts = Parts(partial(self._load_part, reverify_every=reverify_every))
        self._reverifier: Reverifier | None = None
        if reverify_every is not None:
            self._reverifier = Reverifier(self.verify, self._idle, reverify_every)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        verify: bool = True,
        threads: int | None = None,
        streams: int = 1,
        max_batch: int | None = None,
        trusted_keys: Sequence[str | Path | bytes] | None = None,
        fallback: bool = False,
        warm_up: bool = False,
        reverify_every: float | None = None,
        observer: Observer | None = None,
    ) -> Engine:
        """Open a bundle: manifest, then every hash, and only then the model.

        Args:
            path: the bundle's folder.
            verify: run the golden probes, unless a note beside the bundle says that they passed
                on this device, with its driver and back end, before.
            threads: CPU threads of all inferences; None leaves the choice to the back end. Of no
                effect on a GPU.
            streams: inferences that run side by side on a CPU, each on its share of the threads.
                1 answers a single frame soonest; 2 or more infer more frames a second, where
                several threads call or a pipeline does.
            max_batch: the most frames that are inferred at once; None is what a TensorRT engine
                was built for, and 8 on a CPU.
            trusted_keys: Ed25519 public keys, as PEM files or their bytes, by one of which the
                manifest must be signed; None asks for no signature.
            fallback: where a back end does not open or fails its probes, take the next one that
                was found faithful when the bundle was built (`EngineInfo.fallbacks`).
            warm_up: run every batch size once, so that no frame waits while a back end compiles
                for it; of no effect where images may have any size.
            reverify_every: run the probes again after so many seconds, once no frame is in work,
                and at the latest after twice that time; see `verify`.
            observer: hears of reloads, probes and fallbacks.

        Raises:
            EngineError: the bundle is damaged, not signed by a trusted key, newer than this
                runtime, needs a back end that is not installed, was built for another GPU or
                TensorRT, or fails its golden probes here.
        """
        if reverify_every is not None and not reverify_every > 0:
            raise ValueError(f"reverify_every is {reverify_every!r}; give seconds, or None")
        options = loading.Options(
            verify=verify,
            threads=threads,
            streams=streams,
            max_batch=max_batch,
            trusted_keys=trusted_keys,
            fallback=fallback,
            warm_up=warm_up,
        )
        heard = guarded(observer)
        loaded = loading.load(path, options, heard)
        return cls(loaded, options, reverify_every=reverify_every, observer=heard)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._in_use.get().bundle.manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.manifest.labels

    @property
    def max_batch(self) -> int:
        """The most frames that are inferred at once."""
        return self._in_use.get().model.max_batch

    @property
    def callers(self) -> int:
        """How many threads' inferences are in work at once; see `streams` of `load`."""
        return self._in_use.get().model.callers

    @property
    def session(self) -> Session:
        """The back end's own session, for measurements."""
        return self._in_use.get().model.session

    @property
    def proof(self) -> Proof | None:
        """When the golden probes passed last, and how; None when loaded without `verify`."""
        return self._in_use.get().proof

    def __call__(
        self, frames: Sequence[Any], *, threshold: float = 0.5, pixels: str = "RGB"
    ) -> list[Prediction]:
        """Predict for each frame, in order; no frame's prediction depends on the others.

        Args:
            frames: uint8 (H, W, 3) RGB, of any sizes and any number, none included; or what else
                the model takes: clips, uint8 (T, H, W, 3), or texts.
            threshold: the least score of a detected object; of no effect on classification.
            pixels: what the frames hold instead: "BGR", "GREY" or "NV12"; see
                `Preprocess.prepare` for their shapes.

        Raises:
            ValueError, TypeError: something is not a frame, or the engine is closed.
            EngineError: the back end fails, or its golden probes did since it was loaded.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold!r}; give a score in 0..1")
        with self.hold() as model:
            return model.predict(frames, threshold, pixels)

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
            EngineError: the back end fails, or its golden probes did since it was loaded.
        """
        with self.hold() as model:
            return model.infer({model.manifest.inputs[0].name: batch, **more})

    def part(self, name: str) -> Engine:
        """A further engine of the model, such as the text encoder beside that of images.

        Loaded, as this one was, when first asked for; closed with it, or when it is reloaded.

        Raises:
            ValueError: the engine is closed.
            EngineError: the bundle has no such part, or as `load`.
        """
        # What is there does not wait for probes: a stream asks at every frame.
        if loaded := self._parts.loaded(self._in_use.get().bundle, name):
            return loaded
        with self._changing:
            return self._parts.get(self._in_use.get().bundle, name)

    def hold(self) -> Model:
        """The model that is in use now, kept open until `release`, or as a context.

        Raises:
            ValueError: the engine is closed.
            GoldenProbeError: its probes failed.
        """
        return self._in_use.hold()

    def verify(self) -> float:
        """Run the golden probes now; frames may go between them.

        Returns:
            The lowest cosine over probes and outputs.

        Raises:
            GoldenProbeError: they fail, and so does every fallback that is allowed. The engine
                refuses further frames until they pass or `reload` brings a bundle that does.
        """
        with self._changing:
            loaded = self._in_use.get()
            try:
                with loaded.model.hold() as model:
                    proof = loading.prove(model, loaded.bundle, self._observer)
            except GoldenProbeError as error:
                return self._fall_back(loaded, error)
            self._in_use.proved(loaded, proof)
            return proof.cosine

    def reload(self, path: str | Path | None = None) -> None:
        """Put another bundle into use; frames in work finish in the old one, none is dropped.

        Args:
            path: of a bundle for the same task; None opens the present folder again.

        Raises:
            EngineError: as `load`, or another task. The old bundle stays in use.
        """
        with self._changing:
            old = self._in_use.get()
            # On a device that has failed its probes, earlier ones say nothing.
            options = self._probing() if self._in_use.refused else self._options
            try:
                new = loading.load(path or old.bundle.path, options, self._observer)
                if new.bundle.manifest.task != old.bundle.manifest.task:
                    new.model.release()
                    raise EngineError(
                        f"{new.bundle.path} is for {new.bundle.manifest.task}, this engine for "
                        f"{old.bundle.manifest.task}; load it as another engine"
                    )
                self._in_use.replace(old, new)
            except EngineError as error:
                _log.warning("the bundle stays, the new one is refused: %s", error)
                self._observer.reload("refused")
                raise
            self._parts.close()
            _log.info("now in use: %s", new.bundle.path)
            self._observer.reload("done")

    def close(self) -> None:
        """Free the model, once calls in other threads have ended; closing twice is harmless."""
        if self._reverifier is not None:
            self._reverifier.stop(wait=not in_callback())
        with self._changing:
            self._parts.close()
            self._in_use.close()

    def _load_part(self, path: Path, expected: str, reverify_every: float | None) -> Engine:
        # The whole's manifest, which may be signed, holds the hash of the part's.
        options = dataclasses.replace(self._options, trusted_keys=None)
        loaded = loading.load(path, options, self._observer, expected=expected)
        return Engine(loaded, options, reverify_every=reverify_every, observer=self._observer)

    def _fall_back(self, failed: loading.Loaded, error: GoldenProbeError) -> float:
        """Replace what failed its probes, or refuse every frame from now on."""
        _log.error("the golden probes fail: %s", error)
        if not self._options.fallback:
            self._in_use.refuse(failed, error)
            raise error
        name = failed.model.session.name
        try:
            new = loading.load_from(failed.bundle, self._probing(), self._observer, without=name)
            self._in_use.replace(failed, new)
        except Exception as problem:  # whatever it is, the failing model may serve nobody
            _log.error("no other back end takes over: %s", one_line(problem))
            self._in_use.refuse(failed, error)
            raise error from None
        assert new.proof is not None  # as it was asked for
        return new.proof.cosine

    def _probing(self) -> loading.Options:
        return dataclasses.replace(self._options, verify=True, notes=False)

    def _idle(self, seconds: float) -> bool:
        return self._in_use.get().model.idle_for(seconds)
