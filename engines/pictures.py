"""The example images of a report, with their predictions."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import numpy.typing as npt

from engines.report_data import Example
from runtime.tasks import Entry

_LONG_SIDE = 480
_COLOURS = 8
_TOP = 3


def example_figure(example: Example, index: int) -> str:
    """One image with the reference's and the engine's predictions side by side.

    Args:
        example: image and predictions.
        index: its place in the report, for identifiers.
    """
    predictions = example.reference + example.engine
    boxed = any(prediction.box is not None for prediction in predictions)
    body = _boxed(example, index) if boxed else _ranked(example)
    height, width = example.image.shape[:2]
    return (
        f'<figure class="example {"boxed" if boxed else "ranked"}"><figcaption>'
        f'<span class="file">{escape(example.name)}</span> '
        f'<span class="muted">{width} &times; {height}</span></figcaption>{body}</figure>'
    )


def data_uri(image: npt.NDArray[np.uint8]) -> str:
    """An image, uint8 (H, W, 3) RGB, as a JPEG of at most 480 pixels in a data: address."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _ranked(example: Example) -> str:
    same = [item.label for item in example.reference[:1]] == [
        item.label for item in example.engine[:1]
    ]
    lists = "".join(
        f"<div><h4>{title}</h4>{_top_list(predictions, marked)}</div>"
        for title, predictions, marked in (
            ("PyTorch", example.reference, False),
            ("Engine", example.engine, not same),
        )
    )
    return f'<img src="{data_uri(example.image)}" alt=""><div class="lists">{lists}</div>'


def _top_list(predictions: tuple[Entry, ...], marked: bool) -> str:
    rows = "".join(
        f"<li{' class=differs' if marked and place == 0 else ''}>"
        f'<span class="label">{escape(item.label)}</span>'
        f'<span class="number">{100 * item.score:.1f} %</span>'
        f'<svg width="100%" height="4" aria-hidden="true"><rect class="rail" width="100%" '
        f'height="4" rx="2"/><rect class="bar" width="{100 * item.score:.1f}%" height="4" '
        f'rx="2"/></svg></li>'
        for place, item in enumerate(predictions[:_TOP])
    )
    return f"<ol>{rows}</ol>"


def _boxed(example: Example, index: int) -> str:
    height, width = example.image.shape[:2]
    # Drawn in the units of a picture of fixed width, so that all pictures have equal letters.
    scale = _LONG_SIDE / width
    view = f"0 0 {_LONG_SIDE} {height * scale:.1f}"
    labels = sorted({item.label for item in example.reference + example.engine})
    colours = {label: place % _COLOURS for place, label in enumerate(labels)}
    identifier = f"picture-{index}"
    picture = (
        f'<image id="{identifier}" href="{data_uri(example.image)}" width="{_LONG_SIDE}" '
        f'height="{height * scale:.1f}" preserveAspectRatio="none"/>'
    )
    panels = []
    for title, predictions, content in (
        ("PyTorch", example.reference, picture),
        ("Engine", example.engine, f'<use href="#{identifier}"/>'),
    ):
        drawn = "".join(
            _box(item, scale, colours[item.label]) for item in reversed(predictions) if item.box
        )
        panels.append(
            f'<div><h4>{title} <span class="muted">{len(predictions)} '
            f"{'object' if len(predictions) == 1 else 'objects'}</span></h4>"
            f'<svg class="picture" viewBox="{view}" role="img" aria-label="{title}">{content}'
            f"{drawn}</svg></div>"
        )
    return f'<div class="panels">{"".join(panels)}</div>'


def _box(prediction: Entry, scale: float, colour: int) -> str:
    left, top, right, bottom = (scale * float(side) for side in prediction.box or (0, 0, 0, 0))
    text = f"{prediction.label} {prediction.score:.2f}"
    width = 6.6 * len(text) + 8
    x = max(0.0, min(left, _LONG_SIDE - width))
    y = max(0.0, top - 16)
    return (
        f'<g class="box c{colour}"><rect class="frame" x="{left:.1f}" y="{top:.1f}" '
        f'width="{max(right - left, 0):.1f}" height="{max(bottom - top, 0):.1f}"/>'
        f'<rect class="tag" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="16" rx="2"/>'
        f'<text x="{x + 4:.1f}" y="{y + 12:.1f}">{escape(text)}</text></g>'
    )
