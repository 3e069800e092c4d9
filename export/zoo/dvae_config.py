"""The configuration of a discrete VAE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DvaeConfig:
    """A dVAE; without arguments the published one.

    Attributes:
        image_size: side in pixels.
        codes: in the codebook.
        hidden: channels of the first group of encoder blocks and of the last of the decoder; each
            further one has twice as many.
        initial: channels of a code in the decoder.
        groups: of blocks; between two of them the sides are halved (or doubled).
        blocks: of a group.
        laplace: whether the decoder also says how sure it is of each colour, which the likelihood
            of appendix A.3 asks for.

    Raises:
        ValueError: a number that is too small, or an image that does not divide into cells.
    """

    image_size: int = 256
    codes: int = 8192
    hidden: int = 256
    initial: int = 128
    groups: int = 4
    blocks: int = 2
    laplace: bool = True

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        for name, least in (
            ("hidden", 4),
            ("initial", 4),
            ("codes", 1),
            ("groups", 1),
            ("blocks", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"config.dvae.{name} is {getattr(self, name)}; give at least {least}"
                )
        if self.image_size % (2 ** (self.groups - 1)):
            raise ValueError(
                f"config.dvae.image_size is {self.image_size}; give a multiple of "
                f"{2 ** (self.groups - 1)}, the side of a cell with {self.groups} groups"
            )

    @property
    def grid(self) -> int:
        """Cells of a side."""
        return int(self.image_size // 2 ** (self.groups - 1))

    @property
    def widths(self) -> list[int]:
        """Channels of the encoder's groups."""
        return [self.hidden * 2**group for group in range(self.groups)]
