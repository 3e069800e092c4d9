"""Predictions as a line of text, and those that are pictures as files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runtime import EngineError
from runtime.tasks import Prediction


def as_text(prediction: Prediction) -> str:
    """What is found, with its box in pixels where it has one."""
    found = [
        f"{entry.label} {entry.score:.1%}"
        + (f" at ({', '.join(f'{edge:.0f}' for edge in entry.box)})" if entry.box else "")
        for entry in prediction.entries()
    ]
    picture = prediction.picture()
    if not found and picture is not None:
        return f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels; --save DIR keeps it"
    return ", ".join(found) or prediction.remark()


def save_pictures(folder: Path, predictions: Iterable[tuple[str, Prediction]]) -> list[Path]:
    """Writes pictures as PNG files, called as the images that they were made from.

    Raises:
        EngineError: a prediction is no picture, or the folder cannot be written.
    """
    from PIL import Image

    saved = []
    for name, prediction in predictions:
        picture = prediction.picture()
        if picture is None:
            raise EngineError(
                f"what is found on {name} is no picture to be saved; leave --save out"
            )
        saved.append(folder / f"{Path(name).stem}.png")
        temporary = saved[-1].with_suffix(".partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(temporary, "PNG")
            temporary.replace(saved[-1])
        except OSError as error:
            raise EngineError(
                f"{saved[-1]} cannot be written ({error.strerror}); give another folder"
            ) from error
    return saved
