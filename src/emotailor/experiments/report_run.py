"""The report of one trained run: how good, where wrong and why, on what, with which settings."""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import BaseModel

from emotailor.configs.run import RunConfig
from emotailor.configs.systems import find_system
from emotailor.data.dataset import EmotionDataset, Modality, Split
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError, ModelError
from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.metrics import OVERALL, Metrics, decide, evaluate
from emotailor.evaluation.report import TITLES, number
from emotailor.evaluation.tables import duration
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.experiments import published
from emotailor.experiments.evaluate import evaluate_run, matching_labels, trained_on
from emotailor.experiments.page import (
    Block,
    Card,
    Cards,
    Cell,
    Code,
    Facts,
    Folded,
    Image,
    Items,
    Page,
    Range,
    Section,
    Strip,
    Table,
    Text,
    Tile,
    Tiles,
)
from emotailor.experiments.predict import MIN_EVIDENCE
from emotailor.experiments.report_parts import (
    data_section,
    interval,
    machine_facts,
    plain_mode,
    settings_blocks,
    shell,
    training_command,
)
from emotailor.serving.predictor import Explanation, Predictor
from emotailor.training.model_folder import find_model_folder
from emotailor.training.run_folder import CONFIG_FILE, METRICS_FILE

MISTAKES = 6  # of each kind
SPOT_CHECKS = 8  # samples on which stored predictions are compared with the model's
ROUNDING = 0.002  # what rounded probabilities may change in micro-F1
SAME = 1e-4  # what two devices may differ in a probability
HEADLINE = ("micro_f1", "accuracy", "macro_f1", "mean_average_precision")
FAINT = 0.05  # change of log-odds that has the full colour where none is larger
LONG_HISTORY = 12  # epochs from which their table is folded
LARGE_SVG = 400_000  # bytes from which a smaller PNG is taken
INTERVALS = (
    "Intervals: bootstrap, whole videos drawn with replacement; they say how the number would vary "
    "with other test samples, not with another seed. "
)
FIGURES = {
    "figure4-losses": "Losses of every epoch (Figure 4 of the paper).",
    "figure5-discriminator": "What the modality discriminator sees (Figure 5).",
    "figure6-tsne": "Common and private representations (Figure 6).",
    "figure7-label-correlation": "Correlation of labels inside the model (Figure 7).",
    "precision-recall": "Precision and recall of each label, and where its thresholds are.",
    "thresholds": "Scores at every threshold.",
    "co-occurrence": "Which labels are predicted where a label is true.",
    "attention": "Attention of labels over modalities and time.",
}


class StoredEvaluation(BaseModel):
    """What ``evaluation-<split>.json`` holds of a run."""

    split: str
    data: dict[str, str]
    thresholds: ThresholdMode
    metrics: dict[ThresholdMode, Metrics]
    intervals: dict[str, Interval]
    notes: list[str]


@dataclass(frozen=True)
class Predictions:
    """The predictions of a split.

    Attributes:
        ids: of the samples.
        labels: (n, L), true.
        probabilities: (n, L), of six digits.
        decided: (n, L), which labels were predicted.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray


@dataclass(frozen=True)
class Mistake:
    """A wrong decision.

    Attributes:
        sample: its position.
        label: position of the label.
        distance: of the probability from the threshold, in log-odds.
    """

    sample: int
    label: int
    distance: float


@dataclass
class Subject:
    """Everything that is known of a run.

    Attributes:
        run: run or model folder.
        predictor: its model.
        config: of its training; None for a model that was not trained here.
        data: path of the data set, as given or as the run says.
        dataset: None where it is not there.
        part: the split that was looked at; None where it is not there.
        split: its name.
        device: to compute on.
        missing: what is left out of the page, and why.
    """

    run: Path
    predictor: Predictor
    config: RunConfig | None
    data: Path | None
    dataset: EmotionDataset | None
    part: Split | None
    split: str
    device: str
    missing: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels, in the model's order."""
        return self.predictor.label_names

    @property
    def title(self) -> str:
        """The system, as papers write it."""
        return find_system(self.predictor.card.system).title

    @property
    def data_name(self) -> str:
        """How the data are called, as far as that is known."""
        if self.dataset is not None:
            return self.dataset.card.name
        return str(self.predictor.card.data.get("name", "unknown data"))


