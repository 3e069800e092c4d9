"""The fake CUDA runtime and the tests' expectations against NVIDIA's own bindings."""

from __future__ import annotations

import enum
import inspect
import re

import pytest

from tests.fakes import cuda_runtime

real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")

FUNCTIONS = [
    name
    for name, value in vars(cuda_runtime).items()
    if name.startswith("cuda") and inspect.isfunction(value)
]
ENUMS = [
    name
    for name, value in vars(cuda_runtime).items()
    if isinstance(value, type) and issubclass(value, enum.Enum)
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_same_parameters(name: str) -> None:
    # Cython's functions have no signature; the first line of their documentation is one.
    found = re.match(rf"{name}\((.*)\)", getattr(real, name).__doc__.strip())
    assert found is not None
    theirs = [part.partition(":")[0].split()[-1] for part in found[1].split(", ") if part]
    assert list(inspect.signature(getattr(cuda_runtime, name)).parameters) == theirs


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations_have_the_same_values(name: str) -> None:
    for member in getattr(cuda_runtime, name):
        theirs = getattr(getattr(real, name), member.name)
        assert (theirs.name, int(theirs)) == (member.name, member.value)


@pytest.mark.parametrize("name", ["cudaStreamNonBlocking", "cudaEventDisableTiming"])
def test_constants_are_the_same(name: str) -> None:
    assert getattr(real, name) == getattr(cuda_runtime, name)


def test_structures_have_the_fields_that_are_read() -> None:
    properties, pointer = real.cudaDeviceProp(), real.cudaPointerAttributes()
    assert isinstance(properties.name, bytes)
    assert (properties.major, properties.minor) == (0, 0)
    assert (pointer.type, pointer.device) == (real.cudaMemoryType.cudaMemoryTypeUnregistered, 0)


def test_a_stream_handle_is_an_integer() -> None:
    assert int(real.cudaStream_t(5)) == 5
