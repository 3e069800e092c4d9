"""Archives that numpy.load would read for too long, into too much memory, or by evaluating them."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from runtime.strict_npz import MOST_BYTES, read_npz

ARRAYS = {"image_000": np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "x_000": np.ones((), "<f4")}


def archive(arrays: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in arrays.items():
            file.writestr(name, data)
    return buffer.getvalue()


def npy(header: bytes, data: bytes = b"", version: int = 1) -> bytes:
    return b"\x93NUMPY" + struct.pack("<BBH", version, 0, len(header)) + header + data


def written(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_npz(path)


@settings(max_examples=60, deadline=None)
@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=8, min_side=1, max_side=3),
    dtype=st.sampled_from(["|u1", "<f4"]),
    fortran=st.booleans(),
    compressed=st.booleans(),
)
def test_what_numpy_writes_is_read_as_numpy_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    dtype: str,
    fortran: bool,
    compressed: bool,
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    values = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    save = np.savez_compressed if compressed else np.savez
    save(path, allow_pickle=False, a=np.asarray(values, order="F" if fortran else "C"), b=values)
    with np.load(path, allow_pickle=False) as theirs:
        ours = read_npz(path)
        assert list(ours) == theirs.files
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name], strict=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_compression_without_a_bound_on_memory(method: int, tmp_path: Path) -> None:
    data = archive({"a.npy": written(np.zeros(3, np.uint8))}, method)
    refused(tmp_path / "a.npz", data, "compressed in another way")


def test_a_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    """A gibibyte and a bit of zeros in 5 MB; the second time it claims to be small."""
    buffer = io.BytesIO()
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1073741824,), }  \n"
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(npy(header))
        for _ in range(64):
            entry.write(bytes(MOST_BYTES // 64))
    bomb = bytearray(buffer.getvalue())
    refused(tmp_path / "a.npz", bomb, f"expected at most {MOST_BYTES}")
    size = struct.pack("<L", MOST_BYTES + len(npy(header)))
    at = bomb.rindex(size)  # in the directory
    bomb[at : at + 4] = struct.pack("<L", 200)
    tracemalloc.start()
    refused(tmp_path / "a.npz", bomb, "damaged archive: Bad CRC")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20  # the archive itself has 5 MiB, the arrays a hundred times that


def end_record(**fields: int) -> bytes:
    names = ("disk", "first", "here", "entries", "length", "offset", "comment")
    values = [fields.get(name, 0) for name in names]
    return struct.pack("<4s4H2LH", b"PK\x05\x06", *values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "an archive of 0 bytes", id="empty"),
        pytest.param(b"no archive" * 10, "no end of a zip directory", id="no zip"),
        pytest.param(end_record(disk=1), "no end of a zip", id="of several disks"),
        pytest.param(end_record(comment=1), "no end of a zip", id="comment"),
        pytest.param(end_record(here=1), "no end of a zip", id="two counts"),
        pytest.param(end_record(here=5000, entries=5000), "5000 arrays", id="many arrays"),
        pytest.param(
            end_record(here=1, entries=1, length=1 << 30), "directory of 1073741824", id="directory"
        ),
        pytest.param(end_record(offset=5), "elsewhere", id="offset"),
        pytest.param(b"PK\x06\x07" + bytes(16) + end_record(), "zip64", id="zip64"),
        pytest.param(b"x" * 46 + end_record(here=1, entries=1, length=46), "damaged", id="garbage"),
    ],
)
def test_directories(data: bytes, message: str, tmp_path: Path) -> None:
    refused(tmp_path / "a.npz", data, message)


def header(descr: str = "'|u1'", order: str = "False", shape: str = "(3,)") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(npy(header(), b"abc", version=2), id="version"),
        pytest.param(npy(header("'|O'"), b"abc"), id="objects"),
        pytest.param(npy(header("'>f4'", shape="(1,)"), b"abcd"), id="big-endian"),
        pytest.param(npy(header("[('a', '|u1')]"), b"abc"), id="record"),
        pytest.param(npy(header(shape="(-3,)"), b"abc"), id="negative"),
        pytest.param(npy(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 1)"), b"a"), id="nine axes"),
        pytest.param(npy(header(shape="(" * 9000 + ")" * 9000)), id="nested"),
        pytest.param(npy(header(shape="-" * 60000 + "3")), id="signs"),
        pytest.param(npy(header(order="exit()"), b"abc"), id="call"),
        pytest.param(npy(header())[:20], id="truncated"),
    ],
)
def test_headers_are_matched_not_evaluated(data: bytes, tmp_path: Path) -> None:
    refused(tmp_path / "a.npz", archive({"a.npy": data}), "is no array|damaged")


@pytest.mark.parametrize(
    ("shape", "needs"),
    [("(4,)", 4), ("(2,)", 2), ("()", 1), ("(0, 9)", 0), ("(999999999, 999999999)", 999999999**2)],
)
def test_shapes_that_are_not_the_data(shape: str, needs: int, tmp_path: Path) -> None:
    data = archive({"a.npy": npy(header(shape=shape), b"abc")})
    start = len(npy(header(shape=shape)))
    refused(tmp_path / "a.npz", data, f"its shape .* needs {start + needs}$")


@pytest.mark.parametrize("names", [("a.npy", "b.txt"), ("a",), ("a.npy", "a.npy")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names(names: tuple[str, ...], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, written(np.zeros(3, np.uint8)))
    refused(tmp_path / "a.npz", buffer.getvalue(), "names are not NAME.npy, each once")


def flip(data: bytes, index: int, value: int) -> bytes:
    return data[:index] + bytes([data[index] ^ value]) + data[index + 1 :]


CHANGES: list[Callable[[bytes, int, int], bytes]] = [
    flip,
    lambda data, index, _: data[:index],
    lambda data, index, value: data[:index] + bytes([value]) + data[index:],
]


@settings(max_examples=300, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    index=st.integers(0, 10_000),
    value=st.integers(1, 255),
)
@example(flip, 1240, 55)  # the comment of an entry swallows the next
def test_one_changed_byte_is_refused_or_changes_no_value(
    tmp_path_factory: pytest.TempPathFactory,
    change: Callable[[bytes, int, int], bytes],
    index: int,
    value: int,
) -> None:
    """The checksums of zip leave nothing else: only names, dates and the like are not covered."""
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez_compressed(path, allow_pickle=False, **ARRAYS)
    data = path.read_bytes()
    path.write_bytes(change(data, index % len(data), value))
    try:
        found = read_npz(path)
    except ValueError:
        return
    assert sorted(map(bytes, found.values())) == sorted(map(bytes, ARRAYS.values()))