# ---------------------------------------------------------------------- collecting


def run_page(
    run: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    device: str = "auto",
) -> tuple[Page, list[str]]:
    """Return the report of a run, and what had to be left out of it.

    Args:
        run: run or model folder.
        data: stored data set; by default the one the run was trained on. Where that is gone, what
            needs it is left out.
        split: its name; by default ``test``.
        device: to compute on.

    Raises:
        ModelError: there is no model, or it is damaged.
        DataError: data or split were given, and cannot be used.
    """
    subject = _open(run, data, split, device)
    evaluation, predictions = _evaluation(subject)
    notes = [] if evaluation is None else list(evaluation.notes)
    summary: list[Block] = []
    sections: list[Section] = []
    if evaluation is not None:
        summary.append(_headline(evaluation))
        sections += [_metrics(subject, evaluation), _labels(evaluation)]
    sections += _history(subject)
    figures, more = _figures(subject)
    sections += figures
    notes += [note for note in more if note not in notes]
    if evaluation is not None and predictions is not None:
        sections.append(_mistakes(subject, evaluation, predictions))
    if subject.dataset is not None:
        sections.append(data_section(subject.dataset, str(subject.data)))
    sections += [_settings(subject), _versions(subject), _reading(subject, evaluation)]
    if subject.missing or notes:
        summary.insert(0, Items([*subject.missing, *map(_sentence, notes)], "warning"))
    seed = "" if subject.config is None else f", seed {subject.config.training.seed}"
    page = Page(
        f"{subject.title} on {subject.data_name}",
        f"{subject.split} split{seed}, from {run.resolve().name}",
        sections,
        summary,
    )
    return page, subject.missing


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _open(run: Path, data: Path | None, split: str | None, device: str) -> Subject:
    predictor = Predictor.load(run, device=device)
    subject = Subject(run, predictor, None, data, None, None, split or "test", device)
    file = run / CONFIG_FILE
    if file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))["config"]
            subject.config = RunConfig.parse(stored)
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            subject.missing.append(f"{file} is damaged: the settings of the training are left out.")
    try:
        subject.data = data or trained_on(run)
        subject.dataset = open_dataset(subject.data)
        part = subject.dataset[subject.split]
        if not len(part):
            raise DataError(f"split {subject.split!r} of {subject.data} is empty")
        matching_labels(subject.dataset, part, predictor.label_names)
        seen = next((sample for sample in part if predictor.can_see(sample)), None)
        predictor.predict([] if seen is None else [seen])  # whether its features fit the model
        subject.part = part
    except (DataError, ModelError) as error:
        if data is not None or (split is not None and subject.dataset is not None):
            raise
        left = "new predictions and explanations"
        left += "" if subject.dataset is not None else ", and the card of the data set"
        subject.missing.append(f"{_sentence(error.found)} Left out: {left}.")
    return subject


def _evaluation(subject: Subject) -> tuple[StoredEvaluation | None, Predictions | None]:
    """Return what is stored of an earlier evaluation, if it is of this model, or evaluate."""
    stored = _read_evaluation(subject)
    if stored is not None and (subject.part is None or stored[0].intervals):
        return stored
    if subject.part is None:
        subject.missing.append(
            f"No evaluation of this model on split {subject.split!r} is stored: metrics and "
            "mistakes are left out."
        )
        return None, None
    found = evaluate_run(subject.run, data=subject.data, split=subject.split, device=subject.device)
    assert subject.dataset is not None
    card = subject.dataset.card
    evaluation = StoredEvaluation(
        split=found.split,
        data={"name": card.name, "fingerprint": card.fingerprint},
        thresholds=found.mode,
        metrics=found.by_mode,
        intervals=found.intervals,
        notes=found.notes,
    )
    rounded = [[float(f"{p:.6f}") for p in row] for row in found.probabilities]  # as stored
    decided = decide(found.probabilities, subject.predictor.thresholds)
    predictions = Predictions(tuple(subject.part.ids), found.labels, np.array(rounded), decided)
    return evaluation, predictions


