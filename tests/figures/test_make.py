"""Figures: the numbers behind them by hand, files that are whole and the same, reasons to skip."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.figures import draw_scores, drawing
from emotailor.figures.make import FIGURES, FigureReport, make_figures
from emotailor.figures.numbers import (
    RunView,
    SkipFigure,
    attention_numbers,
    loss_numbers,
    summary_of_losses,
)
from emotailor.figures.planted import explanation_numbers
from emotailor.figures.scores import (
    co_occurrence_numbers,
    micro_scores,
    precision_recall_curve,
    precision_recall_numbers,
    reliability_numbers,
    threshold_numbers,
)
from emotailor.figures.store import FigureFolder, plain
from emotailor.files import write_json
from emotailor.runs.run import Run
from emotailor.training.run_config import RunConfig
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import MODEL, TRAINING, one_thread, run_cli, train_tiny

TAILOR_ONLY = {"figure5-discriminator", "figure6-tsne", "figure7-label-correlation", "attention"}
NAME = '$x$ & <läbel> "4"'  # a label nobody would choose


def trained(data: Path, run: Path, system: str = "tailor", **model: Any) -> Path:
    from emotailor.training.run import train

    settings = {"data": {"path": str(data)}, "training": TRAINING, "model": model}
    with one_thread():
        train(RunConfig.build(settings, system=system), run)
    return run


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("runs") / "with")


@pytest.fixture(scope="module")
def plain_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = {"adversarial_weight": 0.0, "orthogonality_weight": 0.0}
    return trained(data, tmp_path_factory.mktemp("runs") / "without", **{**MODEL, **weights})


def figures(run: Path, out: Path, **settings: Any) -> FigureReport:
    with one_thread():
        return make_figures(run, out=out, device="cpu", points=24, **settings)


@pytest.fixture(scope="module")
def report(run: Path, plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> FigureReport:
    return figures(run, tmp_path_factory.mktemp("figures"), against=plain_run)


def numbers(report: FigureReport, name: str) -> Any:
    return json.loads((report.folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def view(run: Path) -> RunView:
    return RunView(Run.open(run), data=None, split="test", device="cpu")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, which takes most of the time, where numbers and reasons matter."""
    monkeypatch.setattr(drawing, "render", lambda figure, file_format: file_format.encode())


# ---------------------------------------------------------------------- files


