"""Stored evaluations, predictions and summaries: what is written is read, the rest is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from emotailor.errors import DataError
from emotailor.evaluation.comparison import bootstrap, summarise_seeds
from emotailor.evaluation.metrics import evaluate
from emotailor.files import sha256_of, write_json
from emotailor.runs.stored import (
    VERSION,
    StoredEvaluation,
    StoredPredictions,
    StoredSummary,
    read_evaluation,
    read_predictions,
    read_summary,
    write_evaluation,
    write_predictions,
    write_results,
    write_summary,
)

NAMES = ("happy, very", 'sad "x"', "ängstlich")
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 2, (7, 3)).astype(np.uint8)
PROBABILITIES = RNG.random((7, 3)).astype(np.float32)
METRICS = evaluate(LABELS, PROBABILITIES, NAMES, 0.5)

EVALUATION = StoredEvaluation(
    version=VERSION,
    split="test",
    data={"name": "small", "fingerprint": "0123"},
    thresholds="fixed",
    metrics={"fixed": METRICS},
    intervals=bootstrap(LABELS, PROBABILITIES, 0.5, resamples=10),
    notes=["a note"],
)
PREDICTIONS = StoredPredictions(
    tuple(f"v,{i}[0]" for i in range(7)), NAMES, LABELS, PROBABILITIES, PROBABILITIES > 0.5
)


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path, "test") is None
    file = write_evaluation(tmp_path, EVALUATION)
    assert file == tmp_path / "evaluation-test.json"
    assert read_evaluation(tmp_path, "test") == EVALUATION
    assert json.loads(file.read_text())["version"] == VERSION
    assert read_evaluation(tmp_path, "valid") is None


def test_files_without_a_version_are_of_version_1(tmp_path: Path) -> None:
    file = write_evaluation(tmp_path, EVALUATION)
    values = json.loads(file.read_text())
    del values["version"]
    write_json(file, values)
    found = read_evaluation(tmp_path, "test")
    assert found == EVALUATION.model_copy(update={"version": 1})
    write_evaluation(tmp_path, found)  # written again, it is of the present version
    assert read_evaluation(tmp_path, "test") == EVALUATION


@pytest.mark.parametrize("change", ["later", "truncated", "missing", "list", "binary", "metric"])
def test_damaged_and_later_evaluations_are_named(tmp_path: Path, change: str) -> None:
    file = write_evaluation(tmp_path, EVALUATION)
    values = json.loads(file.read_text())
    where = ""
    if change == "later":
        values["version"], where = VERSION + 1, "version"
    elif change == "missing":
        del values["split"]
        where = "split"
    elif change == "metric":
        values["metrics"]["fixed"]["accuracy"], where = "x", "metrics.fixed.accuracy"
    write_json(file, values)
    spoiled = {"truncated": b"{", "list": b"[]", "binary": b"\xff\xfe"}
    if change in spoiled:
        file.write_bytes(spoiled[change])
    with pytest.raises(DataError) as caught:
        read_evaluation(tmp_path, "test")
    assert str(file) in caught.value.found
    assert where in caught.value.found
    assert (caught.value.__cause__ is None) == (change == "list")  # a list is no error of JSON


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    summary = StoredSummary(
        version=VERSION,
        split="valid",
        thresholds="tuned",
        runs=["seed1", "seed2"],
        summary=summarise_seeds([METRICS, METRICS.model_copy(update={"accuracy": 1.0})]),
    )
    assert read_summary(tmp_path, "valid") is None
    assert write_summary(tmp_path, summary) == tmp_path / "evaluation-valid.json"
    assert read_summary(tmp_path, "valid") == summary
    with pytest.raises(DataError, match="data"):  # it is no evaluation of one run
        read_evaluation(tmp_path, "valid")


def test_predictions_are_read_to_six_digits(tmp_path: Path) -> None:
    assert read_predictions(tmp_path, "test") is None
    file = write_predictions(tmp_path, "test", PREDICTIONS)
    found = read_predictions(tmp_path, "test")
    assert found is not None
    assert (found.ids, found.label_names) == (PREDICTIONS.ids, NAMES)
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.decisions, PREDICTIONS.decisions)
    np.testing.assert_allclose(found.probabilities, PROBABILITIES, atol=5.1e-7, rtol=0)
    before = file.read_bytes()
    write_predictions(tmp_path, "test", found)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("true:", "was:", "header"),
        ('\n"v', '\nw,0\n"v', "line"),
        (",0,", ",2,", "neither 0 nor 1"),
        (",0.", ",x.", "x."),
        (",0.", ",7.", "not in"),
        (",0.", ",-0.", "not in"),
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    file = write_predictions(tmp_path, "test", PREDICTIONS)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=why) as caught:
        read_predictions(tmp_path, "test")
    assert str(file) in caught.value.found


@pytest.mark.parametrize("content", [b"", b"id,true:a,p:a,a\n", b"\xff\xfe\xff"])
def test_a_table_without_samples_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "predictions-test.csv").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_predictions(tmp_path, "test")


def test_flipped_bytes_of_an_evaluation_and_its_predictions_are_found(tmp_path: Path) -> None:
    files = write_results(tmp_path, EVALUATION, PREDICTIONS)
    before = read_evaluation(tmp_path, "test")
    table = read_predictions(tmp_path, "test")
    assert before is not None
    assert table is not None
    assert before.predictions == sha256_of(files[1])

    for file, step in zip(files, (37, 5), strict=True):
        content = file.read_bytes()
        for at in range(0, len(content), step):
            spoiled = bytearray(content)
            spoiled[at] ^= 1 << (at % 7)
            file.write_bytes(spoiled)
            try:
                assert read_evaluation(tmp_path, "test") == before
                found = read_predictions(tmp_path, "test")
            except DataError as error:
                assert str(file) in error.found
            else:
                assert found is not None
                assert file == files[0]  # white space of the JSON file
                np.testing.assert_array_equal(found.probabilities, table.probabilities)
        file.write_bytes(content)
