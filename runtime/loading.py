"""From a bundle's folder to a model that has proved itself on this device."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.backends import Session, open_session
from runtime.bundle import Bundle, check_files, open_bundle
from runtime.errors import EngineError, GoldenProbeError
from runtime.golden import check, load_golden
from runtime.model import Model
from runtime.observer import Observer
from runtime.proof import Proof, forget, remember, remembered

_log = logging.getLogger("vitrine.engine")
MODEL, GOLDEN = "model.onnx", "golden.npz"
PLAN, PLUGINS = "model.plan", "libvitrine_plugins.so"


@dataclasses.dataclass(frozen=True)
class Options:
    """How an engine loads its bundles; see `Engine.load`.

    Attributes:
        notes: whether a noted proof spares the probes.
    """

    verify: bool = True
    notes: bool = True
    threads: int | None = None
    streams: int = 1
    max_batch: int | None = None
    trusted_keys: Sequence[str | Path | bytes] | None = None
    fallback: bool = False
    warm_up: bool = False


@dataclasses.dataclass
class Loaded:
    """A model, the bundle it came from, and the last proof of it; None where none was asked for."""

    model: Model
    bundle: Bundle
    proof: Proof | None


def load(
    path: str | Path, options: Options, observer: Observer, *, expected: str | None = None
) -> Loaded:
    """Open a bundle and prove it, in the first of its back ends that passes.

    Args:
        path: of the bundle.
        options: of the engine.
        observer: of the engine.
        expected: sha256 of its manifest, of a part.

    Raises:
        EngineError: as `Engine.load`; with fallbacks, of the first back end.
    """
    bundle = open_bundle(path, trusted_keys=options.trusted_keys, expected=expected)
    return load_from(bundle, options, observer)


def load_from(
    bundle: Bundle, options: Options, observer: Observer, *, without: str | None = None
) -> Loaded:
    """The first back end of an open bundle that passes, `without` one that no longer does."""
    if without is not None:  # it was opened long ago, and a new build may have taken its place
        check_files(bundle.path, bundle.manifest.files)
    first: EngineError | None = None
    for backend in _backends(bundle, options, without):
        try:
            loaded = _load(bundle, backend, options, observer)
        except EngineError as error:
            # A warning where another may help; otherwise the caller hears of it.
            level = logging.WARNING if options.fallback else logging.DEBUG
            _log.log(level, "%s does not run %s: %s", backend, bundle.path, error)
            first = first or error
            continue
        if backend != bundle.manifest.engine.backend:
            _log.warning("running in %s instead", backend)
            observer.fallback(backend)
        return loaded
    assert first is not None  # as there is at least one back end
    raise first


def prove(model: Model, bundle: Bundle, observer: Observer) -> Proof:
    """Run the golden probes, one at a time so that frames may go between them.

    Raises:
        GoldenProbeError: the engine computes something else here.
        EngineError: the probes cannot be read, or the back end fails.
    """
    path = bundle.file(GOLDEN)
    # Those of a new build in the same folder would say of this engine that it fails.
    check_files(bundle.path, {GOLDEN: bundle.manifest.files[GOLDEN]})
    golden = load_golden(path)
    wanted = model.manifest.golden
    if len(golden.items) != wanted.probes:
        raise EngineError(
            f"{path} has {len(golden.items)} probes, the manifest "
            f"says {wanted.probes}; build the bundle again"
        )
    try:
        cosine = check(model.run, model.manifest.preprocess, golden, wanted.min_cosine)
    except GoldenProbeError as error:
        forget(bundle, model.session)
        observer.probe(error.cosine, passed=False)
        raise
    observer.probe(cosine, passed=True)
    return Proof(cosine, model.session.name, time.time())


def _backends(bundle: Bundle, options: Options, without: str | None) -> list[str]:
    engine = bundle.manifest.engine
    names = [engine.backend, *(engine.fallbacks if options.fallback else ())]
    left = [name for name in dict.fromkeys(names) if name != without]
    if not left:
        raise EngineError(
            f"{bundle.path} has no other back end than {without}; build it again on this device"
        )
    return left


def _load(bundle: Bundle, backend: str, options: Options, observer: Observer) -> Loaded:
    session = _open(bundle, backend, options)
    try:
        model = Model(bundle.manifest, session, options.max_batch)
        proof = remembered(bundle, session) if options.verify and options.notes else None
        if options.verify and proof is None:
            proof = prove(model, bundle, observer)
            remember(bundle, session, proof)
        if options.warm_up:
            model.warm_up()
        return Loaded(model, bundle, proof)
    except BaseException:
        session.close()
        raise


def _open(bundle: Bundle, backend: str, options: Options) -> Session:
    """A session on the file that the back end runs."""
    if backend != "tensorrt":
        threads, streams = options.threads, options.streams
        return open_session(backend, bundle.file(MODEL), threads=threads, streams=streams)
    engine = bundle.manifest.engine
    plugins = [bundle.file(PLUGINS)] if PLUGINS in bundle.manifest.files else []
    return open_session(backend, bundle.file(PLAN), plugins=plugins, built_for=engine)