def test_everything_is_written(report: FigureReport) -> None:
    assert set(report.skipped) == {"explanations"}  # nothing was planted
    drawn = set(FIGURES) - set(report.skipped)
    wanted = {f"{name}.{kind}" for name in drawn for kind in ("svg", "png", "json")}
    wanted |= {"claims.json", "index.json"}
    assert {file.name for file in report.written} == wanted
    assert {file.name for file in report.folder.iterdir()} == wanted  # nothing temporary
    for file in report.written:
        assert file.stat().st_size > 200, file
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
    index = json.loads((report.folder / "index.json").read_text())
    assert set(index["written"]) == wanted - {"index.json"}
    assert index["against"] == "without"


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"explanations"}))
def test_text_of_a_figure_is_text_and_large_enough(report: FigureReport, name: str) -> None:
    svg = (report.folder / f"{name}.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in svg
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", svg)
    sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", svg)]
    assert texts
    assert min(sizes) >= 8

    # on a printed page the figure is as large as it is drawn, and so are its letters
    (width,) = re.findall(r'<svg [^>]*?width="([\d.]+)pt"', svg)
    assert float(width) <= 7.2 * 72
    if name in ("figure7-label-correlation", "precision-recall", "co-occurrence", "attention"):
        for label in LABELS:
            assert any(text.startswith(label) for text in texts), label


def test_the_same_run_gives_the_same_bytes(
    report: FigureReport,
    run: Path,
    plain_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, drawn = drawing.render, []

    def render(figure: Any, file_format: str) -> bytes:  # every SVG, and one PNG to save time
        drawn.append(file_format)
        skip = file_format == "png" and drawn.count("png") != 2
        return b"skipped" if skip else real(figure, file_format)

    monkeypatch.setattr(drawing, "render", render)
    again = figures(run, tmp_path / "deep" / "figures", against=plain_run)
    compared = [file for file in again.written if file.read_bytes() != b"skipped"]
    assert len(compared) == len(again.written) - 8
    for file in compared:
        if file.name != "index.json":
            assert file.read_bytes() == (report.folder / file.name).read_bytes(), file.name

    # the index has the hashes of all files, of those that were skipped too
    one = FigureFolder(report.folder).read_index()
    two = FigureFolder(again.folder).read_index()
    skipped = {file.name for file in again.written} - {file.name for file in compared}
    differ = {name for name in one.written if one.sha256[name] != two.sha256[name]}
    assert differ == skipped
    assert two.model_copy(update={"sha256": one.sha256}) == one


def test_the_users_own_style_does_not_matter(report: FigureReport) -> None:
    import matplotlib as mpl

    stored = numbers(report, "thresholds")
    with mpl.rc_context({"font.size": 4, "axes.facecolor": "red"}):
        with drawing.style():
            svg = drawing.render(draw_scores.thresholds(stored), "svg")
        assert mpl.rcParams["font.size"] == 4
    assert svg == (report.folder / "thresholds.svg").read_bytes()


# ---------------------------------------------------------------------- numbers


def test_losses_are_those_of_the_run(report: FigureReport, run: Path) -> None:
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = numbers(report, "figure4-losses")
    assert found["epochs"] == [1, 2]
    assert set(found["train"]) == set(history[0]["train"])
    for name, values in found["train"].items():
        assert values == pytest.approx([entry["train"][name] for entry in history], rel=1e-5)
    assert found["weights"]["adversarial_common"] == 0.01
    assert found["chance"]["adversarial_private"] == pytest.approx(3 * np.log(3), rel=1e-5)


def test_discriminator_probabilities_sum_to_one(report: FigureReport, data: Path) -> None:
    found = numbers(report, "figure5-discriminator")
    steps = open_dataset(data)["test"].lengths("text").sum()
    for kind in ("common", "private"):
        for m, row in found["kinds"][kind].items():
            assert sum(row["mean"].values()) == pytest.approx(1, abs=1e-4)
            assert row["steps"] == steps
            assert row["quantiles"]["0.1"][m] <= row["mean"][m] <= row["quantiles"]["0.9"][m]


def test_tsne_is_of_the_same_moments(report: FigureReport) -> None:
    without, with_terms = numbers(report, "figure6-tsne")["runs"]
    assert without["title"] == "without: without adversarial and orthogonality terms"
    assert with_terms["title"] == "with: with adversarial and orthogonality terms"
    assert len(without["groups"]) == len(with_terms["groups"]) == 6
    for a, b in zip(without["groups"], with_terms["groups"], strict=True):
        assert a["samples"] == b["samples"]
        assert len(a["points"]) == len(a["samples"]) <= 24


def test_label_correlations_are_rows_of_a_softmax(report: FigureReport) -> None:
    found = numbers(report, "figure7-label-correlation")
    heads = np.array(found["heads"])
    assert heads.shape == (3, 3, 3)
    assert found["labels"] == list(LABELS)
    np.testing.assert_allclose(heads.sum(2), 1, atol=1e-4)


def test_precision_recall_by_hand() -> None:
    labels = np.array([0, 1, 1, 0, 1], np.uint8)
    scores = np.array([0.9, 0.8, 0.8, 0.4, 0.1])
    precision, recall = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision, [2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(recall, [2 / 3, 2 / 3, 1])
    assert [len(x) for x in precision_recall_curve(0 * labels, scores)] == [0, 0]


def test_the_area_of_a_curve_is_the_average_precision(view: RunView) -> None:
    for j, name in enumerate(LABELS):
        precision, recall = precision_recall_curve(view.labels[:, j], view.probabilities[:, j])
        area = (np.diff(recall, prepend=0) * precision).sum()
        assert area == pytest.approx(view.metrics.labels[name].average_precision)


def test_micro_scores_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1]], np.uint8)
    scores = np.array([[0.9, 0.6], [0.2, 0.7]])
    assert micro_scores(labels, scores, 0.5) == {
        "micro_precision": 2 / 3, "micro_recall": 2 / 3, "micro_f1": 2 / 3,
    }  # fmt: skip
    assert micro_scores(labels, scores, np.array([0.1, 0.65]))["micro_f1"] == 1
    assert micro_scores(labels, scores, 1.0)["micro_precision"] is None


