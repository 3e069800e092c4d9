"""`python export/build.py`, also `vitrine build`: from a PyTorch model to a verified bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

if __name__ == "__main__":
    # The script's own folder comes first on the path and would shadow other packages.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import typer

from export.console import DONE, REFUSED, note, print_json, progress, user_errors
from export.finish import finish_here, finish_summary, print_finished

if TYPE_CHECKING:
    from engines.finish import Finished
    from export.outcome import Built

_PRECISIONS = ("fp32", "fp16", "int8", "auto")

Images = Annotated[
    int | None, typer.Option(min=1, help="Calibration images; the rest measure drift.")
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=VALUE",
        help="Replace a drift limit; repeatable. INT8 layers return to float until it holds.",
    ),
]
MaxBatch = Annotated[
    int,
    typer.Option(min=1, max=1024, help="Images at most that a TensorRT engine takes at once."),
]


def build(
    model: Annotated[str, typer.Option(help="A name from models.yaml; `vitrine models` lists.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto (fastest).")] = "int8",
    target: Annotated[str, typer.Option(help="cpu, or a GPU of `vitrine doctor`.")] = "cpu",
    weights: Annotated[
        str | None,
        typer.Option(help="A state dict, a Hugging Face folder, a hub id, or random."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of images, with labels.csv or boxes.json if labelled."),
    ] = None,
    images: Images = None,
    seed: Annotated[int | None, typer.Option(help="Of the choice of images.")] = None,
    max_drift: Limits = None,
    confidence: Annotated[
        float, typer.Option(help="That the limits hold, of the search on calibration images.")
    ] = 0.95,
    precision_map: Annotated[
        Path | None,
        typer.Option(help="A reviewed precision_map.yaml: the same INT8 layers again."),
    ] = None,
    keep_slower: Annotated[
        bool, typer.Option("--keep-slower", help="Keep INT8 where float is faster.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps calibrations for builds with the same images."),
    ] = None,
    max_batch: MaxBatch = 8,
    out: Annotated[Path | None, typer.Option(help="Default: engines/built.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Build, verify and bundle an engine."""
    with user_errors(json):
        from export.spec import find_model, load_models

        if precision not in _PRECISIONS:
            raise ValueError(f"--precision {precision}: expected one of {', '.join(_PRECISIONS)}")
        spec = find_model(model, load_models())
        limits = parse_limits(max_drift or [])
        from export import pipeline
        from export.request import BUILT, Request

        request = Request(
            spec, precision, target, weights, calibration, images, seed, limits,
            out or BUILT, confidence, precision_map, keep_slower, cache,
            max_batch,
        )  # fmt: skip
        with progress() as say:
            built = pipeline.build(request, say)
            finished = finish_here(built.bundle, target, keep_slower, say) if built.kit else None
    _conclude(built, finished, json)


def _conclude(built: Built, finished: Finished | None, as_json: bool) -> NoReturn:
    """Prints the outcome and ends the command."""
    record = summary(built)
    if finished is not None:
        record["finished"] = finish_summary(finished)
    print_json(record) if as_json else _print(built, record)
    refused = built.refused or (finished is not None and finished.refused)
    sys.exit(REFUSED if refused else DONE)


def parse_limits(texts: list[str]) -> dict[str, float]:
    """`METRIC=VALUE` options as a mapping; `ValueError` on anything else."""
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError as error:
            raise ValueError(
                f"--max-drift {text!r}: expected METRIC=VALUE with a number, such as "
                "top1_agreement=0.98"
            ) from error
    return limits


def summary(built: Built) -> dict[str, Any]:
    """The outcome of a build as plain values."""
    from engines.candidates import candidate_summary

    return {
        "bundle": str(built.bundle),
        "kit": built.kit,
        "accepted": built.accepted,
        "refused": built.refused,
        "precision": built.kept.precision,
        "backend": built.kept.backend,
        "kept": built.why,
        "weights": built.reference.source,
        "drift": built.drift.to_dict(),
        "skipped_images": built.split.skipped,
        "candidates": [candidate_summary(candidate) for candidate in built.candidates],
    }


def _print(built: Built, record: dict[str, Any]) -> None:
    from runtime.drift.formats import explain

    for warning in warnings(built):
        note(warning)
    print(f"kept      {built.why}")
    for measurement in built.drift.measurements:
        print(f"drift     {explain(measurement)}")
    print(f"verdict   {built.drift.verdict}")
    if built.refused:
        print(f"REFUSED   {built.refused}")
    print(f"{'kit' if built.kit else 'bundle':9} {record['bundle']}")
    if "finished" in record:
        print_finished(record["finished"])
    elif built.kit:
        print(f"next      on the device: vitrine finish {record['bundle']}")
    print(f"report    {built.bundle / 'report.html'}")


def warnings(built: Built) -> list[str]:
    """What a user must not overlook."""
    found = []
    if built.reference.source["weights"] == "random":
        found.append("WARNING: random weights; predictions mean nothing, only speed does")
    if built.split.skipped:
        names = ", ".join(sorted(built.split.skipped))
        found.append(f"WARNING: skipped {len(built.split.skipped)} unreadable images: {names}")
    if not built.split.disjoint:
        found.append(
            "WARNING: no images were left for drift, which was measured on the calibration images; "
            "give more images, or fewer with --images"
        )
    if built.drift.verdict == "inconclusive":
        found.append(
            f"WARNING: {built.drift.images} images are too few for a verdict; give more images"
        )
    if built.kit:
        found += [f"WARNING: no {c.precision} in the kit: {c.obstacle}" for c in built.candidates]
    if "SLOWER" in built.why:
        found.append(f"WARNING: {built.why}")
    return found


if __name__ == "__main__":
    typer.run(build)
