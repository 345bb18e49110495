"""A benchmark on data with words, kept epochs and all: tables, file and page; who is left out."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import emotailor
from emotailor.comparison.benchmark import plan_benchmark
from emotailor.comparison.floor import modalities_of
from emotailor.comparison.plan import Plan, describe_skipped
from emotailor.comparison.published import CLAIMS, ELSEWHERE
from emotailor.comparison.results import StoredBenchmark, read_benchmark
from emotailor.comparison.runner import PlanResult, run_plan
from emotailor.data.sample import Modality
from emotailor.data.store import write_dataset
from emotailor.evaluation.baselines import BLIND, NAMES, WORD_NAMES
from emotailor.evaluation.calibration import calibration
from emotailor.models.table import SYSTEMS
from emotailor.report import run as page_of_run
from emotailor.report.page import Table
from emotailor.runs.stored import read_evaluation, read_predictions
from tests.evaluation.test_words import OF_WORDS, spoken_data
from tests.helpers import DIMS
from tests.report.test_write import parsed
from tests.runs.runs import MODEL, one_thread

SETTINGS = [
    "training.device=cpu",
    "tailor:training.epochs=2",
    "tailor:training.learning_rate=0.003",
    *(f"tailor:model.{key}={json.dumps(value)}" for key, value in MODEL.items()),
]
MODALITIES: dict[str, list[Modality]] = {
    "t": ["text"],
    "va": ["visual", "audio"],
    "vt": ["visual", "text"],
    "vat": ["visual", "audio", "text"],
}


def store(folder: Path, modalities: list[Modality]) -> Path:
    """Store the data with words, with some of their modalities."""
    dataset = spoken_data()
    splits = {}
    for split in dataset:
        samples = []
        for sample in dataset[split]:
            sequences = {m: sample.sequences[m] for m in modalities}
            words = sample.words if "text" in modalities else None
            samples.append(replace(sample, sequences=sequences, words=words))
        splits[split] = samples

    dims = {m: DIMS[m] for m in modalities}
    write_dataset(
        folder, splits, name="spoken", label_names=dataset.label_names, dims=dims, aligned=True
    )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("data")
    return {name: store(home / name, chosen) for name, chosen in MODALITIES.items()}


@dataclass(frozen=True)
class Done:
    """A benchmark that has ended."""

    out: Path
    result: PlanResult
    stored: StoredBenchmark


@pytest.fixture(scope="module")
def done(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    out = tmp_path_factory.mktemp("bench") / "out"

    def plan() -> Plan:
        return plan_benchmark(
            folders["vat"],
            out,
            models=["br", "tailor"],
            seeds=2,
            settings=SETTINGS,
            preset="paper",
            protocols=True,
        )

    with one_thread():
        for run in plan().runs.values():
            emotailor.train(run.config, run.folder, progress=False)
        (out / "benchmark.json").write_text('{"format": "emotailor-benchmark"}')

        # a second plan finds that nothing is left to train
        result = run_plan(plan(), Console(quiet=True), resamples=50)
    yield Done(out, result, read_benchmark(out / "benchmark.json"))


def test_baselines_on_words_are_rows(done: Done) -> None:
    names = [row.name for row in done.result.results.baselines]
    assert names == [*NAMES, *OF_WORDS]
    assert set(done.stored.baselines) == set(names)
    assert done.stored.baselines["TF-IDF"].strength is not None
    rows = {line.split(" | ")[0] for line in (done.out / "table.md").read_text().splitlines()}
    assert {f"| {name}" for name in OF_WORDS} <= rows


def test_calibration_of_every_run_and_baseline(done: Done) -> None:
    errors = []
    for run in done.stored.systems["tailor"].runs:
        predictions = read_predictions(done.out / "tailor" / f"seed{run.seed}", "test")
        assert predictions is not None and run.calibration is not None
        again = calibration(predictions.labels, predictions.probabilities, predictions.label_names)
        error = run.calibration.expected_calibration_error
        assert error == pytest.approx(again.expected_calibration_error, abs=1e-4)
        errors.append(error)

    # the table has the mean over the runs
    with (done.out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert float(rows["tailor"]["calibration_error_mean"]) == pytest.approx(np.mean(errors))
    assert rows["all labels"]["calibration_error_mean"] == ""
    of_frequencies = done.stored.baselines["label frequencies"].calibration
    assert of_frequencies is not None
    assert done.stored.baselines["all labels"].calibration is None
    error = of_frequencies.expected_calibration_error
    assert float(rows["label frequencies"]["calibration_error_mean"]) == pytest.approx(error)


def test_labels_have_average_precision_and_auc(done: Done) -> None:
    with (done.out / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    summary = done.stored.systems["br"].summary
    assert summary is not None
    for name, metrics in summary.labels.items():
        for metric in ("average_precision", "roc_auc"):
            assert float(rows["br"][f"{metric}: {name}"]) == pytest.approx(metrics[metric].mean)
    union = done.stored.baselines["linear union"].metrics.labels["sad"].roc_auc
    assert float(rows["linear union"]["roc_auc: sad"]) == pytest.approx(union)


def test_what_the_authors_would_have_reported(done: Done) -> None:
    tailor = done.stored.systems["tailor"]
    assert tailor.rule == "e"
    kept = [run.protocols for run in tailor.runs]
    found = [one.rules["e"].micro_f1 for one in kept if one is not None]
    assert len(found) == 2

    row = next(one for one in done.result.results.rows if one.name == "tailor")
    assert row.by_rule is not None
    assert row.by_rule.mean == pytest.approx(np.mean(found))
    header = (done.out / "table.md").read_text().splitlines()[2]
    assert header.endswith("| micro-F1, authors' rule |")
    for run in tailor.runs:
        assert run.protocols is not None
        assert run.protocols.rules["a"].micro_f1 == run.metrics["tuned"].micro_f1


def test_the_page_has_all_of_it(done: Done) -> None:
    page = parsed(emotailor.write_report(done.out).file)
    _, *rules = page.tables["micro-F1 by rule; that of the system's authors is bold"]
    assert [row[0] for row in rules] == ["BR", "TAILOR"]
    assert [len(row) for row in rules] == [7, 7]

    labels = page.tables["AUC of each label"]
    assert [row[0] for row in labels[1:]] == ["BR", "TAILOR", *NAMES, *OF_WORDS]
    assert len(page.tables["Average precision of each label"]) == len(labels)
    errors = page.tables["Mean over the runs; less is better"]
    assert [row[0] for row in errors[1:]] == ["BR", "TAILOR", *NAMES[1:], *OF_WORDS]

    # a curve counts the decisions of both runs: 29 samples, three labels
    curve = page.tables["TAILOR"]
    assert sum(int(row[1].replace(",", "")) for row in curve[1:]) == 2 * 29 * 3


def test_the_sections_of_a_run(done: Done) -> None:
    """Those of its page; drawing all figures of the page would take a minute."""
    run = done.out / "tailor" / "seed42"
    emotailor.evaluate(run, protocols=True, resamples=20)
    evaluation = read_evaluation(run, "test")
    assert evaluation is not None
    (rules,) = page_of_run._rules(evaluation)
    table = rules.blocks[0]
    assert isinstance(table, Table)
    assert [str(row[0])[:2] for row in table.rows] == [f"{letter}:" for letter in "abcdef"]

    (beside,) = page_of_run._baselines(evaluation)
    assert isinstance(beside, Table)
    assert [row[0] for row in beside.rows] == ["this model", *NAMES, *OF_WORDS]
    assert beside.rows[0][2] == f"{evaluation.metrics['tuned'].micro_f1:.3f}"


@pytest.mark.parametrize(
    ("data", "chosen", "trained", "left_out"),
    [
        ("t", None, {"sgm": "text", "tailor": "text", "br": "text"}, {"ml_gcn", "mult", "raven"}),
        ("va", None, {"ml_gcn": "visual", "mult": "visual,audio"}, {"sgm", "lsan", "raven"}),
        ("vt", None, {"ml_gcn": "visual", "sgm": "text", "raven": "visual,text"}, set()),
        ("vat", ["v", "t"], {"ml_gcn": "visual", "sgm": "text", "mult": "visual,text"}, set()),
        ("vat", ["a"], {"br": "audio", "tailor": "audio"}, {"sgm", "ml_gcn", "mult"}),
    ],
)
def test_every_system_that_can_take_the_modalities_does(
    data: str,
    chosen: list[str] | None,
    trained: dict[str, str],
    *,
    left_out: set[str],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    plan = plan_benchmark(folders[data], tmp_path / "o", seeds=1, modalities=chosen)
    taken = {}
    without = set()
    for system in plan.systems:
        if system.skipped:
            without.add(system.row.name)
            continue
        wanted = system.runs[0].config.data.modalities
        taken[system.row.name] = ",".join(system.row.choose(plan.dataset.dims, wanted))
    assert trained.items() <= taken.items()
    assert left_out <= without
    assert taken.keys() | without == SYSTEMS.keys()

    line = describe_skipped(plan)
    assert bool(line) == bool(without)
    for name in without:
        assert name in line
    initials = {"v": "visual", "a": "audio", "t": "text"}
    seen = [initials[letter] for letter in (chosen or data)]
    assert modalities_of(plan) == seen


def test_numbers_from_elsewhere_carry_their_rule() -> None:
    assert all(claim.rule for claim in CLAIMS)
    by_value = {claim.micro_f1: claim for claim in CLAIMS}
    assert by_value[".587"].rule.startswith("rule d")
    assert {".572", ".605", ".565 to .568", ".563 ± .012"} <= set(by_value)
    assert all(value in ELSEWHERE for value in by_value)


def test_which_baselines_are_blind() -> None:
    assert BLIND == ("all labels", "label frequencies")
    assert not set(BLIND) & set(WORD_NAMES)