def test_thresholds_are_marked_on_validation_and_test(view: RunView) -> None:
    found = threshold_numbers(view)
    assert list(found["splits"]) == ["valid", "test"]
    valid = found["splits"]["valid"]
    modes, curve = valid["modes"], valid["curves"]["micro_f1"]
    assert modes["fixed"]["threshold"] == 0.35
    assert modes["fixed"]["micro_f1"] == curve[35]
    assert modes["tuned"]["micro_f1"] >= max(curve)  # it was chosen here
    tested = found["splits"]["test"]["modes"]["tuned"]["micro_f1"]
    assert tested == pytest.approx(view.metrics.micro_f1)


def test_reliability_is_that_of_the_evaluation(view: RunView) -> None:
    found = reliability_numbers(view)
    (bins,) = found["curves"].values()
    assert sum(one["count"] for one in bins) == view.labels.size
    true = sum(one["count"] * one["share_true"] for one in bins)
    assert true == pytest.approx(view.labels.sum())
    assert f"{found['expected_calibration_error']:.3f}" in found["summary"]


def test_co_occurrence_by_hand(view: RunView, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
    scores = np.array([[0.9, 0.1, 0.9], [0.9, 0.9, 0.1], [0.1, 0.9, 0.1]], np.float32)
    monkeypatch.setattr(view, "labels", labels)
    monkeypatch.setattr(view, "probabilities", scores)
    monkeypatch.setattr(view.predictor, "thresholds", np.full(3, 0.5))
    found = plain(co_occurrence_numbers(view))
    first, second, third = view.names
    assert found["rows"] == {first: 2, second: 1}
    assert found["unlabelled"] == 1
    assert found["predicted"] == [[1, 0.5, 0.5], [1, 0, 1], [0, 1, 0]]
    assert found["true"] == [[1, 0.5, 0], [1, 1, 0], [0, 0, 0]]
    assert found["left_out"] == [f"rows of labels that are never true: {third}"]
    largest = f"where {second} is true, {second} is predicted 100 % points less than true"
    assert largest in found["summary"]


def test_attention_is_shared_among_the_blocks(report: FigureReport) -> None:
    found = numbers(report, "attention")
    assert found["blocks"] == ["visual", "audio", "text", "common"]
    np.testing.assert_allclose(sum(np.array(x) for x in found["shares"].values()), 1, atol=1e-4)
    np.testing.assert_allclose(sum(found["even"].values()), 1, atol=1e-4)
    for rows in found["density"].values():
        np.testing.assert_allclose(np.mean(rows, axis=1), 1, atol=1e-4)


# ---------------------------------------------------------------------- what cannot be drawn


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_not_trained_here(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    out.mkdir()
    (out / "index.json").write_text('{"format": "emotailor-figures"}')
    (out / "figure4-losses.svg").write_text("of an earlier run")
    found = figures(run / "model", out, data=data)
    assert set(found.skipped) == {"figure4-losses", "explanations"}
    assert "no metrics.jsonl" in found.skipped["figure4-losses"]
    assert not (out / "figure4-losses.svg").exists()
    damaged = Path(shutil.copytree(run, tmp_path / "damaged"))
    (damaged / "metrics.jsonl").write_text("{")
    with pytest.raises(Exception, match="is damaged"):
        loss_numbers(RunView(Run.open(damaged), data=None, split="test", device="cpu"))


def test_a_folder_of_something_else_is_not_written_into(
    data: Path, run: Path, tmp_path: Path
) -> None:
    there = sorted(file.name for file in data.iterdir())
    with pytest.raises(ConfigError) as caught:
        figures(run, data)
    assert str(caught.value) == (
        f"{data} is no folder of figures, and not empty: it holds {there[0]!r}\n"
        "  expected: an earlier folder of figures, or a path that is free\n"
        "  to fix it: choose another --out"
    )
    assert sorted(file.name for file in data.iterdir()) == there
    for content in ('{"format": "other"}', "[1]", '{"written": []}'):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(ConfigError, match="is no folder of figures"):
            figures(run, tmp_path)
        assert (tmp_path / "index.json").read_text() == content


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_earlier_figures_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> bytes:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(drawing, "render", stopped)
        figures(run, out)
    assert not (out / "index.json").exists()  # nothing is there until all is drawn
    figures(run, out)
    index = json.loads((out / "index.json").read_text())
    assert index.pop("format") == "emotailor-figures"
    write_json(out / "index.json", index)  # as earlier versions wrote it
    (out / "mine.txt").write_text("")
    assert set(figures(run, out).skipped) == {"explanations"}


@pytest.mark.usefixtures("undrawn")
def test_other_systems_have_fewer_figures(data: Path, tmp_path: Path) -> None:
    found = figures(trained(data, tmp_path / "br", "br"), tmp_path / "out")
    assert set(found.skipped) == {*TAILOR_ONLY, "figure4-losses", "explanations"}
    reasons = {name: why for name, why in found.skipped.items() if name != "explanations"}
    assert all("(br" in reason for reason in reasons.values())
    assert "synthetic" in found.skipped["explanations"]
    assert found.claims == ()
    assert not (tmp_path / "out" / "claims.json").exists()


def relabelled(path: Path, columns: int, *, never: bool = False) -> Path:
    splits: dict[str, list[Sample]] = {}
    for k, (split, size) in enumerate({"train": 23, "valid": 11, "test": 9}.items()):
        samples = random_samples(size, seed=k, prefix=split, missing=0.3)
        splits[split] = []
        for s in samples:
            assert s.labels is not None
            y = s.labels[:columns].copy()
            if never and split == "test":
                y[0] = 0
            splits[split].append(Sample(s.id, s.sequences, y))
    names = (NAME, "a name that is much longer than others", "angry")[:columns]
    write_dataset(path, splits, name="copy", label_names=names, dims=DIMS, aligned=True)
    return path


@pytest.mark.usefixtures("undrawn")
def test_one_label(tmp_path: Path) -> None:
    run = train_tiny(relabelled(tmp_path / "one", 1), tmp_path / "run", epochs=1)
    found = figures(run, tmp_path / "out")
    of_pairs = {"figure7-label-correlation", "co-occurrence"}
    assert set(found.skipped) == {*of_pairs, "explanations"}
    assert all("one label" in found.skipped[name] for name in of_pairs)


def test_a_label_that_is_never_true_and_names_nobody_would_choose(tmp_path: Path) -> None:
    run = train_tiny(relabelled(tmp_path / "data", 3, never=True), tmp_path / "run", epochs=1)
    view = RunView(Run.open(run), data=None, split="test", device="cpu")
    found = plain(precision_recall_numbers(view))
    assert list(found["labels"]) == list(view.names[1:])
    assert found["left_out"] == [f"{NAME}: never true in the test split"]
    both = plain(co_occurrence_numbers(view))
    assert list(both["rows"]) == list(view.names[1:])
    assert len(both["predicted"]) == 2 + bool(both["unlabelled"])
    with drawing.style():
        svg = drawing.render(draw_scores.precision_recall(found), "svg").decode()
        assert b"angry" in drawing.render(draw_scores.co_occurrence(both), "svg")
    assert "$x$ &amp; &lt;läbel" in svg  # neither mathematics nor markup
    assert "never true in the test split" in " ".join(re.findall(r">([^<>]+)</text>", svg))
    assert "a name that is mu…" in svg


def test_what_is_not_there_is_one_message(data: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'elsewhere'"):
        figures(run, tmp_path / "out", split="elsewhere")
    with pytest.raises(ModelError, match="no trained model"):
        figures(run, tmp_path / "out", against=tmp_path / "nothing")
    splits = {"train": random_samples(9), "valid": random_samples(5, prefix="v"), "test": []}
    empty = tmp_path / "empty"
    write_dataset(empty, splits, name="e", label_names=LABELS, dims=DIMS, aligned=True)
    with pytest.raises(DataError, match="'test'"):
        figures(run, tmp_path / "out", data=empty)
    assert not (tmp_path / "out").exists()  # nothing is left of a command that failed
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file"):
        figures(run, tmp_path / "file")


@pytest.mark.usefixtures("undrawn")
def test_command(run: Path, tmp_path: Path) -> None:
    assert "--against" in run_cli("figures", "--help").out
    done = run_cli("figures", run, "--out", tmp_path / "out", "--device", "cpu", width=100)
    assert done.code == 0, done.err
    for part in ("Claims, on split test", "figure6-tsne", "svg, png, json", "no planted truth"):
        assert part in done.out
    run_cli("figures", tmp_path / "nothing").failed(5, "no trained model")


# ---------------------------------------------------------------------- data that show less


def one_step(path: Path) -> Path:
    """Samples of one step, whose test split has no positives at all."""
    splits: dict[str, list[Sample]] = {}
    for k, (split, size) in enumerate({"train": 23, "valid": 11, "test": 7}.items()):
        splits[split] = []
        for s in random_samples(size, seed=k, prefix=split, longest=1):
            assert s.labels is not None
            labels = 0 * s.labels if split == "test" else s.labels
            splits[split].append(Sample(s.id, s.sequences, labels))
    write_dataset(path, splits, name="one", label_names=LABELS, dims=DIMS, aligned=True)
    return path


@pytest.mark.usefixtures("undrawn")
def test_one_step_and_a_split_without_positives(tmp_path: Path) -> None:
    run = train_tiny(one_step(tmp_path / "one"), tmp_path / "run", epochs=1)
    view = RunView(Run.open(run), data=None, split="valid", device="cpu")
    attention = attention_numbers(view)
    assert attention["density"] == {}
    assert attention["shares"] is not None
    (line,) = attention["left_out"]
    assert "over time" in line

    found = figures(run, tmp_path / "out")
    for name in ("precision-recall", "co-occurrence"):
        assert found.skipped[name] == "no label is true in the test split"
    thresholds = numbers(found, "thresholds")
    assert list(thresholds["splits"]) == ["valid"]
    assert thresholds["left_out"] == ["the test split: no label is true in it"]


def test_explanations_against_the_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle that names a carrier is always right, one that never does is never."""
    from emotailor.data.synthetic import CARRIERS, SyntheticConfig, synthesize

    config = SyntheticConfig(train=12, valid=6, test=31, visual_dim=5, audio_dim=7, text_dim=11)
    synthesize(config, tmp_path / "planted")
    run = trained(tmp_path / "planted", tmp_path / "run", "br")
    view = RunView(Run.open(run), data=None, split="test", device="cpu")
    monkeypatch.setattr(view.predictor, "thresholds", np.zeros(6))  # every label is predicted

    class Oracle:
        def __init__(self, right: bool) -> None:
            self.modalities = {}
            for label, carriers in CARRIERS.items():
                self.modalities[label] = {m: float((m in carriers) == right) for m in DIMS}

        def strongest(self, label: str) -> tuple[str, int, int]:
            evidence = self.modalities[label]
            return max(evidence, key=lambda m: evidence[m]), 0, 0

    pairs = int(view.labels.sum())
    for right in (True, False):
        oracle = Oracle(right)
        monkeypatch.setattr(view.predictor, "explain", lambda sample, o=oracle: o)
        found = explanation_numbers(view)
        assert found["explained"] == pairs
        assert found["right"] == (pairs if right else 0)
        assert f"{found['right']} of {pairs}" in found["summary"]
        for name, label in found["labels"].items():
            assert label["carriers"] == [m for m in DIMS if m in CARRIERS[name]]
            assert label["explained"] == view.labels[:, view.names.index(name)].sum()
    assert 1 / 3 <= found["guess"] <= 2 / 3


def test_explanations_need_a_plant(view: RunView) -> None:
    with pytest.raises(SkipFigure, match="synthetic"):
        explanation_numbers(view)


def test_a_summary_of_losses_names_the_epoch_that_was_kept() -> None:
    first = summary_of_losses([1, 2], [2.0, 1.0], [0.5, 0.4], 1)
    assert first.endswith("validation micro-F1 0.500 in the first epoch, which is kept.")
    later = summary_of_losses([1, 2, 3], [2.0, 1.5, 1.0], [0.3, 0.5, 0.4], 2)
    assert later.endswith("validation micro-F1 from 0.300 to 0.500 in the epoch kept.")
