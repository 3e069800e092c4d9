"""The `vitrine` command. Each command imports what it needs, so `run` works without PyTorch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from export.build import build, parse_limits
from export.console import DONE, REFUSED, note, print_json, progress, user_errors
from export.finish import finish
from export.signing import sign, verify

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="PyTorch vision transformers to verified engines.",
)  # fmt: skip
app.command()(build)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Bundle = Annotated[Path, typer.Argument(help="A bundle's folder.")]


@app.command()
def models(json: Json = False) -> None:
    """List the models that can be built."""
    with user_errors(json):
        from export.spec import load_models

        records = load_models()
        rows = {
            name: {
                "family": spec.family,
                "task": spec.task,
                "weights": str(spec.weights or "none; give --weights"),
            }
            for name, spec in records.items()
        }
    if json:
        print_json({"models": rows})
        return
    for name, row in rows.items():
        print(f"{name:18} {row['family']:6} {row['task']:15} {row['weights']}")


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine is, what it can build, and what is missing."""
    with user_errors(json):
        from export.doctor import examine

        found = examine()
    if json:
        print_json(found)
        return
    for part, rows in found.items():
        for name, value in rows.items():
            print(f"{part:9} {name:23} {value}")


app.command()(finish)
app.command()(sign)
app.command()(verify)


@app.command()
def run(
    bundle: Bundle,
    images: Annotated[list[Path], typer.Argument(help="Image files, or texts.")],
    threshold: Annotated[float, typer.Option(help="Least score of a detection.")] = 0.5,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep pictures: restored, or of classes.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict what is on images."""
    with user_errors(json):
        from export.item_files import read_item
        from export.predictions import as_text, save_pictures
        from runtime import Engine

        frames = [read_item(image) for image in images]
        with Engine.load(bundle) as engine:
            predictions: Sequence[Any] = engine(frames, threshold=threshold)
        named = list(zip(map(str, images), predictions, strict=True))
        if save is not None:
            save_pictures(save, named)
    if json:
        print_json({"predictions": [{"image": n, **p.as_json()} for n, p in named]})
        return
    for name, prediction in named:
        print(f"{name}: {as_text(prediction)}")


@app.command()
def bench(
    bundle: Bundle,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; repeatable.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Timed runs a batch size.")] = 20,
    layers: Annotated[bool, typer.Option("--layers", help="Time each layer as well.")] = False,
    json: Json = False,
) -> None:
    """Measure a bundle's latency, and what `infer` adds to the back end's own call."""
    with user_errors(json):
        from export.bench import layers_as_text, measure_bundle, measure_layers

        rows = measure_bundle(bundle, batch, rounds)
        found = measure_layers(bundle, [row["batch"] for row in rows], rounds) if layers else []
    if json:
        print_json({"bundle": str(bundle), "latency": rows} | ({"layers": found} if layers else {}))
        return
    for row in rows:
        print(
            f"batch {row['batch']:3}   median {row['median_ms']:8.2f} ms   "
            f"p10 {row['p10_ms']:8.2f}   p90 {row['p90_ms']:8.2f}   "
            f"{row['images_per_second']:8.1f} images/s   infer adds {row['overhead_us']:.0f} us"
        )
    for row in found:
        print("\n".join(layers_as_text(row)))


@app.command()
def drift(
    bundle: Bundle,
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: file, class index.")] = None,
    max_drift: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="Override a limit.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a Markdown summary here.")] = None,
    json: Json = False,
) -> None:
    """Compare a bundle with its PyTorch model; exit 0 only when every limit holds for sure."""
    with user_errors(json):
        from export.drift_gate import measure_bundle
        from runtime.drift.formats import explain, to_junit, to_markdown

        with progress() as say:
            report, about = measure_bundle(
                bundle, images, labels, parse_limits(max_drift or []), say
            )
        if junit:
            _write(junit, to_junit(report, name=f"drift.{about['model']}", properties=about))
        summary = to_markdown(report, title=f"{about['model']} {about['precision']}")
        if markdown:
            _write(markdown, summary)
        if step := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(step).open("a", encoding="utf-8") as file:
                file.write(summary)
    if json:
        print_json({**about, **report.to_dict()})
    else:
        for measurement in report.measurements:
            print(explain(measurement))
        print(f"verdict: {report.verdict}")
    if report.verdict == "inconclusive":
        note("not enough evidence to pass: give more images")
    sys.exit(DONE if report.verdict == "pass" else REFUSED)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main() -> Any:
    """Entry point of the `vitrine` command."""
    return app()


if __name__ == "__main__":
    main()
