from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from runtime import EngineError
from runtime.manifest import SCHEMA, EngineInfo, Manifest
from tests.runtime.bundles import CLASSIFIER, DETECTOR


@pytest.mark.parametrize("manifest", [CLASSIFIER, DETECTOR], ids=lambda m: m.model)
def test_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_what_an_engine_is_bound_to() -> None:
    plan = EngineInfo("tensorrt", "10.3.0", "Orin", "8.7", "Linux-aarch64", ("refit",))
    manifest = dataclasses.replace(CLASSIFIER, engine=plan)
    assert Manifest.from_json(manifest.to_json()) == manifest
    # Earlier bundles do not say it.
    record = {"backend": "openvino", "version": "2026.2", "device": "", "compute_capability": None}
    found = Manifest.from_json(changed(engine=record)).engine
    assert found == EngineInfo("openvino", "2026.2", "", None, None, ())


def test_text_is_reproducible_and_sorted() -> None:
    record = json.loads(CLASSIFIER.to_json())
    shuffled = Manifest.from_json(json.dumps(dict(reversed(record.items()))))
    assert shuffled.to_json() == CLASSIFIER.to_json()
    assert list(record) == sorted(record)


def test_fields_are_those_of_the_design() -> None:
    build = {"schema", "model", "task", "precision", "target", "engine", "files", "source"}
    use = {"inputs", "outputs", "preprocess", "labels", "golden"}
    reports = {"precision_map", "calibration", "drift", "latency"}
    assert json.loads(CLASSIFIER.to_json()).keys() == build | use | reports


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(CLASSIFIER.to_json()) | fields)


def lacking(name: str) -> str:
    record = json.loads(CLASSIFIER.to_json())
    del record[name]
    return json.dumps(record)


TENSOR = {"name": "x", "dtype": "float32", "shape": ["batch", 3]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(changed(schema=SCHEMA + 1), "reads up to 1; update Vitrine", id="newer"),
        pytest.param(changed(schema=0), "schema is 0, expected 1", id="older"),
        pytest.param(changed(schema=True), "schema is True, expected an integer", id="bool"),
        pytest.param(lacking("schema"), "schema is None", id="no schema"),
        pytest.param(lacking("labels"), "lacks labels; build", id="missing"),
        pytest.param(changed(extra=1), "has unknown extra; build", id="unknown"),
        pytest.param(changed(model=3), "model is 3, expected a string", id="model"),
        pytest.param(changed(labels="cat"), "labels is 'cat', expected a list", id="labels"),
        pytest.param(changed(labels=["a", 1]), "labels is 1, expected a string", id="label"),
        pytest.param(changed(files={"a": 1}), "files.a is 1", id="files"),
        pytest.param(changed(engine={"backend": "x"}), "engine lacks compute_cap", id="engine"),
        pytest.param(changed(inputs=[]), "inputs is .*at least one", id="no input"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [0]}]), "positive integers", id="axis"),
        pytest.param(changed(inputs=[TENSOR | {"shape": [1.0]}]), "positive", id="float axis"),
        pytest.param(changed(outputs=[{"name": "x"}]), "lacks dtype, shape", id="output"),
        pytest.param(changed(preprocess={"size": -1}), "preprocess.size is -1", id="preprocess"),
        pytest.param(
            changed(golden={"min_cosine": 2, "probes": 1}), "min_cosine is 2, expected", id="cosine"
        ),
        pytest.param(changed(precision_map=[]), "precision_map is .*an object", id="map"),
        pytest.param("[]", "manifest is .*expected an object", id="a list"),
        pytest.param(CLASSIFIER.to_json()[:200], "not JSON .*build", id="truncated"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        pytest.param('{"schema": NaN}', "NaN is not a JSON number", id="NaN"),
        pytest.param("", "not JSON", id="empty"),
    ],
)
def test_refusals_are_one_line(text: str, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Manifest.from_json(text)
    assert "\n" not in str(caught.value)


def test_not_a_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        dataclasses.replace(CLASSIFIER, latency={"ms": float("nan")}).to_json()
