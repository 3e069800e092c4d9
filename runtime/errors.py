"""The exception an application may want to catch, and the one case that a gate tells apart."""

from __future__ import annotations

_LONGEST = 300  # characters of somebody else's message that still read as one line


class EngineError(RuntimeError):
    """A bundle, a back end or an image that cannot be used, said in one line.

    Wrong arguments are not this: they raise `ValueError` or `TypeError`.
    """


class GoldenProbeError(EngineError):
    """The engine computes something else on this device than PyTorch did.

    Attributes:
        cosine: the lowest over probes and outputs.
    """

    def __init__(self, message: str, cosine: float) -> None:
        """Keep the line and the cosine."""
        super().__init__(message)
        self.cosine = cosine


def one_line(error: BaseException) -> str:
    """The message of `error` with line breaks folded and its length bounded.

    Other libraries repeat names from files, in which a terminal would find its control sequences.
    """
    text = error.strerror if isinstance(error, OSError) else None  # without its number
    text = " ".join((text or str(error)).split()) or type(error).__name__
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
