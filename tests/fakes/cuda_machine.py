"""The device behind the fake CUDA runtime: it does late whatever a device may do late.

Streams run their work only when somebody synchronises, device memory has addresses that the host
cannot read and that are never given out again, and new memory is full of rubbish: so a missing
synchronisation, a copy from memory that was overwritten too early, a use after free, a double free
and a leak all become visible.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

RUBBISH = 0xA5
FIRST_ADDRESS = 0x7000_0000_0000  # not mapped: reading it on the host would end the process


@dataclasses.dataclass
class Properties:
    name: bytes = b"Orin\0\0"
    major: int = 8
    minor: int = 7


class Stream:
    """Work that nobody has waited for yet."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.spoiled = False

    def put(self, work: Callable[[], None]) -> None:
        (self.pending if self.captured is None else self.captured).append(work)

    def run(self) -> None:
        while self.pending:
            self.pending.pop(0)()


class Machine:
    """All that is allocated, and what the next calls shall do."""

    def __init__(self) -> None:
        self.device_count, self.device, self.properties = 1, 0, Properties()
        self.total = 1 << 30
        self.memory: dict[int, bytearray] = {}
        self.where: dict[int, int] = {}  # device by address
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {1: Stream(), 2: Stream()}  # the default ones
        self.events: dict[int, Callable[[], None]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.failures: dict[str, Any] = {}
        self.calls: list[str] = []
        self.next_address = FIRST_ADDRESS
        self.next_handle = 100

    def handle(self) -> int:
        self.next_handle += 1
        return self.next_handle

    def allocate(self, size: int) -> int:
        """Device memory, at addresses that are never used again."""
        address = self.next_address
        self.next_address += -(-size // 256) * 256 + 256
        self.memory[address] = bytearray([RUBBISH]) * size
        self.where[address] = self.device
        return address

    def find(self, address: int, size: int) -> memoryview:
        """`size` bytes at an address inside live memory."""
        for base, block in (*self.memory.items(), *self.pinned.items()):
            if base <= address < base + len(block):
                assert address + size <= base + len(block), f"{size} bytes overrun {address:#x}"
                return memoryview(block).cast("B")[address - base : address - base + size]
        raise AssertionError(f"{address:#x} is not allocated, or no more")

    def stream(self, handle: Any) -> Stream:
        assert int(handle) in self.streams, f"stream {int(handle)} does not exist"
        return self.streams[int(handle)]

    def idle(self) -> None:
        """Fail when work is pending, or a stream is still captured."""
        for number, stream in self.streams.items():
            assert not stream.pending, f"work is pending on stream {number}"
            assert stream.captured is None, f"stream {number} is being captured"

    def left(self) -> dict[str, int]:
        """What is still allocated, by kind; empty when nothing leaked."""
        counts = {
            "device memory": len(self.memory),
            "pinned memory": len(self.pinned),
            "streams": len(self.streams) - 2,
            "events": len(self.events),
            "graphs": len(self.graphs) + len(self.executables),
        }
        return {kind: count for kind, count in counts.items() if count}

    def refusal(self, function: str) -> Any | None:
        self.calls.append(function)
        return self.failures.get(function)

    def capturing(self) -> bool:
        """Spoil captures under way, as an unsafe call does."""
        found = [stream for stream in self.streams.values() if stream.captured is not None]
        for stream in found:
            stream.spoiled = True
        return bool(found)


MACHINE = Machine()


def reset() -> Machine:
    """A new machine in place of the old one, for the next test."""
    MACHINE.__init__()  # type: ignore[misc]
    return MACHINE
