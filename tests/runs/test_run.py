"""A run as one object: what it knows, what is stored of it, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.files import write_json
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import Run
from tests.helpers import LABELS
from tests.runs.runs import TRAINING, tiny_config, train_tiny


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = train_tiny(data, tmp_path_factory.mktemp("run") / "run")
    evaluate_run(path, device="cpu", resamples=5)
    return path


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "a <b> run"))


def test_a_run_knows_how_it_was_trained(data: Path, folder: Path) -> None:
    run = Run.open(folder)
    assert (run.folder, run.system, run.title) == (folder, "tailor", "TAILOR")
    assert run.config == tiny_config(data)
    assert run.seed == TRAINING["seed"]
    assert run.finished
    assert [record.epoch for record in run.history] == [1, 2]
    assert run.model.label_names == run.label_names == LABELS
    assert (run.data_path, run.data_name) == (data, "small")
    assert run.dataset().card.fingerprint == open_dataset(data).card.fingerprint


def test_the_model_is_loaded_once(data: Path, folder: Path) -> None:
    run = Run.open(folder)
    predictor = run.predictor(device="cpu")
    assert run.predictor(device="cpu") is predictor
    assert run.predictor(device="cpu", thresholds="fixed").mode == "fixed"
    assert predictor.mode == "tuned"
    assert predictor.predict_proba(open_dataset(data)["test"]).shape == (7, 3)


def test_a_bare_model_folder_is_a_run(data: Path, folder: Path) -> None:
    run = Run.open(folder / "model")
    assert (run.config, run.seed, run.history) == (None, None, [])
    assert run.finished
    assert run.evaluation() is None
    assert run.predictions() is None
    with pytest.raises(DataError, match="does not say"):
        run.dataset()
    assert run.dataset(data).card.name == "small"
    assert run.evaluate(data=data, device="cpu", resamples=0, store=False).split == "test"


def test_stored_results_are_those_of_the_evaluation(data: Path, folder: Path) -> None:
    run = Run.open(folder)
    evaluation, predictions = run.evaluation(), run.predictions()
    assert evaluation is not None
    assert predictions is not None
    again = run.evaluate(device="cpu", resamples=5, store=False)
    assert evaluation.metrics == again.by_mode
    assert evaluation.intervals == again.intervals
    np.testing.assert_allclose(predictions.probabilities, again.probabilities, atol=1e-6)
    assert run.evaluation("valid") is None
    assert run.predictions("valid") is None
    found = run.stored_results(dataset=open_dataset(data), device="cpu")
    assert found is not None
    assert found[0] == evaluation
    assert run.stored_results() is not None


def test_findings_are_those_of_the_test_split_or_else_of_validation(folder: Path) -> None:
    stored = Run.open(folder).evaluation("test")
    assert stored is not None
    assert stored.findings
    assert Run.open(folder).findings == list(stored.findings)

    (folder / "evaluation-test.json").unlink()
    made = evaluate_run(folder, split="valid", device="cpu", resamples=0, store=False)
    assert Run.open(folder).findings == [str(finding) for finding in made.findings]
    assert not (folder / "evaluation-valid.json").exists()


@pytest.mark.parametrize(
    "change", ["data", "thresholds", "metrics", "ids", "other", "damaged", "no predictions"]
)
def test_results_of_something_else_are_not_taken(data: Path, folder: Path, change: str) -> None:
    summary, table = folder / "evaluation-test.json", folder / "predictions-test.csv"
    values = json.loads(summary.read_text())
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    if change == "data":
        values["data"]["fingerprint"] = "0" * 16
    elif change == "thresholds":
        values["metrics"]["tuned"]["labels"]["sad"]["threshold"] = 0.123
    elif change == "metrics":
        values["metrics"]["tuned"]["micro_f1"] += 0.1
    elif change == "ids":
        rows[0][0] = "another"
    elif change == "other":  # another model, whose metrics and thresholds are the same
        for row in rows:
            row[4:7] = [f"{float(p) * 0.999 + 0.0005:.6f}" for p in row[4:7]]
    write_json(summary, values)
    if change == "damaged":
        summary.write_text("{")
    table.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))
    if change == "no predictions":
        table.unlink()
    run = Run.open(folder)
    assert run.stored_results(dataset=open_dataset(data), device="cpu") is None
    if change == "thresholds":
        assert run.evaluation() is None
    if change == "damaged":
        with pytest.raises(DataError, match=r"evaluation-test\.json"):
            run.evaluation()


def test_damaged_files_are_named_when_they_are_asked_for(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    (folder / "metrics.jsonl").write_text('{"epoch": 1\n')
    run = Run.open(folder)
    with pytest.raises(ConfigError, match=r"config\.json"):
        _ = run.config
    with pytest.raises(ModelError, match=r"metrics\.jsonl"):
        _ = run.history
    assert "config.json" in repr(run)
    (folder / "config.json").write_text('{"config": {"system": "tailor", "epochs": 3}}')
    with pytest.raises(ConfigError, match="epochs"):
        _ = Run.open(folder).config


def test_where_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained model"):
        Run.open(tmp_path)


def test_how_a_run_is_shown(folder: Path) -> None:
    run = Run.open(folder)
    assert repr(run) == f"Run({folder}, TAILOR, small, seed 5, finished)"
    html = run._repr_html_()
    assert "a &lt;b&gt; run" in html
    assert "<b>" not in html
    state = folder / "checkpoint" / "state.json"
    progress = json.loads(state.read_text())
    progress["progress"]["finished"] = False
    write_json(state, progress)
    assert not Run.open(folder).finished
    assert repr(run).endswith("not finished)")
