"""Evaluation of runs: the numbers, what is stored, and labels matched by name."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from emotailor.comparison.published import published_numbers
from emotailor.data.extraction import Extraction
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation import regression
from emotailor.evaluation.calibration import calibration
from emotailor.evaluation.custom import CustomMetric
from emotailor.evaluation.metrics import evaluate
from emotailor.files import write_json
from emotailor.runs import stored as module
from emotailor.runs.data import trained_on
from emotailor.runs.evaluate import (
    RunEvaluation,
    evaluate_run,
    find_runs,
    render_evaluations,
    why_not_resampled,
)
from emotailor.runs.predict import predict
from emotailor.runs.stored import read_evaluation
from emotailor.training.model_folder import read_model_card
from tests.evaluation.fake_pandas import with_fake_pandas
from tests.helpers import DIMS, LABELS, random_samples
from tests.own.my_metric import mean_probability
from tests.runs.runs import train_tiny


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "ä run"))


def relabelled(data: Path, path: Path, names: tuple[str, ...], columns: list[int]) -> Path:
    """A copy of the data set whose label columns are ``columns`` of the old, named ``names``."""
    old = open_dataset(data)
    splits = {}
    for split, part in old.splits.items():
        splits[split] = [
            Sample(s.id, s.sequences, part.labels[i, columns]) for i, s in enumerate(part)
        ]
    write_dataset(path, splits, name="copy", label_names=names, dims=DIMS, aligned=True)
    return path


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_metrics_are_those_of_the_stored_predictions(data: Path, run: Path) -> None:
    result = evaluate_run(run, resamples=50)
    part = open_dataset(data)["test"]
    np.testing.assert_array_equal(result.labels, part.labels)
    assert result.mode == "tuned"
    assert [path.name for path in result.stored] == ["evaluation-test.json", "predictions-test.csv"]
    with (run / "predictions-test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(part.ids)
    truth = np.array([[int(row[f"true:{n}"]) for n in LABELS] for row in rows], np.uint8)
    scores = np.array([[float(row[f"p:{n}"]) for n in LABELS] for row in rows])
    decided = np.array([[int(row[n]) for n in LABELS] for row in rows])
    np.testing.assert_array_equal(truth, part.labels)
    np.testing.assert_allclose(scores, result.probabilities, atol=1e-6)
    card = json.loads((run / "model" / "model.json").read_text())
    threshold = [card["thresholds"]["tuned"]["values"][n] for n in LABELS]
    np.testing.assert_array_equal(decided, result.probabilities > np.array(threshold))
    again = evaluate(truth, result.probabilities, LABELS, np.array(threshold))
    assert again == result.metrics
    stored = json.loads((run / "evaluation-test.json").read_text())
    assert stored["metrics"]["tuned"]["micro_f1"] == result.metrics.micro_f1
    assert set(stored["metrics"]) == {"fixed", "tuned", "per_label", "macro", "share"}
    low, high = (stored["intervals"]["micro_f1"][k] for k in ("low", "high"))
    assert low <= result.metrics.micro_f1 <= high
    assert stored["data"]["fingerprint"] == open_dataset(data).card.fingerprint


def test_calibration_is_stored_and_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = evaluate_run(run, resamples=0)
    expected = calibration(result.labels, result.probabilities, LABELS)
    assert result.calibration == expected
    stored = read_evaluation(run, "test")
    assert stored is not None
    assert stored.calibration == expected
    assert "calibration error" in shown(render_evaluations([result]), width=200)

    with_fake_pandas(monkeypatch)
    frame = result.calibration.to_dataframe()
    assert [row["count"] for row in frame.rows] == [b.count for b in expected.bins]

    # files of earlier versions do not have it
    file = run / "evaluation-test.json"
    values = json.loads(file.read_text())
    del values["calibration"]
    write_json(file, values)
    older = read_evaluation(run, "test")
    assert older is not None
    assert older.calibration is None


def test_thresholds_are_chosen_by_name(run: Path) -> None:
    fixed = evaluate_run(run, thresholds="fixed", resamples=0, store=False)
    assert fixed.metrics == fixed.by_mode["fixed"]
    assert fixed.intervals == {}
    assert fixed.stored == ()
    assert not list(run.glob("evaluation*"))
    decided = fixed.probabilities > 0.35
    assert fixed.metrics.micro_recall == pytest.approx(
        (decided & (fixed.labels == 1)).sum() / fixed.labels.sum()
    )


@pytest.mark.parametrize(
    ("count", "what"), [(5, "5 samples of one video"), (1, "one sample")], ids=["video", "sample"]
)
def test_a_single_video_has_no_intervals(run: Path, tmp_path: Path, count: int, what: str) -> None:
    samples = [
        Sample(f"v[{i}]", s.sequences, s.labels) for i, s in enumerate(random_samples(count))
    ]
    options: dict[str, Any] = {"name": "one", "label_names": LABELS, "dims": DIMS, "aligned": True}
    write_dataset(tmp_path / "one", {"test": samples}, **options)
    result = evaluate_run(run, data=tmp_path / "one", resamples=20)
    assert result.intervals == {}
    why = f"no intervals: the split has {what}, so all resamples of videos are alike"
    assert result.notes[0] == why
    assert why_not_resampled(["a", "b"]) is None
    stored = json.loads((run / "evaluation-test.json").read_text())
    assert (stored["intervals"], stored["notes"]) == ({}, result.notes)
    text = shown(render_evaluations([result]), 120)
    assert f"note: {why}" in text
    assert "95 %" not in text
    unasked = evaluate_run(run, data=tmp_path / "one", resamples=0, store=False)
    assert len(unasked.notes) == 1


def test_labels_in_another_order_are_matched_by_name(data: Path, run: Path, tmp_path: Path) -> None:
    names = ("angry", "happy", "sad")
    other = relabelled(data, tmp_path / "other", names, [LABELS.index(n) for n in names])
    here = evaluate_run(run, resamples=0)
    there = evaluate_run(run, data=other, resamples=0)
    np.testing.assert_array_equal(here.labels, there.labels)
    np.testing.assert_array_equal(here.probabilities, there.probabilities)
    assert here.metrics == there.metrics
    assert there.notes == [f"{other} is not the data set the model was trained on"]
    assert here.notes == []


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (("happy", "sad", "bored"), [0, 1, 2]),
        (("happy", "sad"), [0, 1]),
        (("happy", "sad", "angry", "bored"), [0, 1, 2, 2]),
    ],
)
def test_other_labels_are_refused_by_name(
    data: Path, run: Path, tmp_path: Path, names: tuple[str, ...], columns: list[int]
) -> None:
    other = relabelled(data, tmp_path / "other", names, columns)
    expected = rf"labels {', '.join(names)}\n.*those of the model: happy, sad, angry"
    with pytest.raises(DataError, match=expected):
        evaluate_run(run, data=other)
    assert not list(run.glob("evaluation*"))


def test_other_features_are_refused(run: Path, tmp_path: Path) -> None:
    wide = [
        Sample(s.id, {m: np.repeat(x, 2, axis=1) for m, x in s.sequences.items()}, s.labels)
        for s in random_samples(3)
    ]
    dims = {m: 2 * d for m, d in DIMS.items()}
    options: dict[str, Any] = {"name": "x", "label_names": LABELS}
    write_dataset(tmp_path / "w", {"test": wide}, **options, dims=dims, aligned=True)
    with pytest.raises(ModelError, match=r"visual of width 10[\s\S]*visual of width 5"):
        evaluate_run(run, data=tmp_path / "w")
    unaligned = [
        Sample(
            s.id,
            {m: x[: max(1, len(x) - k)] for k, (m, x) in enumerate(s.sequences.items())},
            s.labels,
        )
        for s in random_samples(3)
    ]
    write_dataset(tmp_path / "u", {"test": unaligned}, **options, dims=DIMS, aligned=False)
    with pytest.raises(ModelError, match="not aligned"):
        evaluate_run(run, data=tmp_path / "u")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "tst"}, DataError, r"no split 'tst'[\s\S]*train, valid, test"),
        ({"data": "/nowhere"}, DataError, "no data set at /nowhere"),
        ({"device": "toaster"}, ConfigError, "toaster"),
    ],
)
def test_wrong_options(
    run: Path, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate_run(run, **options)  # type: ignore[arg-type]


def test_metrics_of_others_are_stored_and_shown(run: Path) -> None:
    metrics: list[Any] = ["tests.own.my_metric:wrong_share", mean_probability]
    result = evaluate_run(run, resamples=20, metrics=metrics)
    for found in result.by_mode.values():
        assert found.extra["wrong_share"] == pytest.approx(found.hamming_loss)
        assert found.extra["mean_probability"] == pytest.approx(result.probabilities.mean())
    interval = result.intervals["wrong_share"]
    assert interval.value == result.metrics.extra["wrong_share"]
    assert interval.low <= interval.value <= interval.high
    stored = read_evaluation(run, "test")
    assert stored is not None
    assert stored.metrics == result.by_mode
    assert stored.intervals == result.intervals
    text = shown(render_evaluations([result]), 120)
    assert f"[{interval.low:.3f}, {interval.high:.3f}]" in text
    assert text.count("wrong_share") == 2  # of all labels, and by kind of threshold
    assert "mean_probability" in shown(render_evaluations([result, with_path(result, "b")]), 120)
    assert result.notes == []


def test_a_metric_without_interval_is_noted(run: Path) -> None:
    def all_seven(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
        return 1.0 if len(np.unique(probabilities[:, 0])) == 7 else float("nan")

    result = evaluate_run(run, resamples=20, metrics=[all_seven], store=False)
    assert result.metrics.extra == {"all_seven": 1.0}
    assert "micro_f1" in result.intervals
    assert "all_seven" not in result.intervals
    (note,) = result.notes
    assert "all_seven" in note


def test_a_wrong_metric_is_refused_before_anything_is_stored(run: Path) -> None:
    for metric, named in (("tests.own.my_metric:nothing", "nothing"), ("kappa", "kappa")):
        with pytest.raises(ConfigError, match=named):
            evaluate_run(run, resamples=0, metrics=[metric])
    with pytest.raises(ConfigError, match="'always_nan'"):
        evaluate_run(run, metrics=[CustomMetric("always_nan", lambda *_: float("nan"))])
    assert not list(run.glob("evaluation*"))


def test_an_evaluation_in_a_notebook(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = with_path(evaluate_run(run, resamples=20, store=False), "<b>run")
    interval = result.intervals["micro_f1"]
    assert f"micro-F1 {interval.value:.3f} [{interval.low:.3f}" in repr(result)
    assert "split test, 7 samples, thresholds tuned" in repr(result)
    assert len(repr(result)) < 200
    html = result._repr_html_()
    assert "&lt;b&gt;run" in html
    assert "<b>" not in html
    assert f"{interval}" in html
    with_fake_pandas(monkeypatch)
    frame = result.to_dataframe()
    assert frame.index == "metric"
    rows = {row["metric"]: row for row in frame.rows}
    assert list(rows) == list(result.metrics.overall())
    assert rows["micro_f1"] == {
        "metric": "micro_f1", "value": interval.value, "low": interval.low, "high": interval.high,
    }  # fmt: skip
    assert rows["label_ranking_average_precision"]["low"] is None


def test_what_was_seen_in_training_is_noted(run: Path) -> None:
    assert evaluate_run(run, split="train", resamples=0, store=False).notes == [
        "these samples were trained on"
    ]
    assert evaluate_run(run, split="valid", resamples=0, store=False).notes == [
        "epoch and thresholds were chosen on these samples"
    ]
    state = run / "checkpoint" / "state.json"
    progress = json.loads(state.read_text())
    first = progress["progress"]["history"][:1]
    progress["progress"] |= {"finished": False, "epoch": 1, "history": first, "best": first[0]}
    write_json(state, progress)
    assert evaluate_run(run, resamples=0, store=False).notes == [
        f"the training of {run} is not finished: 1 epochs are done"
    ]
    state.write_text("{")
    copied = evaluate_run(run, resamples=0, store=False)
    assert len(copied.notes) == 1
    assert copied.notes[0].endswith("; its copy is used")

    state.with_name("before.json").write_text("{")
    damaged = evaluate_run(run, resamples=0, store=False)
    assert damaged.notes == [f"the checkpoint of {run} is damaged"]


def test_a_read_only_model_can_still_be_evaluated(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(module, "write_together", forbidden)
    result = evaluate_run(run, resamples=0)
    assert result.notes == [f"nothing is stored in {run}: Permission denied"]
    assert result.stored == ()
    assert f"note: nothing is stored in {run}" in shown(render_evaluations([result]), 200)


def test_a_model_folder_alone_needs_to_be_told_the_data(data: Path, run: Path) -> None:
    with pytest.raises(DataError, match=r"does not say which data[\s\S]*--data"):
        evaluate_run(run / "model", resamples=0)
    result = evaluate_run(run / "model", data=data, resamples=0)
    assert result.metrics == evaluate_run(run, resamples=0).metrics


def test_data_that_went_away_are_named(data: Path, run: Path) -> None:
    assert trained_on(run) == data
    config = json.loads((run / "config.json").read_text())
    config["config"]["data"]["path"] = "gone/data"
    write_json(run / "config.json", config)
    with pytest.raises(DataError, match=r"gone/data, on which .* is not there[\s\S]*--data"):
        trained_on(run)
    (run / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json"):
        trained_on(run)
    (run / "config.json").unlink()
    with pytest.raises(DataError, match="does not say"):
        trained_on(run)


def test_the_runs_in_a_folder(trained: Path, tmp_path: Path) -> None:
    for name in ("seed10", "seed9", "notes"):
        (tmp_path / name).mkdir()
    for name in ("seed10", "seed9"):
        shutil.copytree(trained / "model", tmp_path / name / "model")
    assert [path.name for path in find_runs(tmp_path)] == ["seed9", "seed10"]
    assert find_runs(tmp_path / "seed9") == [tmp_path / "seed9"]
    (tmp_path / "seed11").mkdir()
    (tmp_path / "seed11" / "config.json").write_text("{}")
    with pytest.warns(UserWarning, match="seed11 in .*: no trained model yet, left out"):
        assert [path.name for path in find_runs(tmp_path)] == ["seed9", "seed10"]
    for nothing in (tmp_path / "notes", tmp_path / "absent"):
        with pytest.raises(ModelError, match="no trained model"):
            find_runs(nothing)


# ---------------------------------------------------------------------- what is shown


def with_path(result: RunEvaluation, path: str) -> RunEvaluation:
    return replace(result, run=Path(path))


def test_one_evaluation_as_tables(run: Path) -> None:
    result = evaluate_run(run, resamples=20)
    text = shown(render_evaluations([result], published=published_numbers("aligned")))
    assert " ".join(text.split()).startswith(f"{run}: split test, thresholds tuned")
    assert f"{result.metrics.micro_f1:.3f}" in text
    assert "0.569" in text  # the paper's
    assert max(map(len, text.splitlines())) <= 80


def test_a_table_of_thresholds_and_the_mark_of_a_weak_model_are_explained(run: Path) -> None:
    result = evaluate_run(run, resamples=20, store=False)
    assert any(finding.kind == "below a baseline" for finding in result.findings)
    lines = shown(render_evaluations([result])).splitlines()
    (title,) = [i for i, line in enumerate(lines) if line.startswith("By how thresholds were")]
    assert "thresholds" in lines[title + 2]
    assert lines[title + 4].split()[0].strip("│") == "fixed"
    noted = [line for line in lines if line.startswith("† ")]
    assert len(noted) == 1
    well = replace(result, findings=[])
    assert "†" not in shown(render_evaluations([well]))


@pytest.mark.parametrize("damage", ["{", "", '{"version": 1}', "[]"])
def test_baselines_kept_in_a_damaged_file_are_made_anew(
    run: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = evaluate_run(run, resamples=0)
    file = run / "baselines-test.json"
    kept = file.read_text()
    monkeypatch.setattr(regression, "_remembered", {})
    file.write_text(damage)
    again = evaluate_run(run, resamples=0)
    assert {name: found.metrics for name, found in again.baselines.items()} == {
        name: found.metrics for name, found in right.baselines.items()
    }
    assert file.read_text() == kept


def test_several_evaluations_as_mean_and_deviation(run: Path) -> None:
    result = evaluate_run(run, resamples=0, store=False)
    low, high = result.metrics, result.metrics.model_copy(update={"accuracy": 1.0})
    results = [
        RunEvaluation(**{**vars(result), "run": Path(f"seed{i}"), "metrics": m})
        for i, m in enumerate((low, high))
    ]
    text = shown(render_evaluations(results))
    mean, std = (low.accuracy + 1) / 2, (1 - low.accuracy) / np.sqrt(2)
    assert f"{mean:.3f}±{std:.3f}" in text
    assert "seed0" in text
    assert "seed1" in text
    assert "…" not in text


def test_runs_of_the_same_name_are_told_apart(run: Path) -> None:
    result = evaluate_run(run, resamples=0, store=False)
    text = shown(render_evaluations([with_path(result, "a/run"), with_path(result, "b/run")]))
    assert "a/run" in text
    assert "b/run" in text


def test_paths_are_no_markup(run: Path) -> None:
    result = with_path(evaluate_run(run, resamples=0, store=False), "runs/[red]x")
    assert "[red]x" in shown(render_evaluations([result]))
    assert "[red]x" in shown(render_evaluations([result, with_path(result, "b/run")]))


def partly_labelled(data: Path, path: Path, extractor: str | None = None) -> Path:
    """A copy of the data set in which every third sample has no labels."""
    old = open_dataset(data)
    splits = {}
    for name, part in old.splits.items():
        samples = list(part)
        splits[name] = [
            replace(sample, labels=None) if i % 3 == 0 else sample
            for i, sample in enumerate(samples)
        ]
    extraction: dict[Modality, Extraction] = {}
    if extractor is not None:
        extraction = {"text": Extraction(extractor=extractor)}
    write_dataset(
        path,
        splits,
        name="copy",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
        extraction=extraction,
    )
    return path


def test_samples_without_labels_are_left_out_and_counted(
    data: Path, run: Path, tmp_path: Path
) -> None:
    path = partly_labelled(data, tmp_path / "partly")
    whole = evaluate_run(run, data=data, resamples=0, store=False)
    found = evaluate_run(run, data=path, resamples=9, store=False)
    assert "3 of 7 samples have no labels and are left out" in found.notes
    assert found.ids == tuple(whole.ids[i] for i in (1, 2, 4, 5))
    np.testing.assert_array_equal(found.labels, whole.labels[[1, 2, 4, 5]])
    np.testing.assert_allclose(found.probabilities, whole.probabilities[[1, 2, 4, 5]], atol=1e-6)


def test_training_leaves_out_samples_without_labels(data: Path, tmp_path: Path) -> None:
    path = partly_labelled(data, tmp_path / "partly", "bert")
    folder = train_tiny(path, tmp_path / "run")
    card = read_model_card(folder / "model")
    assert card.extraction == {"text": Extraction(extractor="bert")}

    # the same features are taken, others are not, and where nothing is said nothing is refused
    evaluate_run(folder, resamples=0, store=False)
    evaluate_run(folder, data=data, resamples=0, store=False)
    other = partly_labelled(data, tmp_path / "other", "glove")
    with pytest.raises(ModelError, match="text of copy was extracted with glove"):
        evaluate_run(folder, data=other, resamples=0, store=False)
    with pytest.raises(ModelError, match="text of copy was extracted with glove"):
        predict(folder, other)


def test_a_split_without_labels_can_be_predicted_alone(
    data: Path, run: Path, tmp_path: Path
) -> None:
    samples = [replace(sample, labels=None) for sample in open_dataset(data)["test"]]
    path = tmp_path / "without"
    write_dataset(path, {"test": samples}, name="x", label_names=(), dims=DIMS, aligned=True)
    assert len(predict(run, path)) == 7
    with pytest.raises(DataError, match="no sample of split 'test' has labels"):
        evaluate_run(run, data=path, store=False)