def _read_evaluation(subject: Subject) -> tuple[StoredEvaluation, Predictions] | None:
    """Return the stored evaluation; None where there is none, or it is not of this model."""
    try:
        text = (subject.run / f"evaluation-{subject.split}.json").read_text(encoding="utf-8")
        evaluation = StoredEvaluation.model_validate_json(text)
        predictions = _read_predictions(
            subject.run / f"predictions-{subject.split}.csv", len(subject.names)
        )
    except (OSError, ValueError, csv.Error):
        return None
    return (evaluation, predictions) if _fits(subject, evaluation, predictions) else None


def _read_predictions(file: Path, labels: int) -> Predictions:
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    if len(header) != 1 + 3 * labels or not rows:
        raise ValueError("another number of columns")
    return Predictions(
        tuple(row[0] for row in rows),
        np.array([[int(x) for x in row[1 : 1 + labels]] for row in rows], np.uint8),
        np.array([[float(x) for x in row[1 + labels : 1 + 2 * labels]] for row in rows]),
        np.array([[x == "1" for x in row[1 + 2 * labels :]] for row in rows]),
    )


def _fits(subject: Subject, evaluation: StoredEvaluation, predictions: Predictions) -> bool:
    """Whether a stored evaluation is of this model on these data."""
    known = {
        mode: {name: label.threshold for name, label in metrics.labels.items()}
        for mode, metrics in evaluation.metrics.items()
    }
    chosen = subject.predictor.card.thresholds  # fitted to the model: another has others
    if evaluation.thresholds not in known or known != {m: x.values for m, x in chosen.items()}:
        return False
    metrics, cuts = evaluation.metrics[evaluation.thresholds], chosen[evaluation.thresholds]
    try:
        again = evaluate(
            predictions.labels,
            predictions.probabilities,
            subject.names,
            cuts.array(subject.names),
        )
    except DataError:
        return False
    # in the table of predictions, probabilities have six digits
    if again.samples != metrics.samples or abs(again.micro_f1 - metrics.micro_f1) > ROUNDING:
        return False
    if subject.part is None or subject.dataset is None:
        return True
    return (
        evaluation.data.get("fingerprint") == subject.dataset.card.fingerprint
        and predictions.ids == tuple(subject.part.ids)
        and _predicts(subject, subject.part, predictions)
    )


