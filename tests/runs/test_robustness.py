"""`evaluate --without` and `--corrupt`: the same numbers as on samples damaged by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import emotailor
from emotailor.data.damage import Damage, damaged, draw_for
from emotailor.data.mishearing import heard_words, mishear
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError
from emotailor.evaluation.metrics import evaluate
from emotailor.report import run as report
from emotailor.runs import robustness
from emotailor.serving.predictor import Predictor
from tests.encoders.tiny import Lengths
from tests.helpers import DIMS, LABELS, random_samples
from tests.models.adapters.runs import make_home, settings
from tests.runs.runs import one_thread, run_cli, train_tiny


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("runs") / "run")


def test_without_a_modality_as_by_hand(run: Path, data: Path) -> None:
    found = emotailor.evaluate(run, without=["visual", "v,t", "each"], resamples=50, store=False)
    names = [row.name for row in found.robustness]
    assert names == [
        "as they are", "without visual", "without visual and text", "without audio",
        "without text",
    ]  # fmt: skip
    first = found.robustness[0]
    assert (first.micro_f1, first.difference) == (found.metrics.micro_f1, None)

    predictor = Predictor.load(run, device="cpu")
    part = open_dataset(data)["test"]
    blind = [
        replace(sample, sequences={m: x for m, x in sample.sequences.items() if m != "visual"})
        for sample in part
    ]
    seen = [predictor.can_see(sample) for sample in blind]
    assert all(seen)
    probabilities = predictor.predict_proba(blind)
    wanted = evaluate(part.labels, probabilities, predictor.label_names, predictor.thresholds)
    row = found.robustness[1]
    assert row.mean_average_precision == pytest.approx(
        wanted.overall()["mean_average_precision"], abs=1e-6
    )
    assert row.difference is not None
    assert row.micro_f1 is not None
    assert first.micro_f1 is not None
    assert row.difference.value == pytest.approx(row.micro_f1 - first.micro_f1)
    assert row.difference.low <= row.difference.value <= row.difference.high


def test_every_damage_of_every_modality(run: Path) -> None:
    found = emotailor.evaluate(run, corrupt=True, resamples=0, store=False)
    kinds = [(row.kind, row.modalities) for row in found.robustness]
    assert kinds[0] == (None, ())
    assert set(kinds[1:]) == {
        (kind, (m,)) for m in ("visual", "audio", "text") for kind in ("noise", "late", "holes")
    }
    assert all(row.difference is None for row in found.robustness)
    assert [note for note in found.notes if note.startswith("no words misheard: ")]
    scores = {row.mean_average_precision for row in found.robustness}
    assert len(scores) > 5


def test_the_command_shows_and_stores_and_the_report_tells(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # figures take most of a report's time, and show nothing of it
    monkeypatch.setattr(report, "figure_sections", lambda source: ([], []))
    done = run_cli("evaluate", run, "--without", "audio", "--corrupt", "--resamples", "20")
    assert done.code == 0
    assert "without audio" in done.out
    assert "text: 30% of words gone" in done.out
    stored = json.loads((run / "evaluation-test.json").read_text())
    assert [row["name"] for row in stored["robustness"]][:2] == ["as they are", "without audio"]
    page = emotailor.write_report(run, out=tmp_path / "page.html").file
    assert "With modalities missing or damaged" in page.read_text()


def test_what_cannot_be_taken_away(run: Path) -> None:
    with pytest.raises(ConfigError, match="nothing would be left"):
        emotailor.evaluate(run, without=["visual,audio,text"])
    done = run_cli("evaluate", run, "--without", "smell")
    assert (done.code, "Traceback" in done.err) == (3, False)
    assert "'smell'" in done.err


def test_a_model_of_one_modality_has_nothing_to_do_without(data: Path, tmp_path: Path) -> None:
    settings = {
        "data": {"path": str(data), "modalities": ["text"]},
        "training": {"epochs": 1, "device": "cpu"},
    }
    emotailor.train(settings, tmp_path / "run", model="br")
    for asked in ("each", "text", "visual"):
        done = run_cli("evaluate", tmp_path / "run", "--without", asked)
        assert done.code == 3
        assert "takes text" in done.err
    found = emotailor.evaluate(tmp_path / "run", corrupt=True, resamples=0, store=False)
    assert [row.kind for row in found.robustness] == [None, "noise", "holes"]


def test_several_runs_stand_in_one_table(run: Path, data: Path, tmp_path: Path) -> None:
    other = train_tiny(data, tmp_path / "other", seed=6)
    done = run_cli("evaluate", run, other, "--without", "each", "--resamples", "0")
    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.strip().startswith("without audio")]
    each = [
        emotailor.evaluate(one, without=["audio"], resamples=0, store=False).robustness[1].micro_f1
        for one in (run, other)
    ]
    cells = line.split()
    assert [float(cell) for cell in cells[-2:]] == pytest.approx(each, abs=6e-4)


def test_a_sample_of_which_nothing_is_left_is_scored_without_evidence(
    run: Path, tmp_path: Path
) -> None:
    samples = random_samples(7, seed=2)
    samples[3] = replace(samples[3], sequences={"visual": samples[3].sequences["visual"]})
    write_dataset(
        tmp_path / "data", {"test": samples}, name="x", label_names=LABELS, dims=DIMS, aligned=True
    )
    dataset = open_dataset(tmp_path / "data")
    blind = damaged(dataset["test"], Damage("without", ("visual",)), aligned=True)
    assert [blind.lengths(m)[3] for m in DIMS] == [0, 0, 0]
    probabilities = Predictor.load(run, device="cpu").predict_proba(blind)
    assert np.isfinite(probabilities).all()

    found = emotailor.evaluate(
        run, data=tmp_path / "data", without=["visual"], resamples=0, store=False
    )
    assert len(found.ids) == 7
    wanted = evaluate(
        dataset["test"].labels, probabilities, LABELS, Predictor.load(run, device="cpu").thresholds
    )
    assert found.robustness[1].micro_f1 == wanted.micro_f1


def test_misheard_words_are_read_anew(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with one_thread():
        emotailor.train(settings(home), home / "run")
        found = emotailor.evaluate(home / "run", corrupt=True, resamples=0, store=False)
    assert [row.kind for row in found.robustness] == [None, "holes", "misheard"]

    # the same as texts that somebody writes
    part = open_dataset(home / "data")["test"]
    others = " ".join(part.text(i) for i in range(len(part))).split()
    texts = []
    for sample in part:
        assert sample.words is not None
        heard = mishear(sample.words, draw_for(sample, "misheard", 0), others)
        texts.append(" ".join(heard_words(heard)))
    assert texts != [part.text(i) for i in range(len(part))]

    predictor = Predictor.load(home / "run", device="cpu")
    said = emotailor.predict_texts(predictor, texts)
    probabilities = np.array([list(one.probabilities.values()) for one in said])
    wanted = evaluate(part.labels, probabilities, predictor.label_names, predictor.thresholds)
    row = found.robustness[2]
    assert row.micro_f1 == wanted.micro_f1
    assert row.mean_roc_auc == wanted.overall()["mean_roc_auc"]


def test_words_that_nobody_knows_cannot_be_misheard(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "encoder_of", lambda _: Lengths())
    found = emotailor.evaluate(run, corrupt=True, resamples=0, store=False)
    assert "misheard" not in [row.kind for row in found.robustness]
    count = len(found.ids)
    assert (
        f"no words misheard: the words of {count} of {count} samples are not known" in found.notes
    )
