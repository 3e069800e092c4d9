"""What `vitrine finish` is asked for, refused early where no device could do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engines.tensorrt import OPTIONS

# A stripped plan holds no weights and could not run its golden probes.
_OPTIONS = tuple(name for name in OPTIONS if name != "strip")


@dataclass(frozen=True)
class FinishOrder:
    """What to make of a kit.

    Attributes:
        kit: its folder.
        out: where the bundle's folder goes.
        workspace: bytes of scratch memory for a build; None takes the target's.
        optimisation_level: 0 (quick) to 5 (fastest engine).
        options: of `engines.tensorrt.OPTIONS`, "strip" excepted.
        headers: folder of TensorRT's headers, for the plugins; None looks where systems have them.
        keep_slower: whether INT8 may be kept where float is faster.

    Raises:
        ValueError: an unknown option, or a bundle inside its own kit.
    """

    kit: Path
    out: Path
    workspace: int | None = None
    optimisation_level: int = 3
    options: frozenset[str] = field(default_factory=frozenset)
    headers: Path | None = None
    keep_slower: bool = False

    def __post_init__(self) -> None:
        """Checks what does not depend on the machine."""
        if unknown := sorted(self.options - set(_OPTIONS)):
            expected = ", ".join(_OPTIONS)
            raise ValueError(f"found --option {unknown[0]}, expected one of {expected}")
        out = self.out.resolve()
        if self.kit.resolve() in (out, *out.parents):
            raise ValueError(f"--out {self.out} is inside the kit; give a folder outside of it")
