"""The exception an application may want to catch, and the one case that a gate tells apart."""

from __future__ import annotations

_LONGEST = 300  # characters of somebody else's message that still read as one line


class EngineError(RuntimeError):
    """A bundle, a back end or an image that cannot be used, said in one line.

    Wrong arguments are not this: they raise `ValueError` or `TypeError`.
    """


class GoldenProbeError(EngineError):
    """The engine computes something else on this device than PyTorch did."""


def one_line(error: BaseException) -> str:
    """The message of `error` with line breaks folded and its length bounded."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
