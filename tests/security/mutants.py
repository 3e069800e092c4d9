"""Bundles that are wrong for certain: what is wrong with each is known, and every hash is right."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Change = Callable[[Path], None]


class Mutant(NamedTuple):
    """A change to a bundle.

    Attributes:
        name: what is changed, unique in the corpus.
        apply: does it to a copy of a good bundle.
        certain: whether no reading of the bundle can be right; else one that passes its golden
            probes may be used.
    """

    name: str
    apply: Change
    certain: bool = True


def rehash(bundle: Path) -> None:
    """Make the manifest list its files as they now are."""
    record = json.loads((bundle / "manifest.json").read_text())
    for name in record["files"]:
        record["files"][name] = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(record))


def of_file(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Rewrites a file and the hash that the manifest has of it."""

    def apply(bundle: Path) -> None:
        (bundle / name).write_bytes(change((bundle / name).read_bytes()))
        if name != "manifest.json":
            rehash(bundle)

    return apply


FREE = {"calibration", "drift", "latency", "source"}  # kept as they are, for reports
NULLABLE = {"compute_capability", "platform", "crop", "max_size"}
OPTIONAL = {"options", "platform", "fallbacks"}
WRONG: list[Any] = [None, True, 3, -1, 1.5, 1e300, "", "x\x1b[2J", [], {}, [[]], 10**30, "\ud800"]
Where = tuple[str | int, ...]