def _predicts(subject: Subject, part: Split, predictions: Predictions) -> bool:
    """Whether the model predicts some samples as stored."""
    step = max(1, len(part) // SPOT_CHECKS)
    samples = {i: part.sample(i) for i in range(0, len(part), step)}
    seen = [i for i, sample in samples.items() if subject.predictor.can_see(sample)]
    found = subject.predictor.predict([samples[i] for i in seen])
    values = [[one.probabilities[name] for name in subject.names] for one in found]
    return bool(seen) and bool(np.abs(values - predictions.probabilities[seen]).max() < SAME)


# ---------------------------------------------------------------------- how good


def _headline(evaluation: StoredEvaluation) -> Tiles:
    metrics = evaluation.metrics[evaluation.thresholds].overall()
    tiles = []
    for name in HEADLINE:
        found, value = evaluation.intervals.get(name), metrics[name]
        detail, chart = "", None
        if found is not None:
            detail = f"{100 * found.level:g} % interval {interval(found)}"
            chart = Range(found.low, found.value, found.high, (0.0, 1.0))
        tiles.append(Tile(TITLES[name], number(value), detail, chart))
    return Tiles(tiles)


def _metrics(subject: Subject, evaluation: StoredEvaluation) -> Section:
    own, others = (
        evaluation.thresholds,
        [m for m in evaluation.metrics if m != evaluation.thresholds],
    )
    header = ["metric", plain_mode(own)]
    level = next((100 * x.level for x in evaluation.intervals.values()), None)
    if level is not None:
        header.append(f"{level:g} % interval")
    header += [plain_mode(mode) for mode in others]
    setting = None if subject.dataset is None else published.published_setting(subject.dataset.card)
    paper: Mapping[str, float] = {}
    if setting is not None and subject.split == "test":
        paper = published.TABLE_2[setting].get(subject.predictor.card.system, {})
    if paper:
        header.append(f"paper, {setting}")
    values = {mode: metrics.overall() for mode, metrics in evaluation.metrics.items()}
    rows = []
    for name in OVERALL:
        row: list[str | Cell] = [TITLES[name], Cell(number(values[own][name]), strong=True)]
        if level is not None:
            row.append(interval(evaluation.intervals.get(name)))
        row += [number(values[mode][name]) for mode in others]
        if paper:
            row.append(number(paper[name]) if name in paper else "")
        rows.append(row)
    metrics = evaluation.metrics[own]
    blocks: list[Block] = [
        Table(header, rows, f"{metrics.samples:,} samples, by kind of threshold"),
        Text(
            "Thresholds were chosen on validation data. "
            + (INTERVALS if level is not None else "")
            + "Of the Hamming loss, less is better.",
            "note",
        ),
    ]
    if paper:
        blocks.append(Text(published.NOTE, "note"))
    for name, left, need in (
        ("mean_average_precision", metrics.without_average_precision, "positives"),
        ("mean_roc_auc", metrics.without_roc_auc, "positives or no negatives"),
    ):
        if left:
            why = f"{TITLES[name]} leaves out {', '.join(left)}: no {need} among these samples."
            blocks.append(Text(why, "note"))
    return Section("Metrics", blocks)


def _labels(evaluation: StoredEvaluation) -> Section:
    header = ("label", "threshold", "true", "predicted", "P", "R", "F1", "AP", "AUC")
    rows = [
        (
            name,
            *(number(label.threshold), f"{label.support:,}", f"{label.predicted:,}"),
            *(number(label.precision), number(label.recall)),
            Cell(number(label.f1), chart=Range(0.0, label.f1, label.f1, (0.0, 1.0))),
            *(number(label.average_precision), number(label.roc_auc)),
        )
        for name, label in evaluation.metrics[evaluation.thresholds].labels.items()
    ]
    title = f"Thresholds {plain_mode(evaluation.thresholds)}"
    note = "true, predicted: samples. AP: average precision. Both AP and AUC need no threshold."
    return Section("Labels", [Table(header, rows, title), Text(note, "note")])


# ---------------------------------------------------------------------- how it was trained


def _history(subject: Subject) -> list[Section]:
    file = subject.run / METRICS_FILE
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        names = list(records[0]["train"])
        best = subject.predictor.card.selection.get("epoch")
        rows: list[Sequence[str | Cell]] = [
            (
                Cell(str(int(r["epoch"])), strong=r["epoch"] == best),
                number(float(r["valid"]["micro_f1"])),
                number(float(r["valid"]["accuracy"])),
                _loss(r["valid"]["loss"]),
                *(_loss(r["train"][name]) for name in names),
                duration(float(r["seconds"])),
            )
            for r in records
        ]
        marked = [i for i, r in enumerate(records) if r["epoch"] == best]
        seconds = float(records[-1]["seconds"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        subject.missing.append(f"{file} is damaged: the history of the training is left out.")
        return []
    if not names:
        valid = records[0]["valid"]
        text = (
            f"Fitted at once in {duration(seconds)}; on validation data micro-F1 "
            f"{number(valid['micro_f1'])}, accuracy {number(valid['accuracy'])}."
        )
        return [Section("Training", [Text(text)])]
    losses = (name.replace("_", " ") for name in names)
    header = ("epoch", "micro-F1", "Acc", "cross-entropy", *losses, "time so far")
    count = "1 epoch" if len(records) == 1 else f"{len(records)} epochs"
    text = f"{count} in {duration(seconds)}. "
    text += f"The model is that of epoch {best}, which is marked." if marked else ""
    table = Table(
        header,
        rows,
        "Micro-F1, Acc and cross-entropy on validation data; losses of training",
        marked,
    )
    shown: Block = (
        table if len(rows) <= LONG_HISTORY else Folded(f"All {len(rows)} epochs", [table])
    )
    return [Section("Training", [Text(text), shown])]


def _loss(value: Any) -> str:
    return f"{float(value):.4g}"


# ---------------------------------------------------------------------- figures


def _figures(subject: Subject) -> tuple[list[Section], list[str]]:
    """The figures of the run and the claims checked with them; made where they are not there."""
    folder = subject.run / "figures"
    index = _read_index(subject, folder)
    if index is not None:
        return _show_figures(folder, index)
    if subject.part is None:
        subject.missing.append("No figures of this model are stored: they are left out.")
        return [], []
    from emotailor.experiments.figures import make_figures

    with tempfile.TemporaryDirectory() as temporary:
        for place in (folder, Path(temporary) / "figures"):  # the folder may be a colleague's
            try:
                make_figures(
                    subject.run, out=place, data=subject.data, split=subject.split,
                    device=subject.device,
                )  # fmt: skip
                found = json.loads((place / "index.json").read_text(encoding="utf-8"))
                return _show_figures(place, found)
            except (PermissionError, ConfigError):
                continue
            except EmotailorError as error:
                subject.missing.append(f"{_sentence(error.found)} Figures are left out.")
                break
    return [], []


def _read_index(subject: Subject, folder: Path) -> dict[str, Any] | None:
    """Return what was drawn earlier; None where it was not from this model and these data."""
    file = folder / "index.json"
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        card = subject.predictor.card
        wanted = card.data.get("fingerprint")
        if subject.dataset is not None:
            wanted = subject.dataset.card.fingerprint
        same = (index["system"], index["split"], index["data"]["fingerprint"]) == (
            card.system, subject.split, wanted,
        )  # fmt: skip
        model = find_model_folder(subject.run) / "model.json"
        files = [folder / Path(str(name)).name for name in index["written"]]
        whole = isinstance(index["skipped"], dict) and all(one.is_file() for one in files)
        fresh = subject.part is None or model.stat().st_mtime <= file.stat().st_mtime
        return index if same and whole and fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _show_figures(folder: Path, index: Mapping[str, Any]) -> tuple[list[Section], list[str]]:
    drawn = [Path(str(name)) for name in index["written"] if Path(str(name)).suffix == ".svg"]
    blocks: list[Block] = []
    for name in drawn:
        caption = FIGURES.get(name.stem, f"{name.stem}.")
        numbers = f" The numbers are in {folder.name}/{name.stem}.json of the run folder."
        content = embedded(folder / name.name)
        blocks.append(Image(content, f"Figure {name.stem}: {caption}", caption + numbers))
    skipped = [f"{name}: {why}" for name, why in index["skipped"].items()]
    if skipped:
        blocks += [Text("Not drawn:", "note"), Items(skipped)]
    sections = [Section("Figures", blocks)] if blocks else []
    return [*sections, *_claims(folder, index)], [str(note) for note in index.get("notes", ())]


def embedded(file: Path) -> bytes:
    """Return a figure for a page: its SVG, or the PNG where the SVG is large.

    In the SVG text is text. Readers without its font have one as wide.
    """
    content = file.read_bytes()
    png = file.with_suffix(".png")
    if len(content) > LARGE_SVG and png.is_file() and png.stat().st_size < len(content):
        return png.read_bytes()
    return content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _claims(folder: Path, index: Mapping[str, Any]) -> list[Section]:
    if "claims.json" not in index["written"]:
        return []
    try:
        found = json.loads((folder / "claims.json").read_text(encoding="utf-8"))["claims"]
        words = {True: "yes", False: "no", None: "not checked"}
        rows = [
            (str(c["statement"]), words[c["holds"]], str(c["found"]), str(c["expected"]))
            for c in found
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    table = Table(("claim of the paper", "holds here", "found", "expected"), rows)
    return [Section("Claims", [table])]


# ---------------------------------------------------------------------- where it is wrong


def confident_mistakes(
    found: Predictions,
    thresholds: Float64[np.ndarray, "labels"],
    *,
    kind: Literal["false positive", "false negative"],
    count: int = MISTAKES,
) -> list[Mistake]:
    """Return the wrong decisions of one kind that are farthest beyond their thresholds.

    Labels take turns, so that no label fills the list; every sample is shown once.

    Args:
        found: predictions.
        thresholds: (L,).
        kind: of mistake.
        count: most to return.
    """
    decided, true = found.decided, found.labels.astype(bool)
    wrong = decided & ~true if kind == "false positive" else ~decided & true
    distance = np.abs(_log_odds(found.probabilities) - _log_odds(thresholds))
    turns = [
        sorted(np.nonzero(wrong[:, j])[0].tolist(), key=lambda i, j=j: (-distance[i, j], i))  # type: ignore[misc]
        for j in range(true.shape[1])
    ]
    chosen: list[Mistake] = []
    used: set[int] = set()
    while any(turns) and len(chosen) < count:
        heads = []
        for j, places in enumerate(turns):
            while places and places[0] in used:
                places.pop(0)
            if places:
                heads.append(Mistake(places[0], j, float(distance[places[0], j])))
        for head in sorted(heads, key=lambda one: (-one.distance, one.label)):
            turns[head.label].pop(0)
            if head.sample not in used and len(chosen) < count:
                used.add(head.sample)
                chosen.append(head)
    return sorted(chosen, key=lambda one: (-one.distance, one.sample))


def _log_odds(p: np.ndarray) -> Float64[np.ndarray, "..."]:
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def _mistakes(subject: Subject, evaluation: StoredEvaluation, found: Predictions) -> Section:
    cuts = subject.predictor.card.thresholds[evaluation.thresholds].array(subject.names)
    why: dict[int, Explanation] = {}
    blocks: list[Block] = [
        Text(
            "The wrong decisions farthest beyond their thresholds, the labels in turn. What "
            "carried each is measured: the change of the label's log-odds when the model cannot "
            "see a modality, and in the strips when it cannot see a few steps around each. Orange "
            "steps speak for the label, blue ones against it.",
            "note",
        )
    ]
    for kind, title, verb in (
        ("false positive", "Predicted, but not true", "predicted, not true"),
        ("false negative", "True, but not predicted", "missed"),
    ):
        chosen = confident_mistakes(found, cuts, kind=kind)  # type: ignore[arg-type]
        cards = []
        for mistake in chosen:
            i, name = mistake.sample, subject.names[mistake.label]
            facts = [
                ("sample", found.ids[i]),
                ("probability", f"{found.probabilities[i, mistake.label]:.3f}, "
                 f"threshold {cuts[mistake.label]:.3f}"),
                ("true", _held(subject.names, found.labels[i].astype(bool))),
                ("predicted", _held(subject.names, found.decided[i])),
            ]  # fmt: skip
            parts: list[Block] = [Facts(facts)]
            if subject.part is not None:
                sample = subject.part.sample(i)
                if i not in why and subject.predictor.can_see(sample):
                    why[i] = subject.predictor.explain(sample)
                parts += _explained(why.get(i), name, spoke_for=kind == "false positive")
            cards.append(Card(f"{name}: {verb}", parts))
        inside: list[Block] = [Cards(cards)] if cards else [Text("None.")]
        blocks.append(Section(title, inside))
    return Section("Most confident mistakes", blocks)


def _held(names: Sequence[str], held: Bool[np.ndarray, "labels"]) -> str:
    return ", ".join(name for name, yes in zip(names, held, strict=True) if yes) or "none"


def _explained(why: Explanation | None, label: str, *, spoke_for: bool) -> list[Block]:
    if why is None:
        return [Text("The sample has none of the modalities that the model takes.", "note")]
    modality, first, last, evidence = _strongest(why, label, sign=1 if spoke_for else -1)
    if evidence < MIN_EVIDENCE:
        text = f"No modality speaks {'for' if spoke_for else 'against'} the label."
    else:
        verb = "Carried by" if spoke_for else "Held back by"
        steps = f"step {first + 1}" if first == last else f"steps {first + 1} to {last + 1}"
        text = f"{verb} {modality}, there most of all by {steps}."
    scale = max([FAINT, *(float(np.abs(x).max(initial=0)) for x in why.steps[label].values())])
    rows = [
        (
            f"no {m}",
            f"{-drop:+.2f}" if abs(drop) >= MIN_EVIDENCE else "0.00",
            Cell("", chart=Strip(
                why.steps[label][m].tolist(), scale, f"evidence of each step of {m} for {label}"
            )),
            f"{len(why.steps[label][m])}",
        )
        for m, drop in why.modalities[label].items()
    ]  # fmt: skip
    return [Text(text), Table(("hidden", "log-odds", "its steps", "steps"), rows)]


def _strongest(why: Explanation, label: str, *, sign: int) -> tuple[Modality, int, int, float]:
    """The modality with the most evidence for (or against) a label, its steps, the evidence."""
    turned = replace(
        why,
        modalities={label: {m: sign * x for m, x in why.modalities[label].items()}},
        steps={label: {m: sign * x for m, x in why.steps[label].items()}},
    )
    modality, first, last = turned.carrier(label)
    return modality, first, last, turned.modalities[label][modality]


# ---------------------------------------------------------------------- what it is


def _settings(subject: Subject) -> Section:
    card = subject.predictor.card
    if subject.config is None:
        rows = [(key, str(value)) for key, value in card.config.items()]
        blocks: list[Block] = [
            Text("The folder does not say how it was trained; these are the model's settings."),
            Folded(f"All {len(rows)} settings", [Table(("setting", "value"), rows)]),
        ]
    else:
        blocks = settings_blocks(subject.config, aligned=card.aligned)
        command = training_command(subject.config, str(subject.run), aligned=card.aligned)
        blocks += [Text("To train it again:"), Code(command)]
    blocks += [Text("To make this page again:"), Code(_page_command(subject))]
    return Section("Settings", blocks)


def _page_command(subject: Subject) -> str:
    command = ["emotailor", "report", str(subject.run)]
    if subject.config is None or str(subject.data) != subject.config.data.path:
        command += ["--data", str(subject.data)] if subject.data is not None else []
    return shell(command + (["--split", subject.split] if subject.split != "test" else []))


def _versions(subject: Subject) -> Section:
    card = subject.predictor.card
    model = subject.predictor.model
    size = sum(p.numel() for p in model.parameters())
    size = size or sum(b.numel() for b in model.buffers() if b.is_floating_point())
    facts = [
        ("system", f"{subject.title}: {find_system(card.system).paper}"),
        ("takes", ", ".join(f"{m} ({d} features)" for m, d in subject.predictor.dims.items())),
        ("parameters", f"{size:,}"),
        ("trained with", ", ".join(f"{name} {text}" for name, text in card.versions.items())),
    ]
    if card.weights is not None:
        facts.append(("weights, SHA-256", card.weights.sha256))
    facts += [(f"trained on, {key}", str(value)) for key, value in card.data.items()]
    return Section("Model and versions", [Facts([*facts, *machine_facts()])])


def _reading(subject: Subject, evaluation: StoredEvaluation | None) -> Section:
    """What a reader must know who has nothing but this page."""
    texts = [
        "A label is predicted where its probability is strictly above its threshold. Acc: mean "
        "over samples of the number of labels that are true and predicted, over that of labels "
        "that are either. P, R and F1 are micro-averaged over all pairs of sample and label, "
        "macro-F1 is the mean over labels.",
        "P and R are as defined. The program of TAILOR's authors exchanges the two, and so may "
        "the numbers published; Acc and F1 are not affected.",
        "This is one run. How much depends on the seed, only several runs can tell.",
    ]
    if evaluation is not None:
        texts.append(
            f"Evaluated on {evaluation.data.get('name', '?')}, fingerprint "
            f"{evaluation.data.get('fingerprint', '?')}, split {evaluation.split}."
        )
    return Section("How to read this page", [Items(texts)])