def places(value: Any, where: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Every value in a JSON record that the runtime gives a meaning, and where it is."""
    if where and where[0] in FREE:
        return
    yield where, value
    if isinstance(value, dict | list):
        items: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*where, key))


def is_wrong(where: Where, old: Any, new: Any) -> bool:
    """Whether no bundle may have `new` there; where another value may be right, it is not."""
    if new is None:
        return where[-1] not in NULLABLE
    if isinstance(new, str) and (isinstance(old, str) or "shape" in where):
        return "shape" not in where and new.startswith(("x\x1b", "\ud800"))
    if where[-1] == "min_cosine" or where[:2] in (("preprocess", "mean"), ("preprocess", "std")):
        return not isinstance(new, int | float) or isinstance(new, bool)
    if where[-1] in ("labels", "options", "fallbacks", "shape") or where == ("files",):
        return not isinstance(new, list | dict)  # an empty one has a right type
    if where[-1] == "precision_map" or where[0] == "precision_map":
        return not isinstance(new, dict)
    if where[-1] in NULLABLE or "shape" in where or where[-1] == "size":
        return not (isinstance(new, int) and not isinstance(new, bool) and 0 < new < 1 << 31)
    return type(new) is not type(old)


def replaced(where: Where, new: Any) -> Change:
    def change(data: bytes) -> bytes:
        record = json.loads(data)
        inner = record
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = new
        return json.dumps(record).encode()

    return of_file("manifest.json", change)


def without(where: Where) -> Change:
    def change(data: bytes) -> bytes:
        record = json.loads(data)
        inner = record
        for key in where[:-1]:
            inner = inner[key]
        del inner[where[-1]]
        return json.dumps(record).encode()

    return of_file("manifest.json", change)


def manifest_mutants(manifest: str, rng: random.Random, count: int) -> Iterator[Mutant]:
    """Fields of wrong types and out of bounds, missing or unknown ones; and broken JSON."""
    found = [(where, value) for where, value in places(json.loads(manifest)) if where]
    wrong = [(w, new) for w, old in found for new in WRONG if is_wrong(w, old, new)]
    for where, new in rng.sample(wrong, count):
        yield Mutant(f"manifest {dotted(where)} = {new!r:.20}", replaced(where, new))
    fixed = [w for w, _ in found if isinstance(w[-1], str) and len(w) < 3 and w[0] != "files"]
    for where in fixed:
        if where[-1] not in OPTIONAL and where[0] not in ("preprocess", "precision_map"):
            yield Mutant(f"manifest without {dotted(where)}", without(where))
    for where in [w for w, value in found if isinstance(value, dict)]:
        if where[0] not in ("files", "precision_map"):
            yield Mutant(f"manifest {dotted(where)}.surprise", replaced((*where, "surprise"), 1))
    text = manifest.strip().encode()
    for at in sorted(rng.sample(range(len(text)), 15)):
        yield Mutant(f"manifest cut at {at}", of_file("manifest.json", lambda b, at=at: b[:at]))
    for at in sorted(rng.sample(range(len(text)), 15)):
        byte = rng.choice([b"\0", b"\xff", b"\x1f"])
        broken = text[:at] + byte + text[at + 1 :]
        yield Mutant(
            f"manifest byte {at} = {byte!r}", of_file("manifest.json", lambda _, b=broken: b)
        )
    for name, broken in {
        "two keys": text[:-1] + b', "schema": 1}',
        "NaN": text.replace(b'"seed": 0', b'"seed": NaN'),
        "infinity": text.replace(b'"seed": 0', b'"seed": 1e999'),
        "nested": text.replace(b'"seed": 0', b'"seed": ' + b"[" * 99_999 + b"]" * 99_999),
        "long number": text.replace(b'"seed": 0', b'"seed": ' + b"9" * 99_999),
        "5 MB": text + b" " * (5 << 20),
        "escapes": b'"' + b'\\"' * (1 << 20),
        "UTF-16": manifest.encode("utf-16"),
    }.items():
        yield Mutant(f"manifest with {name}", of_file("manifest.json", lambda _, b=broken: b))


def dotted(where: Where) -> str:
    return ".".join(map(str, where))


def meaning_mutants() -> Iterator[Mutant]:
    """Manifests of a right form that do not describe this model."""
    changes: dict[str, tuple[Where, Any]] = {
        "a later schema": (("schema",), 2),
        "an unknown task": (("task",), "exec"),
        "an unknown back end": (("engine", "backend"), "../../plugin"),
        "a back end without its file": (("engine", "backend"), "tensorrt"),
        "another output": (("outputs", 0, "name"), "elsewhere"),
        "an unknown type": (("inputs", 0, "dtype"), "object"),
        "more probes than there are": (("golden", "probes"), 3),
        "a thousand probes": (("golden", "probes"), 1000),
        "a cosine that none reaches": (("golden", "min_cosine"), 2),
        "nine axes": (("inputs", 0, "shape"), [1] * 9),
        "a hundred outputs": (("outputs",), [{"name": "x", "dtype": "int8", "shape": [1]}] * 100),
        "an output twice": (("outputs",), [{"name": "x", "dtype": "int8", "shape": [1]}] * 2),
        "no file": (("files",), {}),
        "300 files": (("files",), {f"f{n}": "0" * 64 for n in range(300)}),
        "a million labels": (("labels",), ["x"] * 150_000),
        "an enormous resize": (("preprocess", "size"), 1 << 20),
        "no such interpolation": (("preprocess", "interpolation"), "__import__('os')"),
    }
    for name, (where, new) in changes.items():
        yield Mutant(f"manifest with {name}", replaced(where, new))
    names = [
        "../secret",
        "/etc/passwd",
        "..",
        "",
        "a/b",
        "a\\b",
        "C:x",
        "a\0b",
        ".hidden",
        "ü",
        " x",
    ]
    names += ["manifest.sig", "manifest.json", "MANIFEST.JSON", "kit.json", "Model.onnx", "x" * 300]
    for name in names:
        yield Mutant(f"lists {name[:20]!r}", replaced(("files", name), "0" * 64))
    for name in ("model.onnx", "golden.npz"):
        yield Mutant(f"another hash of {name}", replaced(("files", name), "0" * 64))
        yield Mutant(f"no hash of {name}", without(("files", name)))


def changed_arrays(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Rewrites golden.npz as NumPy itself does."""

    def apply(data: bytes) -> bytes:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        change(arrays)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    return apply


class Payload:
    """Would write a file when unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, ("pickle-was-here", "w")


def golden_mutants(golden: bytes, rng: random.Random, count: int) -> Iterator[Mutant]:
    """Probes of other forms, and damaged archives; every size that could be wrong."""
    image = np.zeros((8, 8, 3), np.uint8)
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "no arrays": lambda a: a.clear(),
        "a frame less": lambda a: a.pop("image_000"),
        "a frame more": lambda a: a.update(image_002=image),
        "answers less": lambda a: a.pop("logits_001"),
        "a frame of floats": lambda a: a.update(image_000=image.astype(np.float32)),
        "a grey frame": lambda a: a.update(image_000=image[..., 0]),
        "a frame without pixels": lambda a: a.update(image_000=image[:0]),
        "four channels": lambda a: a.update(image_000=np.zeros((8, 8, 4), np.uint8)),
        "objects": lambda a: a.update(image_000=np.array([Payload()], object)),
        "text": lambda a: a.update(image_000=np.array(["x"])),
        "a record": lambda a: a.update(image_000=np.zeros(3, [("x", "u1")])),
        "NaN": lambda a: a.update(logits_000=np.full_like(a["logits_000"], np.nan)),
        "infinity": lambda a: a.update(logits_000=np.full_like(a["logits_000"], np.inf)),
        "float64": lambda a: a.update(logits_000=a["logits_000"].astype(float)),
        "no numbers": lambda a: a.update(logits_000=a["logits_000"][:0]),
        "another shape": lambda a: a.update(logits_000=a["logits_000"][None]),
        "an unknown output": lambda a: a.update(secret_000=a["logits_000"]),
        "opposite answers": lambda a: a.update(logits_000=-a["logits_000"]),
        "an answer to another frame": lambda a: a.update(logits_000=a["logits_000"][..., ::-1]),
        "zeros": lambda a: a.update(logits_000=0 * a["logits_000"]),
        "1000 probes": lambda a: a.update({f"image_{n:03d}": image for n in range(1000)}),
    }
    for name, change in changes.items():
        yield Mutant(f"golden with {name}", of_file("golden.npz", changed_arrays(change)))
    for at in sorted(rng.sample(range(len(golden) - 1), count)):
        yield Mutant(f"golden cut at {at}", of_file("golden.npz", lambda b, at=at: b[:at]))
    for n in range(count):
        noise = rng.randbytes(rng.randint(1, 400))
        yield Mutant(f"golden of noise {n}", of_file("golden.npz", lambda _, b=noise: b))
        inner = zipped({"image_000.npy": b"\x93NUMPY" + noise, "logits_000.npy": noise})
        yield Mutant(f"golden of noisy arrays {n}", of_file("golden.npz", lambda _, b=inner: b))
        flipped = bytearray(golden)
        for _ in range(3):
            flipped[rng.randrange(len(golden))] ^= 1 << rng.randrange(8)
        # A name or date may change without harm; the checksums of zip see to the rest.
        change = of_file("golden.npz", lambda _, b=bytes(flipped): b)
        yield Mutant(f"golden with flipped bits {n}", change, certain=False)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
